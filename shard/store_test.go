package shard

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"tokenserver/internal/stats"
	"tokenserver/token"
)

func TestConfigDefaults(t *testing.T) {
	got := Config{}.withDefaults()
	want := Config{
		Shards:        DefaultShards(),
		Lifetime:      2 * time.Hour,
		PurgeInterval: time.Minute,
		MaxMeta:       64 << 10,
	}
	if got != want {
		t.Errorf("zero Config means %+v, want %+v", got, want)
	}
	set := Config{Shards: 1, Lifetime: 2, PurgeInterval: 3, MaxSessions: 4, MaxBytes: 5, MaxMeta: 6}
	if set.withDefaults() != set {
		t.Errorf("%+v became %+v", set, set.withDefaults())
	}
}

func TestDefaultShards(t *testing.T) {
	got, processors := DefaultShards(), runtime.GOMAXPROCS(0)
	if got < 16*processors || got >= 32*processors || got&(got-1) != 0 {
		t.Errorf("DefaultShards() = %d on %d processors, want a power of two from %d on", got, processors, 16*processors)
	}
}

func TestConfigShards(t *testing.T) {
	tests := []struct {
		shards int
		ok     bool
	}{
		{1, true}, {2, true}, {64, true}, {65536, true},
		{-1, false}, {3, false}, {12, false}, {65535, false}, {1 << 17, false}, {-64, false},
	}
	for _, test := range tests {
		cfg := Config{Shards: test.shards}
		if ok := !panics(func() { cfg.withDefaults() }); ok != test.ok {
			t.Errorf("Config{Shards: %d} is taken: %v, want %v", test.shards, ok, test.ok)
		}
	}
	if !panics(func() { New(Config{Shards: 3}) }) {
		t.Error("New(Config{Shards: 3}) does not panic")
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s := New(Config{Shards: 4, PurgeInterval: time.Nanosecond})
	mustCreate(t, s, `{}`)
	if err := s.Close(); err != nil {
		t.Errorf("Close = error %v", err)
	}
	// Calls under way may finish, also after Close.
	tok := mustCreate(t, s, `{"a":1}`)
	mustExchange(t, s, tok, nil)
}

// TestCreateTakenID makes the same random token twice: the second session gets
// another.
func TestCreateTakenID(t *testing.T) {
	s := open(t, Config{Shards: 4})
	cryptotest.SetGlobalRandom(t, 1)
	first := mustCreate(t, s, `{"n":1}`)
	cryptotest.SetGlobalRandom(t, 1)
	second := mustCreate(t, s, `{"n":2}`)
	if first.ID == second.ID {
		t.Fatal("two sessions have one id")
	}
	for tok, want := range map[token.Token]string{first: `{"n":1}`, second: `{"n":2}`} {
		if meta, _, err := s.Validate(t.Context(), tok, nil); string(meta) != want || err != nil {
			t.Errorf("Validate = %q, error %v, want %q", meta, err, want)
		}
	}
	if got := s.Stats(); got.Sessions != 2 || got.Created != 2 {
		t.Errorf("Stats = %+v, want 2 sessions", got)
	}
}

// TestShardsShareEvenly counts sessions by shard.
func TestShardsShareEvenly(t *testing.T) {
	const perShard = 200
	for _, shards := range []int{1, 2, 64} {
		s := open(t, Config{Shards: shards})
		if got := s.Stats().Shards; got != shards {
			t.Errorf("Shards = %d, want %d", got, shards)
		}
		for range perShard * shards {
			mustCreate(t, s, `{}`)
		}
		for i := range s.shards {
			// Eight standard deviations off.
			if got := int(s.shards[i].heap.n); got < perShard-113 || got > perShard+113 {
				t.Errorf("%d shards: shard %d has %d sessions, want about %d", shards, i, got, perShard)
			}
		}
	}
}

func TestCounters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{Shards: 8, Lifetime: time.Hour, PurgeInterval: never, MaxMeta: 100})
		tokens := make([]token.Token, 10)
		for i := range tokens {
			tokens[i] = mustCreate(t, s, `{"a":1}`)
		}
		spent := tokens[0]
		for i := range tokens[:4] {
			tokens[i] = mustExchange(t, s, tokens[i], []byte(`{"a":2}`))
		}
		for _, invalid := range []token.Token{spent, token.Generate(), {}} {
			if _, err := s.Exchange(t.Context(), invalid, token.Patch{}, nil); !errors.Is(err, token.ErrInvalid) {
				t.Errorf("Exchange = error %v, want %v", err, token.ErrInvalid)
			}
			s.Delete(t.Context(), invalid)
			s.Validate(t.Context(), invalid, nil)
		}
		large := []byte(`{"b":"` + strings.Repeat("x", 100) + `"}`)
		if _, err := s.Exchange(t.Context(), tokens[0], token.Patch{Meta: large}, nil); !errors.Is(err, token.ErrMetaTooLarge) {
			t.Errorf("Exchange = error %v, want %v", err, token.ErrMetaTooLarge)
		}
		s.Create(t.Context(), token.NewSession{Meta: large})
		s.Delete(t.Context(), tokens[0])
		s.Delete(t.Context(), tokens[0])

		got := s.Stats()
		want := stats.Store{
			Counters: stats.Counters{Created: 10, Exchanged: 4, Invalid: 3, Deleted: 1, Reused: 2},
			Shards:   got.Shards,
			Sessions: 9,
			Bytes:    9 * sessionCost(len(`{"a":1}`), false),
			Reserved: got.Reserved,
		}
		got.Bytes += mapSurplus(s)
		if got != want || got.Reserved < got.Bytes-9*sessionOverhead {
			t.Errorf("Stats = %+v, want %+v", got, want)
		}
		time.Sleep(time.Hour)
		if got := s.Stats().Sessions; got != 9 {
			t.Errorf("expired: %d sessions held, want 9 until a purge", got)
		}
		s.Purge()
		want.Purged, want.Sessions, want.Bytes = 9, 0, 0
		if got := s.Stats(); got.Counters != want.Counters || got.Sessions != 0 || got.Bytes != 0 {
			t.Errorf("purged: Stats = %+v, want %+v", got, want)
		}
	})
}

// TestReserved counts what a store has reserved by hand.
func TestReserved(t *testing.T) {
	s := open(t, Config{Shards: 1, PurgeInterval: never})
	if got := s.Stats().Reserved; got != 0 {
		t.Errorf("empty: Reserved = %d, want 0", got)
	}
	tok := mustCreate(t, s, `{}`)
	first := firstLen*(recordSize+entrySize) + mapBytes[token.ID, recordIndex](1) + minBlocks*16
	if got := s.Stats().Reserved; got != first {
		t.Errorf("one session: Reserved = %d, want %d", got, first)
	}
	large := strings.Repeat("x", 40<<10)
	tok = mustExchange(t, s, tok, fmt.Appendf(nil, `{"a":"%s"}`, large))
	if got, want := s.Stats().Reserved, first+int64(blockLen(len(`{"a":""}`)+len(large), false)); got != want {
		t.Errorf("one large session: Reserved = %d, want %d", got, want)
	}
	s.Delete(t.Context(), tok)
	if got := s.Stats().Reserved; got != first {
		t.Errorf("empty again: Reserved = %d, want %d", got, first)
	}
	mustCreateNew(t, s, token.NewSession{Meta: []byte(`{}`), Subject: []byte("ada")})
	first += firstLen*policySize + mapBytes[Subject, policyIndex](1)
	if got := s.Stats().Reserved; got != first {
		t.Errorf("with a subject: Reserved = %d, want %d", got, first)
	}
}

func TestLockWait(t *testing.T) {
	calls := map[string]func(*Store, token.Token){
		"Exchange": func(s *Store, tok token.Token) { s.Exchange(t.Context(), tok, token.Patch{}, nil) },
		"Validate": func(s *Store, tok token.Token) { s.Validate(t.Context(), tok, nil) },
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			s := open(t, Config{Shards: 1, PurgeInterval: never})
			tok := mustCreate(t, s, `{}`)
			call(s, tok)
			if got := s.Stats(); got.Contended != 0 || got.LockWait != 0 {
				t.Errorf("with nobody else: waited %d times, %v, want 0, 0", got.Contended, got.LockWait)
			}
			var done sync.WaitGroup
			s.shards[0].mu.Lock()
			done.Go(func() { call(s, tok) })
			for giveUp := time.Now().Add(10 * time.Second); !anyWaits() && time.Now().Before(giveUp); {
				runtime.Gosched()
			}
			s.shards[0].mu.Unlock()
			done.Wait()
			if got := s.Stats(); got.Contended != 1 || got.LockWait <= 0 {
				t.Errorf("behind another: waited %d times, %v, want once", got.Contended, got.LockWait)
			}
		})
	}
}

// anyWaits says whether a goroutine waits for a shard's lock.
func anyWaits() bool {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for _, stack := range bytes.Split(stacks, []byte("\n\n")) {
		state, frames, _ := bytes.Cut(stack, []byte("\n"))
		if bytes.Contains(state, []byte("Lock")) && bytes.Contains(frames, []byte("shard.(*shard).wait(")) {
			return true
		}
	}
	return false
}
