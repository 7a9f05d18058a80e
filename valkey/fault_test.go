package valkey

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"tokenserver/internal/enginetest"
	"tokenserver/internal/faultproxy"
	"tokenserver/token"
)

// TestStoppedEngine: what was given up while the engine was stopped is not carried out when it
// goes on, and every call ends in time.
func TestStoppedEngine(t *testing.T) {
	const n, timeout = 500, 300 * time.Millisecond
	e := enginetest.Start(t)
	s := open(t, Config{Timeout: timeout}, e.Address())
	p := patient(t, s)
	tokens := createAll(t, p, n)
	e.Signal(syscall.SIGSTOP)
	start := time.Now()
	_, errs := exchangeAll(s, tokens)
	if took, limit := time.Since(start), timeout+strictly(200*time.Millisecond); took > limit {
		t.Errorf("calls took %v, want %v at most", took, limit)
	}
	if s.Ready() == nil {
		t.Error("Ready = nil while the engine is stopped")
	}
	time.Sleep(timeout) // the deadline has passed by the engine's clock, too
	e.Signal(syscall.SIGCONT)
	took := enginetest.Until(t, strictly(time.Second), "Ready", func() bool { return s.Ready() == nil })
	t.Logf("ready %v after the engine", took)
	for i, err := range errs {
		if err == nil || errors.Is(err, token.ErrInvalid) {
			t.Fatalf("Exchange at a stopped engine = error %v", err)
		}
		if _, err := p.Exchange(t.Context(), tokens[i], token.Patch{}, nil); err != nil {
			t.Fatalf("the token of session %d is lost: %v", i, err)
		}
	}
}

// TestLateIsCorrected: a clock that was measured wrongly is corrected by the first call, which
// succeeds.
func TestLateIsCorrected(t *testing.T) {
	e := enginetest.Start(t)
	s := open(t, Config{Timeout: MaxTimeout}, e.Address())
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
	e := enginetest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	s := open(t, Config{Timeout: 200 * time.Millisecond}, e.Address())
	p := patient(t, s)
	tokens := createAll(t, p, 50)
	for round := range 3 {
		e.Kill()
		_, errs := exchangeAll(s, tokens)
		for _, err := range errs {
			if err == nil || errors.Is(err, token.ErrInvalid) {
				t.Fatalf("Exchange without an engine = error %v", err)
			}
		}
		// A busy machine may be too slow to find out in time.
		enginetest.Until(t, patience, "an exchange that says that nothing was carried out", func() bool {
			_, err := s.Exchange(t.Context(), tokens[0], token.Patch{}, nil)
			return isUndone(err)
		})
		if err := s.Ready(); err == nil {
			t.Error("Ready = nil without an engine")
		}
		e.Start()
		took := enginetest.Until(t, strictly(time.Second), "recovery", func() bool { return s.Ready() == nil })
		t.Logf("round %d: ready %v after the engine", round, took)
		results, errs := exchangeAll(p, tokens)
		for i, err := range errs {
			if err != nil {
				t.Fatalf("the token of session %d is lost: %v", i, err)
			}
			tokens[i] = results[i].Token
		}
	}
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
			e := enginetest.Start(t)
			l := underLoad(t, openTwo(t, Config{Timeout: MaxTimeout}, e.Address()), 32, func(l *ledger) {
				for range test.times {
					l.reaches(t, 10)
					if got := e.Ask(test.command); strings.HasPrefix(got, "-") {
						t.Errorf("%s: %s", test.command, got)
					}
				}
			})
			if !l.settled() {
				t.Errorf("%v, want all to be exchanged", l)
			}
		})
	}
}

// TestEngineStopsForAWhile: an engine stops for longer than a connection may take to be made, but
// not longer than a call may take. Nobody notices it.
func TestEngineStopsForAWhile(t *testing.T) {
	e := enginetest.Start(t)
	l := underLoad(t, openTwo(t, Config{Timeout: MaxTimeout}, e.Address()), 32, func(l *ledger) {
		e.Signal(syscall.SIGSTOP)
		time.Sleep(4 * ioTimeout)
		e.Signal(syscall.SIGCONT)
		l.reaches(t, 100)
	})
	if !l.settled() {
		t.Errorf("%v, want all to be exchanged", l)
	}
}

// TestCallsEndInTime: no call takes longer than its time, whatever becomes of connections: those
// that there are, and those that are dialled.
func TestCallsEndInTime(t *testing.T) {
	limit := DefaultTimeout + 2*time.Second // a busy machine is late
	if *realTime {
		limit = DefaultTimeout + 250*time.Millisecond
	}
	e := enginetest.Start(t)
	proxy := faultproxy.Start(t, e.Address())
	kill := func() { e.Must("CLIENT KILL TYPE normal") }
	tests := []struct {
		name    string
		disturb func()
	}{
		{"connections killed", kill},
		{"killed, with new ones silent", func() {
			proxy.Silence(true)
			kill()
			time.Sleep(2 * DefaultTimeout)
			proxy.Silence(false)
			proxy.CutAll() // what was lost would be missing for ever
		}},
		{"killed, with the engine stopped", func() {
			kill()
			e.Signal(syscall.SIGSTOP)
			time.Sleep(2 * DefaultTimeout)
			e.Signal(syscall.SIGCONT)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			servers := openTwo(t, Config{}, proxy.Address)
			for range 3 {
				l := underLoad(t, servers, 32, func(*ledger) {
					test.disturb()
					createAll(t, servers[0], 1) // whoever loads may have lost all tokens
				})
				if took := time.Duration(l.longest.Load()); took > limit {
					t.Errorf("a call took %v, want %v at most", took, limit)
				}
			}
		})
	}
}

// TestKilledUnderLoad kills the engine, which loses nothing, again and again.
func TestKilledUnderLoad(t *testing.T) {
	e := enginetest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	servers := openTwo(t, Config{Timeout: time.Second}, e.Address())
	underLoad(t, servers, 32, func(l *ledger) {
		for range 5 {
			e.Kill()
			time.Sleep(50 * time.Millisecond)
			e.Start()
			l.reaches(t, 100)
		}
	})
}

// TestScriptIsKilled: a script of somebody else's that runs for too long, and is killed.
func TestScriptIsKilled(t *testing.T) {
	e := enginetest.Start(t, "--busy-reply-threshold", "100")
	l := underLoad(t, openTwo(t, Config{Timeout: MaxTimeout}, e.Address()), 16, func(l *ledger) {
		for range 3 {
			done := make(chan string)
			go func() { done <- e.Ask(`EVAL "while true do end" 0`) }()
			enginetest.Until(t, patience, "a script that can be killed", func() bool {
				return strings.HasPrefix(e.Ask("SCRIPT KILL"), "+OK")
			})
			if got := <-done; !strings.HasPrefix(got, "-") {
				t.Errorf("a script without an end = %s", got)
			}
			l.reaches(t, 100)
		}
	})
	if !l.settled() {
		t.Errorf("%v, want all to be exchanged", l)
	}
}

// untilUndone makes a call until it says that nothing was carried out: a busy machine may be too
// slow to find out in time. It never succeeds, nor says anything about the token.
func untilUndone(t testing.TB, name string, call func() error) {
	t.Helper()
	enginetest.Until(t, patience, name+" that says that nothing was carried out", func() bool {
		err := call()
		if err == nil || isAnswer(err) {
			t.Fatalf("%s = error %v, want that nothing was carried out", name, err)
		}
		if !isUndone(err) {
			t.Logf("%s = error %v", name, err)
		}
		return isUndone(err)
	})
}

// TestEngineErrors: what an engine says instead of carrying a command out.
func TestEngineErrors(t *testing.T) {
	e := enginetest.Start(t)
	s := open(t, Config{Timeout: 500 * time.Millisecond}, e.Address())
	p := patient(t, s)
	tok := mustCreate(t, p, token.NewSession{Meta: []byte(`{}`)})
	tests := []struct{ name, do, undo string }{
		{"replica", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"},
		{"no replicas", "CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"},
		{"no permission", "ACL SETUSER default -get", "ACL SETUSER default +get"},
		{"no scripts", "ACL SETUSER default -@scripting", "ACL SETUSER default +@scripting"},
		{"too many clients", "CONFIG SET maxclients 1", "CONFIG SET maxclients 1000"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			control := e.Control()
			defer control.Close()
			control.Must(test.do)
			if test.name == "too many clients" {
				control.Must("CLIENT KILL TYPE normal SKIPME yes")
			}
			for name, call := range callsOf(t, s, tok) {
				if test.name != "no permission" || !strings.Contains(name, "Subject") { // which gets no value
					untilUndone(t, name, call)
				}
			}
			for range 50 { // also while the engine is looked at
				if s.Ready() == nil {
					t.Error("Ready = nil")
				}
				time.Sleep(5 * time.Millisecond)
			}
			control.Must(test.undo)
			took := enginetest.Until(t, strictly(time.Second), "recovery", func() bool { return s.Ready() == nil })
			t.Logf("ready %v after the engine", took)
			tok = mustExchange(t, p, tok, token.Patch{}, `{}`)
		})
	}
}

// callsOf returns calls of all kinds, none of which may be carried out.
func callsOf(t testing.TB, s *Store, tok token.Token) map[string]func() error {
	batch := func(item token.BatchItem) func() error {
		return func() error {
			b := token.Batch{Items: []token.BatchItem{item}}
			if err := s.Batch(t.Context(), &b); err != nil {
				return err
			}
			return b.Items[0].Err
		}
	}
	return map[string]func() error{
		"Exchange": func() error { _, err := s.Exchange(t.Context(), tok, token.Patch{}, nil); return err },
		"Validate": func() error { _, _, err := s.Validate(t.Context(), tok, nil); return err },
		"Delete":   func() error { return s.Delete(t.Context(), tok) },
		"Create": func() error {
			_, err := s.Create(t.Context(), token.NewSession{Meta: []byte(`{}`)})
			return err
		},
		"SubjectSessions": func() error {
			_, _, err := s.SubjectSessions(t.Context(), []byte("ada"), token.Page{Limit: 10})
			return err
		},
		"EndSubject":        func() error { _, err := s.EndSubject(t.Context(), []byte("ada")); return err },
		"Exchange, batch":   batch(token.BatchItem{Op: token.OpExchange, Token: tok}),
		"Validate, batch":   batch(token.BatchItem{Op: token.OpValidate, Token: tok}),
		"Delete, batch":     batch(token.BatchItem{Op: token.OpDelete, Token: tok}),
		"Create, batch":     batch(token.BatchItem{Op: token.OpCreate, Meta: []byte(`{}`)}),
		"Exchange, unknown": func() error { _, err := s.Exchange(t.Context(), token.Generate(), token.Patch{}, nil); return err },
	}
}

// TestLoadingEngine: an engine that reads its file answers nothing yet, and then goes on.
func TestLoadingEngine(t *testing.T) {
	e := enginetest.Start(t, "--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024", "--rdbcompression", "no")
	s := open(t, Config{Timeout: 200 * time.Millisecond}, e.Address())
	tok := createAll(t, patient(t, s), 1)[0]
	e.Must("CONFIG SET key-load-delay 20000") // microseconds a key
	for i := range 50 {
		e.Must(fmt.Sprintf("SET filler%d %01024d", i, i))
	}
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		e.Ask("DEBUG RELOAD")
	}()
	enginetest.Until(t, patience, "Ready = an error that says LOADING", func() bool {
		err := s.Ready()
		return err != nil && strings.HasPrefix(err.Error(), "LOADING")
	})
	<-loaded
	took := enginetest.Until(t, strictly(time.Second), "recovery", func() bool { return s.Ready() == nil })
	t.Logf("ready %v after the engine", took)
	mustExchange(t, patient(t, s), tok, token.Patch{}, `{"n":0}`)
}

// TestFullEngine: exchanges go on.
func TestFullEngine(t *testing.T) {
	e := enginetest.Start(t)
	s := open(t, Config{Grace: time.Minute, Timeout: MaxTimeout}, e.Address())
	tok := mustCreate(t, s, token.NewSession{Meta: []byte(`{}`)})
	e.Must("CONFIG SET maxmemory 1")
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
	e := enginetest.Start(t)
	s := open(t, Config{Timeout: MaxTimeout}, e.Address())
	tok := token.Generate()
	e.Must("LPUSH " + s.keys.session(tok.ID) + " x")
	if _, err := s.Exchange(t.Context(), tok, token.Patch{}, nil); !isUndone(err) {
		t.Errorf("Exchange = error %v, want that nothing was carried out", err)
	}
	if s.Ready() != nil {
		t.Errorf("Ready = %v, want nil: it is one key's trouble", s.Ready())
	}
}
