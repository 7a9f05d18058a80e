package testneeds

import (
	"strings"
	"testing"
)

// recorder is a test of which only the outcome is kept.
type recorder struct {
	testing.TB
	outcome string
}

func (r *recorder) Helper()                   {}
func (r *recorder) Skip(args ...any)          { r.outcome = "skipped" }
func (r *recorder) Fatalf(f string, _ ...any) { r.outcome = "failed" }

func TestThat(t *testing.T) {
	tests := []struct {
		ok          bool
		needs, want string
	}{
		{true, "", ""},
		{true, "all", ""},
		{false, "", "skipped"},
		{false, "some", "skipped"},
		{false, "all", "failed"},
	}
	for _, test := range tests {
		t.Setenv(variable, test.needs)
		r := &recorder{TB: t}
		if That(r, test.ok, "a thing is not there"); r.outcome != test.want {
			t.Errorf("That(%v) with %s=%s: %q, want %q", test.ok, variable, test.needs, r.outcome, test.want)
		}
	}
}

func TestProgram(t *testing.T) {
	t.Setenv(variable, "")
	if got := Program(t, "go"); !strings.HasSuffix(got, "go") {
		t.Errorf("Program(go) = %q", got)
	}
	r := &recorder{TB: t}
	if Program(r, "no-such-program"); r.outcome != "skipped" {
		t.Errorf("a program that is not there: %q, want skipped", r.outcome)
	}
}
