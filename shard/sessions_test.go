package shard

import (
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tokenserver/token"
)

// TestListingBatches reads a shard batch by batch.
func TestListingBatches(t *testing.T) {
	tests := []struct {
		name                string
		sessions, meta      int
		batches, first, max int // batches, sessions in the first one and at most
	}{
		{"none", 0, 0, 0, 0, 0},
		{"one", 1, 20, 1, 1, 1},
		{"a whole batch", listRecords, 20, 1, listRecords, listRecords},
		{"one more", listRecords + 1, 20, 2, listRecords, listRecords},
		{"large", 10, listBytes / 2, 5, 2, 2},
		{"too large", 3, 2 * listBytes, 3, 1, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, Config{Shards: 1, MaxMeta: 4 * listBytes, PurgeInterval: never})
			for range test.sessions {
				mustCreate(t, s, `{"a":"`+strings.Repeat("x", test.meta-len(`{"a":""}`))+`"}`)
			}
			var b listing
			var sizes []int
			for b.read(&s.shards[0], s.now()) {
				sizes = append(sizes, len(b.sessions))
			}
			sum := 0
			for i, n := range sizes {
				if sum += n; n > test.max || i == 0 && n != test.first {
					t.Errorf("batch %d has %d sessions, want %d in the first and at most %d", i, n, test.first, test.max)
				}
			}
			if len(sizes) != test.batches || sum != test.sessions {
				t.Errorf("%d sessions in %d batches, want %d in %d", sum, len(sizes), test.sessions, test.batches)
			}
		})
	}
}

// TestListingHoldsNoLock stops a listing in the middle of a batch.
func TestListingHoldsNoLock(t *testing.T) {
	s := open(t, Config{Shards: 1})
	for range 2 * listRecords {
		mustCreate(t, s, `{}`)
	}
	next, stop := iter.Pull2(s.Sessions(t.Context()))
	defer stop()
	for range listRecords + 10 {
		if _, err, ok := next(); err != nil || !ok {
			t.Fatalf("next = error %v, %v", err, ok)
		}
		if !s.shards[0].mu.TryLock() {
			t.Fatal("the listing holds the lock while a session is looked at")
		}
		s.shards[0].mu.Unlock()
	}
}

// TestListingWhileExchanging lists sessions that are being exchanged and patched
// all the time, while others come and go: each that stays is listed once, with
// metadata that it had.
func TestListingWhileExchanging(t *testing.T) {
	const sessions, callers, listings = 2000, 3, 5
	s := open(t, Config{Shards: 4})
	var stop atomic.Bool
	var done sync.WaitGroup
	for caller := range callers {
		tokens := make([]token.Token, sessions/callers)
		for i := range tokens {
			tokens[i] = mustCreate(t, s, fmt.Sprintf(`{"id":"%d-%d"}`, caller, i))
		}
		done.Go(func() {
			for n := 0; !stop.Load(); n++ {
				i := n % len(tokens)
				patch := fmt.Appendf(nil, `{"n":"%s"}`, strings.Repeat("n", n%300))
				tokens[i] = mustExchange(t, s, tokens[i], patch)
				s.Delete(t.Context(), mustCreate(t, s, `{"id":"passing"}`))
			}
		})
	}
	for range listings {
		seen := make(map[string]int)
		for session, err := range s.Sessions(t.Context()) {
			if err != nil {
				t.Errorf("Sessions: error %v", err)
			}
			id, _, _ := strings.Cut(strings.TrimPrefix(string(session.Meta), `{"id":"`), `"`)
			seen[id]++
		}
		delete(seen, "passing")
		for id, n := range seen {
			if n != 1 {
				t.Errorf("session %s is listed %d times", id, n)
			}
		}
		if want := sessions / callers * callers; len(seen) != want {
			t.Errorf("%d sessions listed, want %d", len(seen), want)
		}
	}
	stop.Store(true)
	done.Wait()
}

// TestListingWhileExpiring has a session expire between two batches.
func TestListingWhileExpiring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{Shards: 1, Lifetime: time.Hour, PurgeInterval: never})
		for range 2 * listRecords {
			mustCreate(t, s, `{}`)
		}
		n := 0
		for range s.Sessions(t.Context()) {
			if n++; n == 1 {
				time.Sleep(time.Hour)
			}
		}
		if n != listRecords {
			t.Errorf("%d sessions listed, want the %d of the batch that was read before they expired", n, listRecords)
		}
	})
}
