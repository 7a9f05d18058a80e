package shard

import (
	"bytes"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"tokenserver/token"
)

// waiting is a store whose session tok has a change under way, and beside it
// another one.
type waiting struct {
	t     *testing.T
	s     *Store
	spent token.Token // the one before tok
	tok   token.Token // of subject ada
	next  token.Token // the one after tok
	other token.Token // of subject bob
}

func newWaiting(t *testing.T, j *fakeJournal, grace time.Duration) *waiting {
	s := open(t, Config{Shards: 1, MaxMeta: 100, Grace: grace, RevokeOnReuse: grace != 0, Journal: j, Secret: testSecret})
	w := &waiting{t: t, s: s}
	w.spent = mustCreateNew(t, s, token.NewSession{Meta: []byte(`{"a":1}`), Subject: []byte("ada")})
	w.tok = mustExchange(t, s, w.spent, nil)
	w.next = testSecret.Next(w.tok)
	w.other = mustCreateNew(t, s, token.NewSession{Meta: []byte(`{"b":1}`), Subject: []byte("bob")})
	return w
}

func (w *waiting) exchange(tok token.Token, patch string) error {
	var p []byte
	if patch != "" {
		p = []byte(patch)
	}
	_, err := w.s.Exchange(w.t.Context(), tok, token.Patch{Meta: p}, nil)
	return err
}

func (w *waiting) unset(tok token.Token) error {
	_, err := w.s.Exchange(w.t.Context(), tok, token.Patch{Unset: []byte(`["a"]`)}, nil)
	return err
}

func (w *waiting) validate(tok token.Token) error {
	_, _, err := w.s.Validate(w.t.Context(), tok, nil)
	return err
}

func (w *waiting) delete(tok token.Token) error { return w.s.Delete(w.t.Context(), tok) }

func (w *waiting) end(name string) error {
	_, err := w.s.EndSubject(w.t.Context(), []byte(name))
	return err
}

func (w *waiting) endOthers(name string, keep token.Token) error {
	_, err := w.s.EndOthers(w.t.Context(), []byte(name), keep)
	return err
}

func (w *waiting) endSession(name string, tok token.Token) error {
	_, err := w.s.EndSession(w.t.Context(), []byte(name), tok.ID.Name())
	return err
}

func (w *waiting) listSubject(name string) error {
	_, _, err := w.s.SubjectSessions(w.t.Context(), []byte(name), token.Page{Limit: 10})
	return err
}

func (w *waiting) listAfter(name string, tok token.Token) error {
	_, _, err := w.s.SubjectSessions(w.t.Context(), []byte(name), token.Page{Limit: 10, After: tok.ID.Name()})
	return err
}

func (w *waiting) list() error {
	for _, err := range w.s.Sessions(w.t.Context()) {
		if err != nil {
			return err
		}
	}
	return nil
}

// Changes of a session, whose write is held.
var heldChanges = map[string]func(*waiting) error{
	"exchange":       func(w *waiting) error { return w.exchange(w.tok, "") },
	"replayed patch": func(w *waiting) error { return w.exchange(w.spent, `{"p":1}`) },
	"delete":         func(w *waiting) error { return w.delete(w.tok) },
	"delete, spent":  func(w *waiting) error { return w.delete(w.spent) },
	"revoke":         func(w *waiting) error { return w.exchange(token.Token{ID: w.tok.ID}, "") },
	"revoke, delete": func(w *waiting) error { return w.delete(token.Token{ID: w.tok.ID}) },
	"end subject":    func(w *waiting) error { return w.end("ada") },
	"end session":    func(w *waiting) error { return w.endSession("ada", w.tok) },
	"unset, spent":   func(w *waiting) error { return w.unset(w.spent) },
}

// restingTest has an answer that rests on a change under way.
type restingTest struct {
	change, name string
	without      bool // any grace
	answer       func(*waiting) error
	want         error
}

var restingTests = []restingTest{
	{"exchange", "loser", true, func(w *waiting) error { return w.exchange(w.tok, "") }, token.ErrInvalid},
	{"exchange", "loser's look", true, func(w *waiting) error { return w.validate(w.tok) }, token.ErrInvalid},
	{"exchange", "loser's delete", true, func(w *waiting) error { return w.delete(w.tok) }, nil},
	{"exchange", "replay", false, func(w *waiting) error { return w.exchange(w.tok, "") }, nil},
	{"exchange", "replay with a patch", false, func(w *waiting) error { return w.exchange(w.spent, `{"p":1}`) }, nil},
	{"exchange", "refused replay", false, func(w *waiting) error { return w.exchange(w.tok, tooLarge) }, token.ErrMetaTooLarge},
	{"exchange", "look at the spent", false, func(w *waiting) error { return w.validate(w.tok) }, nil},
	{"exchange", "look at the new", false, func(w *waiting) error { return w.validate(w.next) }, nil},
	{"exchange", "next exchange", false, func(w *waiting) error { return w.exchange(w.next, "") }, nil},
	{"exchange", "refused next exchange", false, func(w *waiting) error { return w.exchange(w.next, tooLarge) }, token.ErrMetaTooLarge},
	{"exchange", "delete", false, func(w *waiting) error { return w.delete(w.next) }, nil},
	{"exchange", "revocation", false, func(w *waiting) error { return w.exchange(token.Token{ID: w.tok.ID}, "") }, token.ErrInvalid},
	{"exchange", "end of subject", false, func(w *waiting) error { return w.end("ada") }, nil},
	{"exchange", "end of others", false, func(w *waiting) error { return w.endOthers("ada", w.next) }, nil},
	{"exchange", "end of others, spent", true, func(w *waiting) error { return w.endOthers("ada", w.tok) }, token.ErrInvalid},
	{"exchange", "end of others, in grace", false, func(w *waiting) error { return w.endOthers("ada", w.tok) }, nil},
	{"exchange", "end of session", false, func(w *waiting) error { return w.endSession("ada", w.tok) }, nil},
	{"exchange", "list of subject, after", false, func(w *waiting) error { return w.listAfter("ada", w.tok) }, nil},
	{"unset, spent", "look", false, func(w *waiting) error { return w.validate(w.tok) }, nil},
	{"exchange", "list of subject", false, func(w *waiting) error { return w.listSubject("ada") }, nil},
	{"exchange", "list", false, (*waiting).list, nil},
	{"replayed patch", "look", false, func(w *waiting) error { return w.validate(w.tok) }, nil},
	{"replayed patch", "replay", false, func(w *waiting) error { return w.exchange(w.spent, "") }, nil},
	{"replayed patch", "list of subject", false, func(w *waiting) error { return w.listSubject("ada") }, nil},
	{"delete", "second delete", false, func(w *waiting) error { return w.delete(w.tok) }, nil},
	{"delete", "exchange", false, func(w *waiting) error { return w.exchange(w.tok, "") }, token.ErrInvalid},
	{"delete", "look", false, func(w *waiting) error { return w.validate(w.tok) }, token.ErrInvalid},
	{"delete", "end of subject", false, func(w *waiting) error { return w.end("ada") }, nil},
	{"delete", "list of subject", false, func(w *waiting) error { return w.listSubject("ada") }, nil},
	{"delete", "list", false, (*waiting).list, nil},
	{"delete, spent", "look", false, func(w *waiting) error { return w.validate(w.tok) }, token.ErrInvalid},
	{"revoke", "exchange", false, func(w *waiting) error { return w.exchange(w.tok, "") }, token.ErrInvalid},
	{"revoke", "look", false, func(w *waiting) error { return w.validate(w.tok) }, token.ErrInvalid},
	{"revoke", "delete", false, func(w *waiting) error { return w.delete(w.tok) }, nil},
	{"revoke, delete", "look", false, func(w *waiting) error { return w.validate(w.tok) }, token.ErrInvalid},
	{"end subject", "exchange", false, func(w *waiting) error { return w.exchange(w.tok, "") }, token.ErrInvalid},
	{"end subject", "look", false, func(w *waiting) error { return w.validate(w.tok) }, token.ErrInvalid},
	{"end subject", "second end", false, func(w *waiting) error { return w.end("ada") }, nil},
	{"end subject", "end of others", false, func(w *waiting) error { return w.endOthers("ada", w.tok) }, token.ErrInvalid},
	{"end subject", "end of session", false, func(w *waiting) error { return w.endSession("ada", w.tok) }, nil},
	{"end subject", "list of subject, after", false, func(w *waiting) error { return w.listAfter("ada", w.tok) }, token.ErrUnknownSession},
	{"delete", "end of session", false, func(w *waiting) error { return w.endSession("ada", w.tok) }, nil},
	{"delete", "list of subject, after", false, func(w *waiting) error { return w.listAfter("ada", w.tok) }, token.ErrUnknownSession},
	{"end session", "look", false, func(w *waiting) error { return w.validate(w.tok) }, token.ErrInvalid},
	{"end session", "list of subject", false, func(w *waiting) error { return w.listSubject("ada") }, nil},
	{"end session", "end of session", false, func(w *waiting) error { return w.endSession("ada", w.tok) }, nil},
	{"end subject", "list of subject", false, func(w *waiting) error { return w.listSubject("ada") }, nil},
}

var tooLarge = `{"c":"` + strings.Repeat("x", 100) + `"}`

// heldTest is a restingTest while the write of its change is held.
type heldTest struct {
	*waiting
	journal        *fakeJournal
	write          *heldWrite
	change, answer chan error // how they end
}

// hold starts the change and then the answer, which both wait.
func (test *restingTest) hold(t *testing.T) *heldTest {
	j := newJournal(t)
	w := newWaiting(t, j, graceUnless(test.without))
	h := &heldTest{waiting: w, journal: j, write: j.hold(w.tok.ID)}
	h.change = w.start(func() error { return heldChanges[test.change](w) })
	w.mustWait(1, h.change)
	h.answer = w.start(func() error { return test.answer(w) })
	w.mustWait(2, h.change, h.answer)
	return h
}

// TestAnswersWait holds the write of a change: neither its own answer nor one
// that rests on it comes before the write is done, and all others do.
func TestAnswersWait(t *testing.T) {
	for _, test := range restingTests {
		t.Run(test.change+"/"+test.name, func(t *testing.T) {
			h := test.hold(t)
			h.othersGoOn()
			h.write.release(nil)
			if err := <-h.answer; !errors.Is(err, test.want) {
				t.Errorf("answer = error %v, want %v", err, test.want)
			}
			if err := <-h.change; err != nil && !errors.Is(err, token.ErrInvalid) {
				t.Errorf("change = error %v", err)
			}
			checkJournal(t, h.s, h.journal)
		})
	}
}

// TestAnswersFail fails the write of a change: whatever rests on it fails too,
// then and later.
func TestAnswersFail(t *testing.T) {
	broken := errors.New("disk is broken")
	for _, test := range restingTests {
		t.Run(test.change+"/"+test.name, func(t *testing.T) {
			h := test.hold(t)
			h.write.release(broken)
			for name, err := range map[string]error{
				"change": <-h.change, "answer": <-h.answer, "answer again": test.answer(h.waiting), "look": h.validate(h.tok),
			} {
				if !errors.Is(err, broken) {
					t.Errorf("%s = error %v, want %v", name, err, broken)
				}
			}
			h.othersGoOn()
		})
	}
}

// TestAnswersWaitForTheLast has the first of two changes of a session done.
func TestAnswersWaitForTheLast(t *testing.T) {
	j := newJournal(t)
	w := newWaiting(t, j, time.Minute)
	firstHeld := j.hold(w.tok.ID)
	first := w.start(func() error { return w.exchange(w.tok, "") })
	w.mustWait(1, first)
	secondHeld := j.hold(w.tok.ID)
	second := w.start(func() error { return w.exchange(w.next, "") })
	w.mustWait(2, first, second)
	firstHeld.release(nil)
	if err := <-first; err != nil {
		t.Errorf("first exchange = error %v", err)
	}
	answer := w.start(func() error { return w.validate(testSecret.Next(w.next)) })
	w.mustWait(2, second, answer)
	secondHeld.release(nil)
	if err := <-second; err != nil {
		t.Errorf("second exchange = error %v", err)
	}
	if err := <-answer; err != nil {
		t.Errorf("Validate = error %v", err)
	}
	checkJournal(t, w.s, j)
}

func TestCreateFails(t *testing.T) {
	s := open(t, Config{Shards: 1, Journal: brokenJournal{newJournal(t)}})
	if tok, err := s.Create(t.Context(), token.NewSession{Meta: []byte(`{}`)}); tok != (token.Token{}) || !errors.Is(err, errBroken) {
		t.Errorf("Create = a token: %v, error %v, want none and %v", tok != token.Token{}, err, errBroken)
	}
}

var errBroken = errors.New("journal is broken")

// brokenJournal fails each write.
type brokenJournal struct{ *fakeJournal }

type brokenWrite struct{}

func (brokenJournal) Save(*State) Write { return brokenWrite{} }
func (brokenWrite) Wait() error         { return errBroken }
func (brokenWrite) Lasts() bool         { return false }

func graceUnless(without bool) time.Duration {
	if without {
		return 0
	}
	return time.Minute
}

// start makes a call in the background.
func (w *waiting) start(call func() error) chan error {
	done := make(chan error, 1)
	go func() { done <- call() }()
	return done
}

// mustWait waits until n calls wait for the journal; none of them may be done before.
func (w *waiting) mustWait(n int, calls ...chan error) {
	w.t.Helper()
	for giveUp := time.Now().Add(10 * time.Second); goroutinesIn("shard.(*fakeWrite).Wait(") < n; runtime.Gosched() {
		for i, call := range calls {
			if len(call) > 0 {
				w.t.Fatalf("call %d is answered, error %v, while the write is under way", i, <-call)
			}
		}
		if time.Now().After(giveUp) {
			w.t.Fatalf("%d calls wait for the journal, want %d", goroutinesIn("shard.(*fakeWrite).Wait("), n)
		}
	}
	for i, call := range calls {
		if len(call) > 0 {
			w.t.Fatalf("call %d is answered, error %v, while the write is under way", i, <-call)
		}
	}
}

// othersGoOn makes calls on another session of the same shard.
func (w *waiting) othersGoOn() {
	w.t.Helper()
	if err := w.validate(w.other); err != nil {
		w.t.Errorf("Validate(another session) = error %v", err)
	}
	next := mustExchange(w.t, w.s, w.other, []byte(`{"b":2}`))
	if err := w.exchange(w.other, tooLarge); err == nil {
		w.t.Error("Exchange(another session, spent and too large) is answered")
	}
	if err := w.delete(next); err != nil {
		w.t.Errorf("Delete(another session) = error %v", err)
	}
	w.other = mustCreate(w.t, w.s, `{"b":1}`)
}

// goroutinesIn counts the goroutines that are in a function.
func goroutinesIn(function string) (n int) {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for _, stack := range bytes.Split(stacks, []byte("\n\n")) {
		if bytes.Contains(stack, []byte(function)) {
			n++
		}
	}
	return n
}
