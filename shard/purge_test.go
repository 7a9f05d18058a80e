package shard

import (
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"tokenserver/internal/metadata"
	"tokenserver/token"
)

// decoys are map entries of sessions that a purge has no business with: no
// record has their index.
var decoys = func() map[token.ID]recordIndex {
	m := make(map[token.ID]recordIndex)
	for i := range 10_000 {
		m[decoyID(1<<20+i)] = math.MaxUint32
	}
	return m
}()

func decoyID(i int) (id token.ID) {
	binary.LittleEndian.PutUint64(id[:], uint64(i))
	return id
}

// newTrappedShard returns a shard with sessions that expire at 1 and sessions
// that live. To look at one of those, but for its place in the heap, ends in a
// panic: their records name no block, and their map entries no record.
func newTrappedShard(t testing.TB, expired, live int) *shard {
	t.Helper()
	sh := new(shard)
	sh.init(&rules{maxMeta: token.DefaultMetaLimit}, new(pagePool), new(budget), new(purgeState))
	sh.sessions.m = decoys
	var meta metadata.Object
	meta.Split([]byte(`{"a":1}`))
	for i := range expired {
		delete(decoys, decoyID(i))
		n := newSession{id: decoyID(i), meta: &meta, size: meta.Len(), deadline: 1}
		if ok, _, err := sh.create(&n); !ok || err != nil {
			t.Fatalf("create = %v, error %v", ok, err)
		}
	}
	for i := range live {
		sh.records.reserve()
		sh.heap.reserve()
		r := sh.records.alloc()
		*sh.records.at(r) = record{id: decoyID(1<<20 + i), block: math.MaxUint32}
		sh.heap.push(entry{deadline: timestamp(100 + i%1000), record: r})
	}
	return sh
}

// panics says whether f panics.
func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

// TestPurgeVisitsOnlyExpired counts the chunks of the heap and of the records
// that a purge can't do without. What it looks at beside the expired sessions
// are those few that move up in the heap in their place.
func TestPurgeVisitsOnlyExpired(t *testing.T) {
	live := 100_000
	if raceEnabled {
		live = 30_000
	}
	tests := []struct{ expired, maxHeap, maxRecords int }{
		{0, 1, 0},  // the first entry
		{1, 6, 10}, // its chunk, the last one's, and those on the way down
	}
	for _, test := range tests {
		whole := newTrappedShard(t, test.expired, live)
		heap, records := 0, 0
		for i := range whole.heap.entries.chunks {
			sh := newTrappedShard(t, test.expired, live)
			sh.heap.entries.chunks[i] = nil
			if panics(func() { sh.purgeBatch(50) }) {
				heap++
			}
		}
		for i := range whole.records.chunks.chunks {
			sh := newTrappedShard(t, test.expired, live)
			sh.records.chunks.chunks[i] = nil
			if panics(func() { sh.purgeBatch(50) }) {
				records++
			}
		}
		t.Logf("purge of %d among %d: %d of %d chunks of the heap, %d of %d of records", test.expired, live,
			heap, len(whole.heap.entries.chunks), records, len(whole.records.chunks.chunks))
		if heap > test.maxHeap || records > test.maxRecords {
			t.Errorf("purge of %d among %d visits %d chunks of the heap and %d of records, want at most %d, %d",
				test.expired, live, heap, records, test.maxHeap, test.maxRecords)
		}
		if n, _ := whole.purgeBatch(50); n != test.expired {
			t.Errorf("purgeBatch = %d, want %d", n, test.expired)
		}
	}
}

func TestPurgeInBatches(t *testing.T) {
	sh := newTrappedShard(t, 2*purgeBatch+3, 10_000)
	tests := []struct {
		purged int
		next   timestamp
	}{
		{purgeBatch, 1}, {purgeBatch, 1}, {3, 100}, {0, 100},
	}
	for _, test := range tests {
		purged, next := sh.purgeBatch(99)
		if purged != test.purged || next != test.next {
			t.Errorf("purgeBatch = %d, next %d, want %d, %d", purged, next, test.purged, test.next)
		}
		if !sh.mu.TryLock() {
			t.Fatal("purgeBatch kept the lock")
		}
		sh.mu.Unlock()
	}
	if sh.heap.n != 10_000 || sh.counters.Purged != 2*purgeBatch+3 {
		t.Errorf("%d sessions left, %d purged, want %d, %d", sh.heap.n, sh.counters.Purged, 10_000, 2*purgeBatch+3)
	}
}

// TestPurgeWholeBatches has numbers of expired sessions at the ends of batches.
func TestPurgeWholeBatches(t *testing.T) {
	for _, n := range []int{0, 1, purgeBatch - 1, purgeBatch, purgeBatch + 1, 2 * purgeBatch, 100 * purgeBatch} {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, Config{Shards: 1, Lifetime: time.Hour, PurgeInterval: never})
			for range n {
				mustCreate(t, s, `{}`)
			}
			time.Sleep(time.Hour - time.Nanosecond)
			mustCreate(t, s, `{"later":1}`)
			if got := s.Purge(); got != 0 {
				t.Errorf("Purge before the time = %d, want 0", got)
			}
			time.Sleep(time.Nanosecond)
			if got := s.Purge(); got != n {
				t.Errorf("Purge = %d, want %d", got, n)
			}
			if got := s.Stats(); got.Sessions != 1 || got.Purged != uint64(n) {
				t.Errorf("Stats = %+v, want 1 session, %d purged", got, n)
			}
		})
	}
}

func TestPurgeRunsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{Shards: 4, Lifetime: time.Hour, PurgeInterval: 10 * time.Minute})
		for range 100 {
			mustCreate(t, s, `{}`)
		}
		time.Sleep(time.Hour - time.Nanosecond)
		synctest.Wait()
		if got := s.Stats().Sessions; got != 100 {
			t.Errorf("before the deadline: %d sessions held, want 100", got)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := s.Stats(); got.Sessions != 0 || got.Purged != 100 || got.Bytes != 0 {
			t.Errorf("after a purge: %+v, want no session, 100 purged", got)
		}
	})
}

func TestLongestPurgeHold(t *testing.T) {
	s := open(t, Config{Shards: 1, Lifetime: 1, PurgeInterval: never})
	if got := s.Stats().LongestPurgeHold; got != 0 {
		t.Errorf("before a purge: LongestPurgeHold = %v, want 0", got)
	}
	mustCreate(t, s, `{}`)
	for s.Purge() == 0 {
	}
	first := s.Stats().LongestPurgeHold
	if first <= 0 {
		t.Errorf("LongestPurgeHold = %v, want more than 0", first)
	}
	s.purge.held(first - 1)
	if got := s.Stats().LongestPurgeHold; got != first {
		t.Errorf("LongestPurgeHold = %v after a shorter one, want %v", got, first)
	}
	s.purge.held(first + 1)
	if got := s.Stats().LongestPurgeHold; got != first+1 {
		t.Errorf("LongestPurgeHold = %v after a longer one, want %v", got, first+1)
	}
}

// TestPurgeHoldIsNoWait has a purge wait for the lock: it holds it no longer for that.
func TestPurgeHoldIsNoWait(t *testing.T) {
	const wait = 50 * time.Millisecond
	s := open(t, Config{Shards: 1, PurgeInterval: never})
	mustCreate(t, s, `{}`)
	sh := &s.shards[0]
	sh.mu.Lock()
	done := make(chan int)
	go func() { done <- s.Purge() }()
	for goroutinesIn("shard.(*shard).wait(") == 0 {
		runtime.Gosched()
	}
	time.Sleep(wait) // what the purge waits
	sh.mu.Unlock()
	<-done
	if st := s.Stats(); st.LongestPurgeHold >= wait/2 || st.LockWait < wait {
		t.Errorf("LongestPurgeHold = %v, LockWait = %v, want far less than %v, and that", st.LongestPurgeHold, st.LockWait, wait)
	}
}

// TestFullStoreIsNotScanned holds each shard's lock while a store that is full,
// and in which nothing has expired, refuses sessions.
func TestFullStoreIsNotScanned(t *testing.T) {
	s := open(t, Config{Shards: 8, MaxSessions: 20, PurgeInterval: never})
	for range 20 {
		mustCreate(t, s, `{}`)
	}
	create := func() error {
		_, err := s.Create(t.Context(), token.NewSession{Meta: []byte(`{}`)})
		return err
	}
	if err := create(); !errors.Is(err, token.ErrFull) {
		t.Fatalf("Create = error %v, want %v", err, token.ErrFull)
	}
	for i := range s.shards {
		s.shards[i].mu.Lock()
	}
	refused := make(chan error, 1)
	go func() { refused <- create() }()
	select {
	case err := <-refused:
		if !errors.Is(err, token.ErrFull) {
			t.Errorf("Create = error %v, want %v", err, token.ErrFull)
		}
	case <-time.After(10 * time.Second):
		t.Error("Create waits for a shard")
	}
	for i := range s.shards {
		s.shards[i].mu.Unlock()
	}
}

// TestEarliest follows the time from which a full store looks for expired sessions.
func TestEarliest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{Shards: 8, Lifetime: time.Hour, MaxSessions: 2, PurgeInterval: never})
		refuse := func() {
			t.Helper()
			if _, err := s.Create(t.Context(), token.NewSession{Meta: []byte(`{}`)}); !errors.Is(err, token.ErrFull) {
				t.Fatalf("Create = error %v, want %v", err, token.ErrFull)
			}
		}
		opened := s.now()
		want := func(since time.Duration) {
			t.Helper()
			if got, want := timestamp(s.purge.earliest.Load()), opened.Add(since); got != want {
				t.Errorf("earliest = %v, want %v", got.Sub(opened), since)
			}
		}
		first := mustCreate(t, s, `{}`)
		time.Sleep(10 * time.Minute)
		mustCreate(t, s, `{}`)
		if got := s.purge.earliest.Load(); got != 0 {
			t.Errorf("earliest = %v before the first look, want 0: nothing is known", got)
		}
		refuse()
		want(60 * time.Minute)
		time.Sleep(10 * time.Minute)
		mustExchange(t, s, first, nil) // expires at 80 min now
		refuse()
		want(60 * time.Minute) // a lower bound, good enough
		time.Sleep(40 * time.Minute)
		refuse()
		want(70 * time.Minute)
		time.Sleep(10 * time.Minute)
		third := mustCreate(t, s, `{}`) // at 70 min, in place of the second
		want(80 * time.Minute)
		s.Delete(t.Context(), third)
		mustCreate(t, s, `{}`)
		refuse()
		time.Sleep(2 * time.Hour)
		mustCreate(t, s, `{}`)
		mustCreate(t, s, `{}`)
		want(250 * time.Minute)
		refuse()
		if got := s.Stats(); got.Sessions != 2 || got.Purged != 3 {
			t.Errorf("Stats = %+v, want 2 sessions, 3 purged", got)
		}
	})
}

// A step of compaction holds a lock for its work, not for the wait before it. Here the
// clock is the real one: under a fake one it would stand while somebody waits for a lock.
func TestCompactionHoldIsNoWait(t *testing.T) {
	const wait = 100 * time.Millisecond
	s := open(t, Config{Shards: 1, PurgeInterval: never})
	sh := &s.shards[0]
	sh.lock()
	sh.backlog.Store(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.compact(sh, new(pacer))
	}()
	time.Sleep(wait)
	sh.unlock()
	<-done
	if got := s.Stats().LongestPurgeHold; got >= wait {
		t.Errorf("longest hold %v, want less than the wait of %v before it", got, wait)
	}
}
