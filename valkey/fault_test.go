package valkey

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tokenserver/token"
)

// createAll creates n sessions.
func createAll(t testing.TB, s *Store, n int) []token.Token {
	t.Helper()
	tokens := make([]token.Token, n)
	for i := range tokens {
		tokens[i] = mustCreate(t, s, token.NewSession{Meta: fmt.Appendf(nil, `{"n":%d}`, i)})
	}
	return tokens
}

// exchangeAll exchanges tokens at once, and returns what each came back with.
func exchangeAll(s *Store, tokens []token.Token) ([]token.ExchangeResult, []error) {
	results, errs := make([]token.ExchangeResult, len(tokens)), make([]error, len(tokens))
	var all sync.WaitGroup
	for i := range tokens {
		all.Go(func() { results[i], errs[i] = s.Exchange(context.Background(), tokens[i], token.Patch{}, nil) })
	}
	all.Wait()
	return results, errs
}

// isDone says whether an error says that nothing was carried out.
func isUndone(err error) bool {
	_, ok := errors.AsType[*token.UnavailableError](err)
	return ok
}

// until waits until ok, and fails t if that takes too long.
func until(t testing.TB, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > limit {
			t.Fatalf("%s: not within %v", what, limit)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return time.Since(start)
}

// TestStoppedEngine: what was given up while the engine was stopped is not carried out when it
// goes on, and every call ends in time.
func TestStoppedEngine(t *testing.T) {
	const n, timeout = 500, 300 * time.Millisecond
	e := startEngine(t)
	s := open(t, Config{Timeout: timeout}, e.address())
	tokens := createAll(t, s, n)
	e.signal(syscall.SIGSTOP)
	start := time.Now()
	_, errs := exchangeAll(s, tokens)
	if took := time.Since(start); took > timeout+time.Second {
		t.Errorf("calls took %v, want %v", took, timeout)
	}
	if s.Ready() == nil {
		t.Error("Ready = nil while the engine is stopped")
	}
	time.Sleep(timeout)
	e.signal(syscall.SIGCONT)
	until(t, 2*time.Second, "Ready", func() bool { return s.Ready() == nil })
	for i, err := range errs {
		if err == nil || errors.Is(err, token.ErrInvalid) {
			t.Fatalf("Exchange at a stopped engine = error %v", err)
		}
		if _, err := s.Exchange(t.Context(), tokens[i], token.Patch{}, nil); err != nil {
			t.Fatalf("the token of session %d is lost: %v", i, err)
		}
	}
}

// TestLateIsCorrected: a clock that was measured wrongly is corrected by the first call, which
// succeeds.
func TestLateIsCorrected(t *testing.T) {
	e := startEngine(t)
	s := open(t, Config{}, e.address())
	tok := mustCreate(t, s, token.NewSession{Meta: []byte(`{}`)})
	s.clock.offset.Add(-time.Hour.Milliseconds())
	tok = mustExchange(t, s, tok, token.Patch{}, `{}`)
	s.clock.offset.Add(-time.Hour.Milliseconds())
	tok = mustExchange(t, s, tok, token.Patch{Meta: []byte(`{"a":1}`)}, `{"a":1}`)
	s.clock.offset.Add(-time.Hour.Milliseconds())
	other := mustCreate(t, s, token.NewSession{Meta: []byte(`{}`), Subject: []byte("ada")})
	s.clock.offset.Add(-time.Hour.Milliseconds())
	if n, err := s.EndSubject(t.Context(), []byte("ada")); n != 1 || err != nil {
		t.Errorf("EndSubject = %d, error %v, want 1", n, err)
	}
	s.clock.offset.Add(-time.Hour.Milliseconds())
	if err := s.Delete(t.Context(), tok); err != nil {
		t.Errorf("Delete = error %v", err)
	}
	wantInvalid(t, s, tok)
	wantInvalid(t, s, other)
}

// TestEngineRestarts: the engine is killed and comes back with all that it had.
func TestEngineRestarts(t *testing.T) {
	e := startEngine(t, "--appendonly", "yes", "--appendfsync", "always")
	s := open(t, Config{Timeout: 200 * time.Millisecond}, e.address())
	tokens := createAll(t, s, 50)
	for round := range 3 {
		e.kill()
		_, errs := exchangeAll(s, tokens)
		for _, err := range errs {
			if err == nil || errors.Is(err, token.ErrInvalid) {
				t.Fatalf("Exchange without an engine = error %v", err)
			}
		}
		// A busy machine may be too slow to find out in time.
		until(t, 5*time.Second, "an exchange that says that nothing was carried out", func() bool {
			_, err := s.Exchange(t.Context(), tokens[0], token.Patch{}, nil)
			return isUndone(err)
		})
		if err := s.Ready(); err == nil {
			t.Error("Ready = nil without an engine")
		}
		e.start()
		took := until(t, time.Second, "recovery", func() bool { return s.Ready() == nil })
		t.Logf("round %d: ready %v after the engine", round, took)
		results, errs := exchangeAll(s, tokens)
		for i, err := range errs {
			if err != nil {
				t.Fatalf("the token of session %d is lost: %v", i, err)
			}
			tokens[i] = results[i].Token
		}
	}
}

// ledger is what clients know of their sessions.
type ledger struct {
	exchanged, unknown, undone, lost atomic.Int64
	lossy                            bool // what was answered may be lost
}

// client exchanges a session's token again and again until it is told to stop, and says what
// is wrong. Of an exchange whose outcome is unknown the token is either spent or not.
func (l *ledger) client(s *Store, tok token.Token, stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		x, err := s.Exchange(context.Background(), tok, token.Patch{}, nil)
		switch {
		case err == nil:
			l.exchanged.Add(1)
			tok = x.Token
		case errors.Is(err, token.ErrInvalid) && l.lossy:
			l.lost.Add(1)
			return nil
		case errors.Is(err, token.ErrInvalid):
			return errors.New("a live token is invalid")
		case isUndone(err):
			l.undone.Add(1)
		default:
			l.unknown.Add(1)
			if x, err = l.settle(s, tok, stop); err != nil {
				if errors.Is(err, token.ErrInvalid) {
					return nil // it was spent, and its successor is lost
				}
				return err
			}
			tok = x.Token
		}
	}
}

// settle exchanges a token that may be spent.
func (l *ledger) settle(s *Store, tok token.Token, stop <-chan struct{}) (x token.ExchangeResult, err error) {
	for {
		x, err = s.Exchange(context.Background(), tok, token.Patch{}, nil)
		if err == nil || errors.Is(err, token.ErrInvalid) {
			return x, err
		}
		select {
		case <-stop:
			return x, token.ErrInvalid
		case <-time.After(time.Millisecond):
		}
	}
}

// underLoad runs clients while disturb does something to the engine.
func underLoad(t *testing.T, s *Store, clients int, disturb func()) *ledger {
	t.Helper()
	l := new(ledger)
	l.load(t, s, clients, disturb)
	return l
}

// load is underLoad for a ledger that is there.
func (l *ledger) load(t *testing.T, s *Store, clients int, disturb func()) {
	t.Helper()
	stop := make(chan struct{})
	var all sync.WaitGroup
	for _, tok := range createAll(t, s, clients) {
		all.Go(func() {
			if err := l.client(s, tok, stop); err != nil {
				t.Error(err)
			}
		})
	}
	disturb()
	close(stop)
	all.Wait()
	t.Logf("%d exchanged, %d undone, %d unknown", l.exchanged.Load(), l.undone.Load(), l.unknown.Load())
}

// TestDisturbedUnderLoad: nothing that passes within a call's time is noticed by anybody.
func TestDisturbedUnderLoad(t *testing.T) {
	tests := []struct {
		name, command string
		times         int
	}{
		{"connections killed", "CLIENT KILL TYPE normal", 100},
		{"scripts flushed", "SCRIPT FLUSH", 100},
		{"paused", "CLIENT PAUSE 20 ALL", 10},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := startEngine(t)
			s := open(t, Config{Timeout: MaxTimeout}, e.address())
			l := underLoad(t, s, 32, func() {
				for range test.times {
					time.Sleep(10 * time.Millisecond)
					if got := e.ask(test.command); strings.HasPrefix(got, "-") {
						t.Errorf("%s: %s", test.command, got)
					}
				}
			})
			if l.exchanged.Load() == 0 || l.unknown.Load()+l.undone.Load() > 0 {
				t.Errorf("%d exchanged, %d undone, %d unknown, want all to be exchanged", l.exchanged.Load(), l.undone.Load(), l.unknown.Load())
			}
		})
	}
}

// TestKilledUnderLoad kills the engine, which loses nothing, again and again.
func TestKilledUnderLoad(t *testing.T) {
	e := startEngine(t, "--appendonly", "yes", "--appendfsync", "always")
	s := open(t, Config{Timeout: 100 * time.Millisecond}, e.address())
	underLoad(t, s, 32, func() {
		for range 5 {
			time.Sleep(200 * time.Millisecond)
			e.kill()
			time.Sleep(50 * time.Millisecond)
			e.start()
		}
		until(t, 2*time.Second, "recovery", func() bool { return s.Ready() == nil })
	})
}

// TestEngineErrors: what an engine says instead of carrying a command out.
func TestEngineErrors(t *testing.T) {
	e := startEngine(t)
	s := open(t, Config{Timeout: 500 * time.Millisecond}, e.address())
	tok := mustCreate(t, s, token.NewSession{Meta: []byte(`{}`)})
	tests := []struct {
		name, do, undo string
		err            error // nil for one that says that nothing was carried out
	}{
		{"replica", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", nil},
		{"no replicas", "CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0", nil},
		{"no permission", "ACL SETUSER default -get", "ACL SETUSER default +get", nil},
		{"no scripts", "ACL SETUSER default -@scripting", "ACL SETUSER default +@scripting", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := e.ask(test.do); !strings.HasPrefix(got, "+OK") {
				t.Fatalf("%s: %s", test.do, got)
			}
			calls := map[string]func() error{
				"Exchange": func() error { _, err := s.Exchange(t.Context(), tok, token.Patch{}, nil); return err },
				"Validate": func() error { _, _, err := s.Validate(t.Context(), tok, nil); return err },
				"Delete":   func() error { return s.Delete(t.Context(), tok) },
				"Create": func() error {
					_, err := s.Create(t.Context(), token.NewSession{Meta: []byte(`{}`)})
					return err
				},
			}
			for name, call := range calls {
				if err := call(); !isUndone(err) {
					t.Errorf("%s = error %v, want that nothing was carried out", name, err)
				}
			}
			for range 50 { // also while the engine is looked at
				if s.Ready() == nil {
					t.Error("Ready = nil")
				}
				time.Sleep(5 * time.Millisecond)
			}
			if got := e.ask(test.undo); !strings.HasPrefix(got, "+OK") {
				t.Fatalf("%s: %s", test.undo, got)
			}
			until(t, 2*time.Second, "recovery", func() bool { return s.Ready() == nil })
			tok = mustExchange(t, s, tok, token.Patch{}, `{}`)
		})
	}
}

// TestFullEngine: exchanges go on.
func TestFullEngine(t *testing.T) {
	e := startEngine(t)
	s := open(t, Config{Grace: time.Minute}, e.address())
	tok := mustCreate(t, s, token.NewSession{Meta: []byte(`{}`)})
	if got := e.ask("CONFIG SET maxmemory 1"); !strings.HasPrefix(got, "+OK") {
		t.Fatal(got)
	}
	if _, err := s.Create(t.Context(), token.NewSession{Meta: []byte(`{}`)}); !errors.Is(err, token.ErrFull) {
		t.Errorf("Create = error %v, want %v", err, token.ErrFull)
	}
	if _, err := s.Exchange(t.Context(), tok, token.Patch{Meta: []byte(`{"a":1}`)}, nil); !errors.Is(err, token.ErrFull) {
		t.Errorf("Exchange with a patch = error %v, want %v", err, token.ErrFull)
	}
	next := mustExchange(t, s, tok, token.Patch{}, `{}`)
	if x, err := s.Exchange(t.Context(), tok, token.Patch{}, nil); err != nil || x.Token != next {
		t.Errorf("Exchange in its grace = error %v", err)
	}
	if err := s.Delete(t.Context(), next); err != nil || s.Ready() != nil {
		t.Errorf("Delete = error %v, Ready = %v", err, s.Ready())
	}
}

// TestWrongType: a key of somebody else's under our prefix is no token's.
func TestWrongType(t *testing.T) {
	e := startEngine(t)
	s := open(t, Config{}, e.address())
	tok := token.Generate()
	e.ask("LPUSH " + s.keys.session(tok.ID) + " x")
	if _, err := s.Exchange(t.Context(), tok, token.Patch{}, nil); !isUndone(err) {
		t.Errorf("Exchange = error %v, want that nothing was carried out", err)
	}
	if s.Ready() != nil {
		t.Errorf("Ready = %v, want nil: it is one key's trouble", s.Ready())
	}
}
