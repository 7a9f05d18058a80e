package shard

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"tokenserver/token"
)

// perShard creates a session in each shard of a store, and returns their tokens by
// the numbers of the shards.
func perShard(t *testing.T, s *Store) []token.Token {
	t.Helper()
	toks, left := make([]token.Token, len(s.shards)), len(s.shards)
	for left > 0 {
		tok := mustCreate(t, s, `{"a":1}`)
		if n := s.shardNumber(tok.ID); toks[n] == (token.Token{}) {
			toks[n] = tok
			left--
		}
	}
	return toks
}

// A panic under the locks of a window, or in the release of one, leaves no shard locked.
func TestPanicInABatchReleasesAllLocks(t *testing.T) {
	s := open(t, Config{Shards: 8})
	toks := perShard(t, s)
	for _, broken := range []int{0, 3, 7} {
		sh := &s.shards[broken]
		sh.loose, sh.meta.emptying = true, 1<<19 // no such page: the step of compaction panics
		var b token.Batch
		for _, tok := range toks {
			b.Items = append(b.Items, token.BatchItem{Op: token.OpValidate, Token: tok})
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("a batch did not panic, want that it does")
				}
			}()
			s.Batch(t.Context(), &b)
		}()
		sh.loose, sh.meta.emptying = false, 0
		for i := range s.shards {
			if !s.shards[i].mu.TryLock() {
				t.Fatalf("with a panic in shard %d, shard %d stays locked", broken, i)
			}
			s.shards[i].mu.Unlock()
		}
	}
}

// What turns out not to last has no metadata, and each item that does has its own.
func TestBatchThatDoesNotLast(t *testing.T) {
	j := newJournal(t)
	s := open(t, Config{Shards: 8, Journal: j})
	failure := errors.New("the journal failed")
	var b token.Batch
	for i := range 40 {
		tok := mustCreate(t, s, fmt.Sprintf(`{"n":%d}`, i))
		if i%3 == 0 {
			j.hold(tok.ID).release(failure)
		}
		b.Items = append(b.Items, token.BatchItem{Op: token.OpExchange, Token: tok})
	}
	const before = "what was there"
	b.Buf = []byte(before)
	if err := s.Batch(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	rest, ok := strings.CutPrefix(string(b.Buf), before)
	for i, item := range b.Items {
		want, wantErr := fmt.Sprintf(`{"n":%d}`, i), error(nil)
		if i%3 == 0 {
			want, wantErr = "", failure
		}
		if got := rest[:item.MetaLen]; got != want || item.Err != wantErr {
			t.Errorf("item %d: %q, %v, want %q, %v", i, got, item.Err, want, wantErr)
		}
		rest = rest[item.MetaLen:]
	}
	if !ok || rest != "" {
		t.Errorf("the buffer is %q, want what was there and the metadata", b.Buf)
	}
}

// A batch waits for what all of its items rest on, once for changes that go together.
func TestBatchWaitsOnce(t *testing.T) {
	j := newJournal(t)
	s := open(t, Config{Shards: 8, Journal: oneWrite{j}})
	var b token.Batch
	for range 40 {
		b.Items = append(b.Items, token.BatchItem{Op: token.OpExchange, Token: mustCreate(t, s, `{}`)})
	}
	waits := 0
	j.onWait = func() { waits++ }
	if err := s.Batch(t.Context(), &b); err != nil || waits != 1 {
		t.Errorf("Batch = %v after %d waits, want 1", err, waits)
	}
}

// oneWrite is a journal of which all changes go together.
type oneWrite struct{ *fakeJournal }

func (j oneWrite) Save(s *State) Write {
	j.fakeJournal.Save(s)
	return together{j.fakeJournal}
}

// together is the one change.
type together struct{ journal *fakeJournal }

func (w together) Wait() error { return (&fakeWrite{journal: w.journal}).Wait() }
func (w together) Lasts() bool { return false }
