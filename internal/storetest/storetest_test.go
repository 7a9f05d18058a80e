package storetest

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestNaiveStore(t *testing.T) {
	Run(t, Harness{Open: openNaive(""), Cost: naiveCost})
}

func TestNaiveStoreInRealTime(t *testing.T) {
	h := Harness{Open: openNaive(""), RealTime: true}
	t.Run("Contract", func(t *testing.T) { h.runAll(t, contractTests) })
	t.Run("RandomWalk", h.testRandomWalks)
}

// defectVariable names the defect that TestDefect is to run the suite with.
const defectVariable = "STORETEST_DEFECT"

// TestDefect is run by TestSuiteNotices, in a process of its own.
func TestDefect(t *testing.T) {
	defect := os.Getenv(defectVariable)
	if defect == "" {
		t.Skip("run by TestSuiteNotices")
	}
	Run(t, Harness{Open: openNaive(defect), Cost: naiveCost})
}

// TestSuiteNotices holds that a store with a defect does not pass.
func TestSuiteNotices(t *testing.T) {
	tests := []struct{ defect, part string }{
		{"duplicates stay", "Metadata"},
		{"expired fill", "Limits"},
		{"expired fill", "RandomWalk"},
		{"two winners", "OneWinner"},
		{"two winners", "Linearizable"},
		{"spent before refused", "Contract"},
		{"spent before refused", "RandomWalk"},
		{"replay", "Contract"},
		{"replay", "Linearizable"},
		{"exchange renews nothing", "Expiry"},
		{"exchange renews nothing", "RandomWalk"},
		{"validate renews", "Expiry"},
		{"validate renews", "RandomWalk"},
		{"buffer overwritten", "Contract"},
		{"spent token deletes", "Contract"},
		{"spent token deletes", "RandomWalk"},
		{"spent token deletes", "Linearizable"},
		{"expired are listed", "Sessions"},
		{"lives a nanosecond longer", "Expiry"},
		{"lives a nanosecond longer", "RandomWalk"},
	}
	for _, test := range tests {
		t.Run(test.defect+"/"+test.part, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestDefect$/^"+test.part+"$", "-test.v")
			cmd.Env = append(os.Environ(), defectVariable+"="+test.defect)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestDefect/"+test.part+"/") &&
				!strings.Contains(string(out), "--- FAIL: TestDefect/"+test.part+" ") {
				t.Errorf("a store with the defect %q passes %s", test.defect, test.part)
			}
		})
	}
}

func TestModelMerge(t *testing.T) {
	for _, m := range merges {
		got := parseObject(m.base).merge(parsePatch(m.patch)).String()
		if got != m.want {
			t.Errorf("%s: %s merged with %s = %s, want %s", m.name, m.base, m.patch, got, m.want)
		}
	}
}

func TestModelLeavesBaseAlone(t *testing.T) {
	base := parseObject(`{"a":1,"b":2}`)
	before := slices.Clone(base)
	base.merge(parseObject(`{"a":3,"c":4}`))
	if !slices.Equal(base, before) {
		t.Errorf("merge changed its base to %v, want %v", base, before)
	}
}
