package shard

import (
	"testing"
	"testing/synctest"
	"time"

	"tokenserver/internal/storetest"
	"tokenserver/token"
)

// passAll walks along ada's sessions, calling between after each hold of the lock.
func passAll(t *testing.T, s *Store, between func()) (passed []token.ID) {
	t.Helper()
	w := subjectWalk{subject: NewSubject([]byte("ada"))}
	for end := false; !end; between() {
		var ids [subjectBatch]token.ID
		var n int
		n, end, _ = s.shards[0].pass(&w, ids[:0], s.now())
		passed = append(passed, ids[:n]...)
		if !s.shards[0].mu.TryLock() {
			t.Fatal("pass kept the lock")
		}
		s.shards[0].mu.Unlock()
	}
	return passed
}

// TestWalk passes each session that lives once, a batch under each hold of the lock.
func TestWalk(t *testing.T) {
	for _, n := range []int{0, 1, subjectBatch - 1, subjectBatch, subjectBatch + 1, 5*subjectBatch + 3} {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, Config{Shards: 1, Lifetime: time.Hour, PurgeInterval: never})
			createFor(t, s, "ada", n)
			time.Sleep(time.Hour) // and those have expired
			mine := createFor(t, s, "ada", n)
			createFor(t, s, "bob", 2)
			holds := 0
			passed := passAll(t, s, func() { holds++ })
			if want := max(1, (2*n+subjectBatch-1)/subjectBatch); len(passed) != n || holds != want {
				t.Errorf("%d sessions passed in %d holds, want %d in %d", len(passed), holds, n, want)
			}
			for i, id := range passed {
				if id != mine[n-1-i].ID {
					t.Errorf("session %d is not the newest but %d", i, i)
				}
			}
		})
	}
}

// TestWalkAmongOthers makes random changes between all holds of a walk's lock: what is
// there throughout is passed, whatever else ends or begins.
func TestWalkAmongOthers(t *testing.T) {
	rng := storetest.NewRand(storetest.Seed(t))
	for range 100 {
		s := open(t, Config{Shards: 1, PurgeInterval: never})
		all := createFor(t, s, "ada", rng.IntN(20*subjectBatch))
		passed := passAll(t, s, func() {
			for i := range all {
				if rng.IntN(10) == 0 {
					s.Delete(t.Context(), all[i])
					all[i] = token.Token{}
				}
			}
			createFor(t, s, "ada", 3)
		})
		seen := make(map[token.ID]bool)
		for _, id := range passed {
			seen[id] = true
		}
		for i, tok := range all {
			if tok != (token.Token{}) && !seen[tok.ID] {
				t.Errorf("session %d of %d was not passed", i, len(all))
			}
		}
	}
}
