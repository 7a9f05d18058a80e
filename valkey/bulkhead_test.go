package valkey

import (
	"context"
	"errors"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/redis/rueidis"

	"tokenserver/internal/enginetest"
	"tokenserver/token"
)

// TestOnePrimaryStops: calls wait for a primary that does not answer until too many do. Those to
// the others go on, alone and in batches that also go to it.
func TestOnePrimaryStops(t *testing.T) {
	const each = MaxInFlightFailing + 50
	nodes := enginetest.StartCluster(t, 3, enginetest.Patient)
	s := open(t, Config{Timeout: MaxTimeout}, enginetest.Addresses(nodes)...)
	enginetest.Until(t, patience, "a look at the cluster", func() bool { return s.bulkheads.cluster.Load() != nil })
	stopped := enginetest.Primaries(nodes)[0]
	owner := s.bulkheads.cluster.Load().addresses[stopped.Address()]
	var waiting, others []token.Token
	for len(waiting) <= each || len(others) < each {
		tok := mustCreate(t, s, token.NewSession{Meta: []byte(`{}`)})
		if s.bulkheads.of(s.keys.session(tok.ID)) == owner {
			waiting = append(waiting, tok)
		} else {
			others = append(others, tok)
		}
	}
	refused := waiting[each]
	stopped.Signal(syscall.SIGSTOP)
	var all sync.WaitGroup
	var ended func()
	all.Go(func() {
		_, errs := exchangeAll(s, waiting[:each])
		ended = func() { wantUndone(t, errs) }
	})
	enginetest.Until(t, patience, "calls that wait", func() bool { return owner.inFlight.Load() == each && owner.failing.Load() })
	if _, err := s.Exchange(t.Context(), refused, token.Patch{}, nil); !errors.Is(err, errTooMany) {
		t.Errorf("Exchange at the primary that is stopped = error %v, want %v", err, errTooMany)
	}
	for i, tok := range others[:each] {
		if i%2 == 0 {
			mustExchange(t, s, tok, token.Patch{}, `{}`)
			continue
		}
		b := token.Batch{Items: []token.BatchItem{{Op: token.OpExchange, Token: refused}, {Op: token.OpExchange, Token: tok}}}
		if err := s.Batch(context.Background(), &b); err != nil || !errors.Is(b.Items[0].Err, errTooMany) || b.Items[1].Err != nil {
			t.Fatalf("Batch = errors %v and %v, error %v, want %v and none", b.Items[0].Err, b.Items[1].Err, err, errTooMany)
		}
	}
	stopped.Signal(syscall.SIGCONT)
	all.Wait()
	ended()
	mustExchange(t, s, refused, token.Patch{}, `{}`)
	if n := s.bulkheads.inFlight(); n != 0 {
		t.Errorf("%d calls are under way, want none", n)
	}
}

// wantUndone checks that calls have succeeded, or say that nothing was carried out.
func wantUndone(t testing.TB, errs []error) {
	t.Helper()
	for i, err := range errs {
		if err != nil && !isUndone(err) {
			t.Errorf("call %d = error %v, want none, or that nothing was carried out", i, err)
		}
	}
}

// TestBulkheadsFollow: those of primaries that stay keep their calls when slots move.
func TestBulkheadsFollow(t *testing.T) {
	var all bulkheads
	half := []slotRange{{0, 8191}}
	rest := []slotRange{{8192, clusterSlots - 1}}
	all.follow([]primary{{}})
	if all.cluster.Load() != nil || all.of("{abc}") != &all.only {
		t.Error("one engine has bulkheads of a cluster")
	}
	all.follow([]primary{{address: "a", slots: half}, {address: "b", slots: rest}})
	first := *all.cluster.Load()
	a, b := first.bulkheads[0], first.bulkheads[clusterSlots-1]
	if a == b || first.bulkheads[8191] != a || first.bulkheads[8192] != b {
		t.Error("slots do not have the bulkheads of their primaries")
	}
	a.inFlight.Add(3)
	all.follow([]primary{{address: "c", slots: half}, {address: "a", slots: rest}})
	then := all.cluster.Load()
	if then.bulkheads[clusterSlots-1] != a || then.bulkheads[0] == b || then.bulkheads[0] == a {
		t.Error("slots that have moved do not have the bulkheads of their new primaries")
	}
	if got, want := all.inFlight(), 3; got != want {
		t.Errorf("inFlight = %d, want %d", got, want)
	}
	if key := "x{abc}d"; all.of(key) != then.bulkheads[slotOf(key)] {
		t.Error("a key does not have the bulkhead of its slot")
	}
}

// TestPipelinesWhileSlotsMove: what a batch does with one session stays in one pipeline, in its order,
// whoever gets its slot meanwhile.
func TestPipelinesWhileSlotsMove(t *testing.T) {
	s, err := newStore(Config{Engine: Engine{Hosts: []string{"h"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	all := []slotRange{{0, clusterSlots - 1}}
	stop, moves := make(chan struct{}), sync.WaitGroup{}
	moves.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				s.bulkheads.follow([]primary{{address: "a", slots: all}})
				s.bulkheads.follow([]primary{{address: "b", slots: all}})
			}
		}
	})
	defer moves.Wait()
	defer close(stop)
	for range 200 {
		var operations []operation
		for range 256 {
			tok := token.Generate()
			operations = append(operations, s.newRemoval(tok), s.newLook(tok))
		}
		if n := len(s.pipelines(operations)); n != 1 {
			t.Fatalf("%d pipelines to one primary, want 1", n)
		}
	}
}

// TestPrimariesFirst: a look at a cluster asks its primaries before a replica that may hang.
func TestPrimariesFirst(t *testing.T) {
	var b bulkheads
	nodes := map[string]rueidis.Client{"a": nil, "b": nil, "c": nil, "d": nil, "e": nil, "f": nil}
	b.follow([]primary{{address: "c", slots: []slotRange{{0, 8191}}}, {address: "f", slots: []slotRange{{8192, clusterSlots - 1}}}})
	for range 20 { // the order of a map is by chance
		got := b.primariesFirst(nodes)
		if slices.Sort(got[:2]); len(got) != len(nodes) || !slices.Equal(got[:2], []string{"c", "f"}) {
			t.Fatalf("primariesFirst = %q, want all nodes, and c and f first", got)
		}
	}
}
