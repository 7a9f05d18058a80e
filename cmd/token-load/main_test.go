package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// runLoad runs the program in-process with --json and returns its exit code and report.
func runLoad(t *testing.T, f *fakeServer, args ...string) (int, report) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	args = append([]string{"--json", "--address", f.address, "--seed", "1", "--warm-up", "0s"}, args...)
	code := execute(t.Context(), args, &stdout, &stderr)
	var r report
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatalf("token-load %s: exit code %d, no report (%v): %s%s",
			strings.Join(args, " "), code, err, stdout.String(), stderr.String())
	}
	return code, r
}

func (r *report) count(kind string) int64 {
	var n int64
	for _, e := range r.Errors {
		if e.Kind == kind {
			n += e.Count
		}
	}
	return n
}

const everyOperation = "create=10,exchange=40,patch=15,validate=15,delete=10,replay=10"
