package shard

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenserver/internal/storetest"
	"tokenserver/token"
)

// walkSizes are sizes of metadata, from the least on.
var walkSizes = []int{20, 100, 130, 200, 300, 450, 700, 1000, 1500, 2300, 3500}

func metaOf(size int) []byte {
	return fmt.Appendf(nil, `{"a":"%s"}`, strings.Repeat("x", size-len(`{"a":""}`)))
}

// TestSparsePages fills a store with sessions of one size, ends all but one of a
// page's worth, and goes on with the next size.
func TestSparsePages(t *testing.T) {
	shards := 32
	if raceEnabled || testing.Short() {
		shards = 2
	}
	limit := int64(shards) * 2 << 20
	s := open(t, Config{MaxBytes: limit, Shards: shards, PurgeInterval: never})
	for _, size := range walkSizes {
		tokens := fillUp(t, s, metaOf(size))
		full := s.Stats()
		if full.Reserved > limit || full.Bytes < limit*6/10 {
			t.Errorf("%d bytes each: full with %d bytes used and %d reserved of %d", size, full.Bytes, full.Reserved, limit)
		}
		keep := max(1, pageSize/blockSize(blockLen(size, false)))
		for i, tok := range tokens {
			if i%keep != 0 {
				s.Delete(t.Context(), tok)
			}
		}
		wantBound(t, s)
		sparse := s.Stats()
		t.Logf("%4d bytes each: full: %d used, %d reserved; %d sessions left: %d used, %d reserved",
			size, full.Bytes, full.Reserved, sparse.Sessions, sparse.Bytes, sparse.Reserved)
	}
}

// fillUp creates sessions until the store is full.
func fillUp(t *testing.T, s *Store, meta []byte) (tokens []token.Token) {
	t.Helper()
	for {
		tok, err := s.Create(t.Context(), token.NewSession{Meta: meta})
		if errors.Is(err, token.ErrFull) {
			return tokens
		}
		if err != nil {
			t.Fatalf("Create = error %v", err)
		}
		tokens = append(tokens, tok)
	}
}

// wantBound checks what all shards have reserved against what they use.
func wantBound(t *testing.T, s *Store) {
	t.Helper()
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.RLock()
		used, reserved := sh.bytesLocked(), sh.memory.reserved
		sh.mu.RUnlock()
		if limit := used + used/4 + 1<<20; reserved > limit {
			t.Fatalf("shard %d: %d bytes reserved for %d, want at most %d", i, reserved, used, limit)
		}
	}
	if limit, got := s.budget.bytes.limit, s.budget.bytes.taken.Load(); limit > 0 && got > limit {
		t.Fatalf("%d bytes reserved, want at most %d", got, limit)
	}
}

// memoryWalk does at random what takes and gives memory.
type memoryWalk struct {
	t       *testing.T
	s       *Store
	rng     *rand.Rand
	tokens  []token.Token
	limit   int64
	share   int64 // percent of the limit that must be used where the store is full
	full    int
	least   float64
	shrink  bool
	wasFull int
}

// step makes one step of a store that grows or shrinks.
func (w *memoryWalk) step() {
	grow := 60
	if w.shrink {
		grow = 5
	}
	switch n := w.rng.IntN(100); {
	case n < grow || len(w.tokens) == 0:
		w.create()
	case n < 70:
		w.patch()
	case n < 99:
		i := w.rng.IntN(len(w.tokens))
		w.s.Delete(w.t.Context(), w.tokens[i])
		w.forget(i)
	default:
		time.Sleep(time.Duration(w.rng.IntN(int(time.Second))))
	}
}

func (w *memoryWalk) forget(i int) {
	last := len(w.tokens) - 1
	w.tokens[i] = w.tokens[last]
	w.tokens = w.tokens[:last]
}

func (w *memoryWalk) create() {
	n := token.NewSession{Meta: metaOf(walkSizes[w.rng.IntN(len(walkSizes))])}
	if w.rng.IntN(8) == 0 {
		n.Lifetime = time.Duration(1 + w.rng.IntN(int(time.Hour)))
	}
	if w.rng.IntN(4) == 0 {
		n.Subject = fmt.Append(nil, w.rng.IntN(10_000))
	}
	tok, err := w.s.Create(w.t.Context(), n)
	if w.fits(err, len(n.Meta)) {
		w.tokens = append(w.tokens, tok)
	}
}

func (w *memoryWalk) patch() {
	i, size := w.rng.IntN(len(w.tokens)), walkSizes[w.rng.IntN(len(walkSizes))]
	x, err := w.s.Exchange(w.t.Context(), w.tokens[i], token.Patch{Meta: metaOf(size)}, nil)
	if errors.Is(err, token.ErrInvalid) {
		w.forget(i)
	} else if w.fits(err, size) {
		w.tokens[i] = x.Token
	}
}

// fits says whether there was room, and checks that a store that has none is full.
func (w *memoryWalk) fits(err error, size int) bool {
	if err == nil {
		return true
	}
	used := w.s.Stats().Bytes + sessionCost(size, true)
	if !errors.Is(err, token.ErrFull) || 100*used < w.share*w.limit {
		w.t.Fatalf("error %v with %d bytes used of %d, want none below %d %%", err, used, w.limit, w.share)
	}
	w.full++
	if share := float64(used) / float64(w.limit); w.least == 0 || share < w.least {
		w.least = share
	}
	return false
}

func TestMemoryWalk(t *testing.T) {
	tests := []struct {
		name       string
		shards     int
		limit      int64
		share      int64
		checkEvery int
	}{
		{"none", 1, 0, 0, 10007},
		{"512 KiB", 1, 512 << 10, 60, 101},
		{"2 MiB a shard", 4, 8 << 20, 60, 1009},
		{"16 MiB a shard", 2, 32 << 20, 80, 10007},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			steps := 250_000
			if raceEnabled || testing.Short() {
				steps = 20_000
			}
			seed := storetest.Seed(t)
			synctest.Test(t, func(t *testing.T) {
				s := open(t, Config{Shards: test.shards, MaxBytes: test.limit, Lifetime: time.Hour, PurgeInterval: 10 * time.Minute})
				w := memoryWalk{t: t, s: s, rng: storetest.NewRand(seed), limit: test.limit, share: test.share}
				for n := range steps {
					w.step()
					switch {
					case len(w.tokens) < 10:
						w.shrink, w.wasFull = false, w.full
					case w.full-w.wasFull > 1000 || len(w.tokens) > 40_000:
						w.shrink = true
					}
					if wantBound(t, s); n%test.checkEvery == 0 {
						synctest.Wait() // for pages that are on their way back to the system
						checkStore(t, s)
					}
				}
				t.Logf("%+v; full %d times, at least %.2f used", s.Stats(), w.full, w.least)
			})
		})
	}
}

// TestSmallSessionsEnd ends the smallest of sessions, for which maps and slabs count
// most, in any order.
func TestSmallSessionsEnd(t *testing.T) {
	sessions := 200_000
	if raceEnabled || testing.Short() {
		sessions = 20_000
	}
	rng := storetest.NewRand(storetest.Seed(t))
	for _, subjects := range []bool{false, true} {
		s := open(t, Config{Shards: 1, PurgeInterval: never})
		tokens := make([]token.Token, sessions)
		for i := range tokens {
			n := token.NewSession{Meta: []byte(`{}`)}
			if subjects {
				n.Subject = fmt.Append(nil, i)
			}
			tokens[i] = mustCreateNew(t, s, n)
			wantBound(t, s)
		}
		rng.Shuffle(len(tokens), func(i, j int) { tokens[i], tokens[j] = tokens[j], tokens[i] })
		for i, tok := range tokens {
			s.Delete(t.Context(), tok)
			if wantBound(t, s); i%(sessions/7) == 0 {
				checkStore(t, s)
			}
		}
		if got := s.Stats().Reserved; got > 64<<10 {
			t.Errorf("%d bytes reserved for nothing", got)
		}
	}
}

// TestMemoryUnderLoad has goroutines create, patch and delete sessions of all sizes
// beside purges and listings: no moment has more reserved than the limit.
func TestMemoryUnderLoad(t *testing.T) {
	const limit = 4 << 20
	steps := 20_000
	if raceEnabled || testing.Short() {
		steps = 2_000
	}
	seed := storetest.Seed(t)
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{Shards: 2, MaxBytes: limit, Lifetime: time.Hour, PurgeInterval: time.Second, Grace: time.Minute})
		var done sync.WaitGroup
		for i := range 4 {
			w := memoryWalk{t: t, s: s, rng: storetest.NewRand(seed + uint64(i)), limit: limit}
			done.Go(func() {
				for n := range steps {
					w.shrink = n/(steps/4)%2 == 1
					if w.step(); n%500 == 0 {
						for range s.Sessions(t.Context()) {
						}
					}
					if got := s.budget.bytes.taken.Load(); got > limit {
						t.Errorf("%d bytes reserved, want at most %d", got, limit)
					}
				}
			})
		}
		done.Wait()
		checkStore(t, s)
	})
}

// TestListingWhileRecordsMove deletes most sessions while all are listed: those
// that live throughout are listed once, although records move down afterwards.
func TestListingWhileRecordsMove(t *testing.T) {
	const sessions = 5000
	s := open(t, Config{Shards: 1, PurgeInterval: never})
	tokens := make([]token.Token, sessions)
	for i := range tokens {
		tokens[i] = mustCreate(t, s, fmt.Sprintf(`{"n":%d}`, i))
	}
	seen := make(map[string]int)
	for session, err := range s.Sessions(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if seen[string(session.Meta)]++; len(seen) == listRecords {
			for i := range sessions * 9 / 10 {
				s.Delete(t.Context(), tokens[i])
			}
		}
	}
	for i := sessions * 9 / 10; i < sessions; i++ {
		if got := seen[fmt.Sprintf(`{"n":%d}`, i)]; got != 1 {
			t.Fatalf("session %d is listed %d times, want once", i, got)
		}
	}
	if n := s.shards[0].records.n; n > sessions/5 {
		t.Errorf("%d records after the listing, want at most %d", n, sessions/5)
	}
}
