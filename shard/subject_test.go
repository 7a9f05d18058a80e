package shard

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tokenserver/token"
)

// createFor creates n sessions of a subject.
func createFor(t testing.TB, s *Store, subject string, n int) (tokens []token.Token) {
	t.Helper()
	for range n {
		tokens = append(tokens, mustCreateNew(t, s, token.NewSession{Meta: []byte(`{"a":1}`), Subject: []byte(subject)}))
	}
	return tokens
}

func TestNewSubject(t *testing.T) {
	seen := make(map[Subject]string)
	for _, name := range []string{"", "a", "A", "a\x00", "user-42", strings.Repeat("a", 256)} {
		subject := NewSubject([]byte(name))
		if other, taken := seen[subject]; taken {
			t.Errorf("%q and %q are one subject", name, other)
		}
		seen[subject] = name
		if nobody := subject == (Subject{}); nobody != (name == "") {
			t.Errorf("NewSubject(%q) is nobody: %v, want %v", name, nobody, name == "")
		}
	}
}

func TestSubjectStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{Shards: 16, Lifetime: time.Hour, Grace: time.Minute, RevokeOnReuse: true, PurgeInterval: never})
		want := func(what string, subjects, sessions int64, ended uint64) {
			t.Helper()
			if got := s.Stats(); got.Subjects != subjects || got.Sessions != sessions || got.Ended != ended {
				t.Errorf("%s: %d subjects, %d sessions, %d ended, want %d, %d, %d",
					what, got.Subjects, got.Sessions, got.Ended, subjects, sessions, ended)
			}
		}
		end := func(name string, want int) {
			t.Helper()
			if got, err := s.EndSubject(t.Context(), []byte(name)); got != want || err != nil {
				t.Errorf("EndSubject(%q) = %d, error %v, want %d", name, got, err, want)
			}
		}
		mustCreate(t, s, `{}`)
		want("nobody", 0, 1, 0)
		ada, bob, carol := createFor(t, s, "ada", 3), createFor(t, s, "bob", 2), createFor(t, s, "carol", 1)
		for i := range 50 {
			createFor(t, s, fmt.Sprint("user-", i), 1)
		}
		want("created", 53, 57, 0)
		ada[0] = mustExchange(t, s, ada[0], nil)
		s.Delete(t.Context(), carol[0])
		want("the only session deleted", 52, 56, 0)
		s.Delete(t.Context(), bob[0])
		want("one of two deleted", 52, 55, 0)
		s.Exchange(t.Context(), bob[1].Next(), token.Patch{}, nil)
		want("the other one revoked", 51, 54, 0)
		end("ada", 3)
		want("ended", 50, 51, 3)
		end("ada", 0)
		end("nobody", 0)
		createFor(t, s, "ada", 1)
		want("created again", 51, 52, 3)
		time.Sleep(time.Hour)
		end("ada", 0)
		want("ended when expired", 50, 51, 3)
		s.Purge()
		want("purged", 0, 0, 3)
		if got := s.Stats(); got.Created != 58 || got.Purged != 52 || got.Deleted != 2 || got.Revoked != 1 || got.Bytes != 0 {
			t.Errorf("Stats = %+v", got)
		}
	})
}

// TestEndSubjectInBatches ends a subject's sessions hold by hold of the lock.
func TestEndSubjectInBatches(t *testing.T) {
	for _, n := range []int{0, 1, subjectBatch - 1, subjectBatch, subjectBatch + 1, 10*subjectBatch + 3} {
		s := open(t, Config{Shards: 1, PurgeInterval: never})
		createFor(t, s, "ada", n)
		createFor(t, s, "bob", 1)
		sh, left := &s.shards[0], n
		for more := true; more; {
			var batch endedSessions
			batch, more = sh.endSubject(NewSubject([]byte("ada")), nil, s.now())
			if want := min(left, subjectBatch); batch.live != want || more != (left >= subjectBatch) || len(batch.writes) != 0 {
				t.Errorf("%d left: a batch of %d, more: %v, want %d, %v", left, batch.live, more, want, left >= subjectBatch)
			}
			left -= batch.live
			if !sh.mu.TryLock() {
				t.Fatal("endSubject kept the lock")
			}
			sh.mu.Unlock()
		}
		if got := s.Stats(); got.Sessions != 1 || got.Subjects != 1 || got.Ended != uint64(n) {
			t.Errorf("%d ended: Stats = %+v, want 1 session", n, got)
		}
	}
}

// TestEndSubjectLetsOthersIn makes calls between the batches in which 10,000
// sessions of the same shard are ended, which is whenever the journal is waited for.
func TestEndSubjectLetsOthersIn(t *testing.T) {
	const sessions, maxBatch = 10_000, 100
	j := newJournal(t)
	s := open(t, Config{Shards: 1, Journal: j, PurgeInterval: never})
	createFor(t, s, "ada", sessions)
	other := mustCreate(t, s, `{"other":1}`)
	j.takeLog()
	calls, inside := 0, false
	j.onWait = func() {
		if inside {
			return // a wait of the exchange below
		}
		inside = true
		defer func() { inside = false }()
		if forgotten := strings.Count(j.takeLog(), "forget"); forgotten > maxBatch {
			t.Errorf("%d sessions ended under one hold of the lock, want at most %d", forgotten, maxBatch)
		}
		other = mustExchange(t, s, other, nil)
		calls++
	}
	ended, err := s.EndSubject(t.Context(), []byte("ada"))
	j.onWait = nil
	if ended != sessions || err != nil || calls < sessions/maxBatch {
		t.Errorf("EndSubject = %d, error %v, with %d calls in between, want %d, at least %d",
			ended, err, calls, sessions, sessions/maxBatch)
	}
	checkJournal(t, s, j)
}

// TestEndSubjectUnderLoad ends 10,000 sessions while others of the same shard
// and the same subject are exchanged.
func TestEndSubjectUnderLoad(t *testing.T) {
	sessions := 10_000
	if raceEnabled {
		sessions = 2000
	}
	s := open(t, Config{Shards: 1, Grace: time.Minute, PurgeInterval: never})
	mine := createFor(t, s, "ada", sessions)
	var ended atomic.Bool
	var done sync.WaitGroup
	for caller := range 2 {
		other := mustCreate(t, s, `{"other":1}`)
		done.Go(func() {
			for i := caller; !ended.Load(); i += 2 {
				other = mustExchange(t, s, other, nil)
				if x, err := s.Exchange(t.Context(), mine[i%sessions], token.Patch{}, nil); err == nil {
					mine[i%sessions] = x.Token
				}
			}
		})
	}
	if n, err := s.EndSubject(t.Context(), []byte("ada")); n != sessions || err != nil {
		t.Errorf("EndSubject = %d, error %v, want %d", n, err, sessions)
	}
	ended.Store(true)
	done.Wait()
	for _, tok := range mine {
		if _, _, err := s.Validate(t.Context(), tok, nil); !errors.Is(err, token.ErrInvalid) {
			t.Fatalf("Validate = error %v, want %v", err, token.ErrInvalid)
		}
	}
}

// TestEndSubjectSparesNewer ends what existed at the call alone.
func TestEndSubjectSparesNewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{Shards: 1, PurgeInterval: never})
		createFor(t, s, "ada", 3)
		atCall := s.now()
		time.Sleep(time.Nanosecond)
		newer := createFor(t, s, "ada", 2)
		batch, more := s.shards[0].endSubject(NewSubject([]byte("ada")), nil, atCall)
		if batch.live != 3 || more {
			t.Errorf("endSubject = %d, more: %v, want 3, false", batch.live, more)
		}
		for _, tok := range newer {
			mustExchange(t, s, tok, nil)
		}
	})
}
