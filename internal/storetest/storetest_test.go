package storetest

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNaiveStore(t *testing.T) {
	Run(t, Harness{Open: openNaive(""), Cost: naiveCost})
}

// TestNaiveStoreInRealTime runs the suite as a store has it whose clock can't be faked.
func TestNaiveStoreInRealTime(t *testing.T) {
	Run(t, Harness{Open: openNaive(""), Cost: naiveCost, Advance: makeOlder})
}

// makeOlder is Advance of the naive store.
func makeOlder(_ testing.TB, s Store, d time.Duration) {
	n := s.(*naive)
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, session := range n.sessions {
		session.created, session.expires = session.created.Add(-d), session.expires.Add(-d)
		if !session.absoluteDeadline.IsZero() {
			session.absoluteDeadline = session.absoluteDeadline.Add(-d)
		}
		for i := range session.spent {
			session.spent[i].at = session.spent[i].at.Add(-d)
		}
	}
}

// faultVariable names the fault that TestFault is to run the suite with.
const faultVariable = "STORETEST_FAULT"

// TestFault is run by TestSuiteNotices, in a process of its own.
func TestFault(t *testing.T) {
	fault := os.Getenv(faultVariable)
	if fault == "" {
		t.Skip("run by TestSuiteNotices")
	}
	Run(t, Harness{Open: openNaive(fault), Cost: naiveCost})
}

// TestSuiteNotices holds that a store with a fault does not pass.
func TestSuiteNotices(t *testing.T) {
	tests := []struct{ fault, part string }{
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
		{"replay mints", "Grace"},
		{"replay mints", "RandomWalk/Grace"},
		{"replay mints", "Linearizable/Grace"},
		{"replay drops patch", "Grace"},
		{"replay drops patch", "RandomWalk/Grace"},
		{"replay drops patch", "Linearizable/Grace"},
		{"unset ignored", "Metadata"},
		{"unset ignored", "RandomWalk"},
		{"unset ignored", "Linearizable"},
		{"unset before the merge", "Metadata"},
		{"unset before the merge", "RandomWalk"},
		{"unset as it is spelled", "Metadata"},
		{"unset as it is spelled", "RandomWalk"},
		{"unset after the limit", "Contract"},
		{"unset after the limit", "RandomWalk"},
		{"replay drops unset", "Grace"},
		{"replay drops unset", "RandomWalk/Grace"},
		{"replay drops unset", "Linearizable/Grace"},
		{"replay overfills", "Limits"},
		{"replay renews deadline", "Grace"},
		{"replay renews deadline", "RandomWalk/Grace"},
		{"replay renews window", "Grace"},
		{"replay renews window", "RandomWalk/Grace"},
		{"nine exchanges", "Grace"},
		{"nine exchanges", "RandomWalk/Grace"},
		{"nine exchanges", "Linearizable/Grace"},
		{"seven exchanges", "Grace"},
		{"window a nanosecond longer", "Grace"},
		{"window a nanosecond longer", "RandomWalk/Grace"},
		{"window a nanosecond shorter", "Grace"},
		{"one window for all", "Grace"},
		{"one window for all", "RandomWalk/Grace"},
		{"only the last has a grace", "Grace"},
		{"validate has no grace", "Grace"},
		{"validate has no grace", "Linearizable/Grace"},
		{"validate spends grace", "Grace"},
		{"delete has no grace", "Grace"},
		{"delete has no grace", "RandomWalk/Grace"},
		{"validate revokes", "Reuse"},
		{"validate revokes", "RandomWalk/Revoke"},
		{"delete never revokes", "Reuse"},
		{"delete never revokes", "RandomWalk/Revoke"},
		{"reject revokes", "Reuse"},
		{"reject revokes", "Grace"},
		{"reject revokes", "Contract"},
		{"only ancestors revoke", "Reuse"},
		{"only ancestors revoke", "RandomWalk/Revoke"},
		{"only near ancestors revoke", "Reuse"},
		{"only near ancestors revoke", "Linearizable/Revoke"},
		{"reuse revokes the subject", "Reuse"},
		{"reuse revokes the subject", "Subjects"},
		{"reuse revokes the subject", "RandomWalk/Revoke"},
		{"own lifetime forgotten", "Lifetimes"},
		{"own lifetime forgotten", "RandomWalk"},
		{"absolute deadline forgotten", "Lifetimes"},
		{"absolute deadline moves", "Lifetimes"},
		{"absolute deadline moves", "RandomWalk/MaxLifetime"},
		{"one of a subject stays", "Subjects"},
		{"one of a subject stays", "RandomWalk"},
		{"exchanged escape the end", "Subjects"},
		{"exchanged escape the end", "Linearizable/Subjects"},
		{"expired are ended", "Subjects"},
		{"expired are the subject's", "Subjects"},
		{"oldest first", "Subjects"},
		{"oldest first", "RandomWalk"},
		{"exchange makes newer", "Subjects"},
		{"more without more", "Subjects"},
		{"more without more", "RandomWalk"},
		{"expired hide others", "Subjects"},
		{"listed without bound", "Subjects"},
		{"large one not listed", "Subjects"},
		{"keep revokes", "Subjects"},
		{"keep revokes", "RandomWalk/Revoke"},
		{"keep has no grace", "Subjects"},
		{"keep has no grace", "Linearizable/Grace"},
		{"keep may be spent", "Subjects"},
		{"keep may be spent", "RandomWalk"},
		{"keep may be spent", "Linearizable/Subjects"},
		{"keep of another subject", "Subjects"},
		{"keep of another subject", "RandomWalk"},
		{"keep ends itself", "Subjects"},
		{"keep ends itself", "RandomWalk"},
		{"keep ends itself", "Linearizable/Subjects"},
		{"kept while it is not exchanged", "Subjects"},
		{"nobody keeps", "Subjects"},
		{"session of another subject", "Subjects"},
		{"session of another subject", "RandomWalk"},
		{"another name after an exchange", "Subjects"},
		{"another name after an exchange", "RandomWalk"},
		{"page goes on anywhere", "Subjects"},
		{"page goes on anywhere", "RandomWalk"},
		{"page repeats", "Subjects"},
		{"page repeats", "RandomWalk"},
		{"nobody is a subject", "Subjects"},
		{"nobody is a subject", "RandomWalk"},
	}
	for _, test := range tests {
		t.Run(test.fault+"/"+test.part, func(t *testing.T) {
			run := "^TestFault$/^" + strings.ReplaceAll(test.part, "/", "$/^") + "$"
			cmd := exec.Command(os.Args[0], "-test.run="+run, "-storetest.seed=1",
				"-test.v", "-test.failfast", "-test.timeout=60s")
			cmd.Env = append(os.Environ(), faultVariable+"="+test.fault)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestFault/"+test.part+"/") &&
				!strings.Contains(string(out), "--- FAIL: TestFault/"+test.part+" ") {
				t.Errorf("a store with the fault %q passes %s", test.fault, test.part)
			}
		})
	}
}

func TestModelMerge(t *testing.T) {
	for _, m := range merges {
		got := parseObject(m.base).apply(patchOf(m.patch)).String()
		if got != m.want {
			t.Errorf("%s: %s merged with %s = %s, want %s", m.name, m.base, m.patch, got, m.want)
		}
	}
}

func TestModelLeavesBaseAlone(t *testing.T) {
	base := parseObject(`{"a":1,"b":2}`)
	before := slices.Clone(base)
	base.apply(patchOf(`{"a":3,"c":4}["b"]`))
	if !slices.Equal(base, before) {
		t.Errorf("merge changed its base to %v, want %v", base, before)
	}
}
