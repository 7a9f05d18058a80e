package shard

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenserver/internal/clock"
	"tokenserver/token"
)

var testSecret = token.NewSecret([]byte("the key of all tests' tokens, 32+"))

// fakeJournal keeps what it is told in memory, and a log of it.
type fakeJournal struct {
	mu     sync.Mutex
	states map[token.ID]State
	log    []string
	held   map[token.ID]*heldWrite // later writes of these sessions
	onWait func()                  // called at each Wait; nil for nothing
	// clock is that of all stores that have the journal, so that times mean the
	// same to each.
	clock *clock.Clock
}

// heldWrite is a write that is not done before it is released.
type heldWrite struct {
	done chan struct{}
	err  error
}

func newJournal(t testing.TB) *fakeJournal {
	c := clock.New(nil)
	t.Cleanup(c.Close)
	return &fakeJournal{states: make(map[token.ID]State), held: make(map[token.ID]*heldWrite), clock: c}
}

func (j *fakeJournal) Save(s *State) Write {
	state := *s
	state.Meta = bytes.Clone(s.Meta)
	state.Spent = slices.Clone(s.Spent)
	return j.enqueue("save", s.ID, func() { j.states[s.ID] = state })
}

func (j *fakeJournal) Forget(id token.ID) Write {
	return j.enqueue("forget", id, func() { delete(j.states, id) })
}

func (j *fakeJournal) Expired(id token.ID) {
	j.enqueue("expired", id, func() { delete(j.states, id) })
}

func (j *fakeJournal) enqueue(change string, id token.ID, do func()) Write {
	j.mu.Lock()
	defer j.mu.Unlock()
	do()
	j.log = append(j.log, change)
	return &fakeWrite{journal: j, held: j.held[id]}
}

// hold holds the writes of a session that are to come.
func (j *fakeJournal) hold(id token.ID) *heldWrite {
	j.mu.Lock()
	defer j.mu.Unlock()
	h := &heldWrite{done: make(chan struct{})}
	j.held[id] = h
	return h
}

func (h *heldWrite) release(err error) {
	h.err = err
	close(h.done)
}

// takeLog returns the log since the last call.
func (j *fakeJournal) takeLog() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	log := strings.Join(j.log, " ")
	j.log = nil
	return log
}

type fakeWrite struct {
	journal *fakeJournal
	held    *heldWrite // nil if it is done at once
}

func (w *fakeWrite) Wait() error {
	if w.journal.onWait != nil {
		w.journal.onWait()
	}
	if w.held == nil {
		return nil
	}
	<-w.held.done
	return w.held.err
}

func (w *fakeWrite) Lasts() bool {
	if w.held == nil {
		return true
	}
	select {
	case <-w.held.done:
		return w.held.err == nil
	default:
		return false
	}
}

// checkJournal checks that the journal has the state of each session of a store.
func checkJournal(t testing.TB, s *Store, j *fakeJournal) {
	t.Helper()
	sessions := 0
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		defer sh.mu.Unlock()
		if n := len(sh.pending.all()); n > 0 {
			t.Errorf("shard %d: %d changes under way, want none", i, n)
		}
		for id, r := range sh.sessions.m {
			got, want := j.states[id], sh.stateLocked(sh.records.at(r))
			if !sameState(&got, &want) {
				t.Fatalf("the journal has %+v, the store %+v", got, want)
			}
		}
		sessions += sh.sessions.n
	}
	if len(j.states) != sessions {
		t.Fatalf("the journal has %d sessions, the store %d", len(j.states), sessions)
	}
}

func sameState(a, b *State) bool {
	return a.ID == b.ID && a.Digest == b.Digest && a.Expires == b.Expires && bytes.Equal(a.Meta, b.Meta) &&
		a.Subject == b.Subject && a.Lifetime == b.Lifetime && a.AbsoluteDeadline == b.AbsoluteDeadline &&
		a.Created == b.Created && slices.Equal(a.Spent, b.Spent)
}

// TestJournalSeesChanges follows what the journal is told call by call.
func TestJournalSeesChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		s := open(t, Config{Shards: 1, Lifetime: time.Hour, Grace: time.Minute, RevokeOnReuse: true, PurgeInterval: never,
			MaxLifetime: 3 * time.Hour, MaxMeta: 100, Journal: j, Secret: testSecret})
		start := j.clock.Now()
		want := State{
			Meta: []byte(`{"a":1}`), Subject: NewSubject([]byte("ada")), Lifetime: 2 * time.Hour,
			Created: start, AbsoluteDeadline: start.Add(3 * time.Hour), Expires: start.Add(2 * time.Hour),
		}
		step := func(name, wantLog string, tok token.Token) {
			t.Helper()
			if got := j.takeLog(); got != wantLog {
				t.Errorf("%s: the journal was told %q, want %q", name, got, wantLog)
			}
			want.ID, want.Digest = tok.ID, tok.Digest()
			if got := j.states[tok.ID]; !sameState(&got, &want) {
				t.Errorf("%s: the journal has %+v, want %+v", name, got, want)
			}
			checkJournal(t, s, j)
		}
		a := mustCreateNew(t, s, token.NewSession{Meta: want.Meta, Subject: []byte("ada"), Lifetime: 2 * time.Hour})
		step("Create", "save", a)
		time.Sleep(90 * time.Minute)
		b := mustExchange(t, s, a, nil)
		want.Spent, want.Expires = []clock.Timestamp{j.clock.Now()}, want.AbsoluteDeadline
		step("Exchange", "save", b)
		time.Sleep(time.Second)
		mustExchange(t, s, a, nil)
		step("replay", "", b)
		mustExchange(t, s, a, []byte(`{"b":2}`))
		want.Meta = []byte(`{"a":1,"b":2}`)
		step("replay with a patch", "save", b)
		for range token.GraceDepth {
			b = mustExchange(t, s, b, nil)
			want.Spent = append(want.Spent, j.clock.Now())
			time.Sleep(time.Second)
		}
		want.Spent = want.Spent[1:]
		step("eight exchanges", strings.TrimSpace(strings.Repeat("save ", token.GraceDepth)), b)
		s.Validate(t.Context(), b, nil)
		s.Validate(t.Context(), a, nil)
		s.Exchange(t.Context(), b, token.Patch{Meta: []byte(`{"c":"` + strings.Repeat("x", 100) + `"}`)}, nil)
		s.Exchange(t.Context(), token.Generate(), token.Patch{}, nil)
		s.Delete(t.Context(), token.Generate())
		step("nothing changed", "", b)
		s.Delete(t.Context(), a) // no ancestor that can be told
		if got := j.takeLog(); got != "forget" || len(j.states) != 0 {
			t.Errorf("revoked: the journal was told %q and has %d sessions, want %q, 0", got, len(j.states), "forget")
		}
	})
}

// TestJournalSeesEnds has sessions end in each way.
func TestJournalSeesEnds(t *testing.T) {
	tests := []struct {
		name string
		end  func(*Store, token.Token)
		want string
	}{
		{"delete", func(s *Store, tok token.Token) { s.Delete(t.Context(), tok); s.Delete(t.Context(), tok) }, "forget"},
		{"end subject", func(s *Store, tok token.Token) { s.EndSubject(t.Context(), []byte("ada")) }, "forget forget"},
		{"purge", func(s *Store, tok token.Token) { time.Sleep(time.Hour); s.Purge() }, "expired expired"},
		{"end subject, expired", func(s *Store, tok token.Token) {
			time.Sleep(time.Hour)
			s.EndSubject(t.Context(), []byte("ada"))
		}, "forget forget"},
		{"full", func(s *Store, tok token.Token) {
			time.Sleep(time.Hour)
			s.Delete(t.Context(), mustCreate(t, s, `{}`))
		}, "expired expired save forget"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := newJournal(t)
				s := open(t, Config{Shards: 1, Lifetime: time.Hour, MaxSessions: 2, PurgeInterval: never, Journal: j})
				var tok token.Token
				for range 2 {
					tok = mustCreateNew(t, s, token.NewSession{Meta: []byte(`{}`), Subject: []byte("ada")})
				}
				j.takeLog()
				test.end(s, tok)
				if got := j.takeLog(); got != test.want {
					t.Errorf("the journal was told %q, want %q", got, test.want)
				}
				checkJournal(t, s, j)
			})
		})
	}
}

// TestJournalStatesWithoutPolicies holds that a plain session's state is plain.
func TestJournalStatesWithoutPolicies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		s := open(t, Config{Shards: 4, Lifetime: time.Hour, Journal: j})
		tok := mustExchange(t, s, mustCreate(t, s, `{"a":1}`), nil)
		want := State{ID: tok.ID, Digest: tok.Digest(), Meta: []byte(`{"a":1}`), Expires: j.clock.Now().Add(time.Hour)}
		if got := j.states[tok.ID]; !reflect.DeepEqual(got, want) {
			t.Errorf("the journal has %+v, want %+v", got, want)
		}
	})
}

// TestJournalSeesOrder makes changes of the same sessions from many goroutines:
// what the journal has in the end is what the store has.
func TestJournalSeesOrder(t *testing.T) {
	const callers, calls = 8, 300
	j := newJournal(t)
	s := open(t, Config{Shards: 2, Grace: time.Minute, Journal: j, Secret: testSecret})
	var tokens [4]token.Token
	for i := range tokens {
		tokens[i] = mustCreateNew(t, s, token.NewSession{Meta: []byte(`{}`), Subject: []byte("ada")})
	}
	var done sync.WaitGroup
	for caller := range callers {
		done.Go(func() {
			mine := tokens
			for n := range calls {
				i := n % len(mine)
				x, err := s.Exchange(t.Context(), mine[i], token.Patch{Meta: fmt.Appendf(nil, `{"c%d":%d}`, caller, n)}, nil)
				if err == nil {
					mine[i] = x.Token
				} else if !errors.Is(err, token.ErrInvalid) {
					t.Errorf("Exchange = error %v, want none or %v", err, token.ErrInvalid)
				}
				if n%50 == 0 {
					s.Delete(t.Context(), mustCreate(t, s, `{}`))
				}
			}
		})
	}
	done.Wait()
	checkJournal(t, s, j)
}
