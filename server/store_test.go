package server

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"tokenserver/shard"
)

func TestStoreFullOfSessions(t *testing.T) {
	s := serve(t, Config{Store: newStore(t, shard.Config{MaxSessions: 2})})
	c := s.dial(t)
	first, second := c.create(`{}`), c.create(`{}`)
	for range 3 {
		c.do("POST", "/token", `{"meta":{"`+marker+`":1}}`).wantError(t, 507, "StoreFull")
	}
	first, _ = c.exchange(first, "") // nothing live is evicted, and all else goes on
	second, _ = c.exchange(second, `{"a":1}`)
	if r := c.do("POST", "/token/validate", tokenBody(first)); r.status != 200 {
		t.Errorf("validate in a full store: %v", r)
	}
	c.do("DELETE", "/token", tokenBody(first))
	third := c.create(`{}`)
	c.do("POST", "/token", `{"meta":{}}`).wantError(t, 507, "StoreFull")
	c.exchange(second, "")
	c.exchange(third, "")
}

func TestStoreFullOfBytes(t *testing.T) {
	s := serve(t, Config{Store: newStore(t, shard.Config{MaxBytes: 10_000})})
	c := s.dial(t)
	large := func(n int) string { return `{"` + marker + `":"` + strings.Repeat("x", n) + `"}` }
	c.do("POST", "/token", `{"meta":`+large(20_000)+`}`).wantError(t, 507, "StoreFull")
	a, b := c.create(`{"a":1}`), c.create(`{"b":1}`)
	for range 3 {
		c.do("PUT", "/token", exchangeBody(a, large(20_000))).wantError(t, 507, "StoreFull")
		b, _ = c.exchange(b, "") // other exchanges go on
	}
	if r := c.do("POST", "/token/validate", tokenBody(a)); !r.contains(`{\"a\":1}`) {
		t.Errorf("validate after an exchange that did not fit: %v", r)
	}
	if _, meta := c.exchange(a, `{"c":1}`); meta != `{"a":1,"c":1}` { // the old token is valid
		t.Errorf("metadata after an exchange that did not fit = %s", meta)
	}
}

// calls has a request for each call of the store.
var calls = map[string]func(tok string) (method, path, body string){
	"create":   func(string) (_, _, _ string) { return "POST", "/token", `{"meta":{"` + marker + `":1}}` },
	"exchange": func(tok string) (_, _, _ string) { return "PUT", "/token", exchangeBody(tok, `{"`+marker+`":1}`) },
	"validate": func(tok string) (_, _, _ string) { return "POST", "/token/validate", tokenBody(tok) },
	"delete":   func(tok string) (_, _, _ string) { return "DELETE", "/token", tokenBody(tok) },

	"end subject":      func(string) (_, _, _ string) { return "DELETE", "/subject", subjectBody(marker) },
	"subject sessions": func(string) (_, _, _ string) { return "POST", "/subject/sessions", subjectBody(marker) },
}

// mishap is a store that can be told to fail, or to panic.
type mishap struct {
	fakeStore
	now atomic.Pointer[func(call string) error]
}

func newMishap(t *testing.T) *mishap {
	m := new(mishap)
	m.Store = newStore(t, shard.Config{})
	m.before = func(call string) error {
		if now := m.now.Load(); now != nil {
			return (*now)(call)
		}
		return nil
	}
	return m
}

func (m *mishap) set(now func(call string) error) { m.now.Store(&now) }
func (m *mishap) clear()                          { m.now.Store(nil) }

func TestStoreUnavailable(t *testing.T) {
	store := newMishap(t)
	s := serve(t, Config{Store: store})
	c := s.dial(t)
	tok := c.create(`{}`)
	for _, err := range []error{errors.New(marker), fmt.Errorf("%s: %w", marker, errors.ErrUnsupported)} {
		for call, request := range calls {
			store.set(func(got string) error {
				if got != call {
					t.Errorf("%s was called for a request to %s", got, call)
				}
				return err
			})
			method, path, body := request(tok)
			c.do(method, path, body).wantError(t, 503, "StoreUnavailable")
		}
	}
	store.clear()
	c.exchange(tok, "") // and the token is as it was
	c.wantOpen()
	s.wantWorking(t)
}

// What needs no store is answered without one.
func TestStoreIsAskedForNothingInVain(t *testing.T) {
	store := newMishap(t)
	s := serve(t, Config{Store: store})
	store.set(func(call string) error {
		t.Errorf("%s was called", call)
		return errors.New(marker)
	})
	c := s.dial(t)
	c.do("PUT", "/token", tokenBody(marker)).wantInvalidToken(t)
	c.do("POST", "/token/validate", tokenBody(marker)).wantInvalidToken(t)
	if r := c.do("DELETE", "/token", tokenBody(marker)); r.status != 202 {
		t.Errorf("DELETE of an ill-formed token: %v", r)
	}
	c.do("PUT", "/token", `{}`).wantError(t, 422, "InvalidRequest")
	if r := c.do("GET", "/healthz", ""); r.status != 200 {
		t.Errorf("GET /healthz: %v", r)
	}
}

func TestPanic(t *testing.T) {
	var log logBuffer
	store := newMishap(t)
	s := serve(t, Config{Store: store, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	c := s.dial(t)
	tok := c.create(`{"a":1}`)
	panics := map[string]func(){
		"string":      func() { panic("a panic") },
		"error":       func() { panic(errors.New("a panic")) },
		"nil":         func() { panic(nil) },
		"index":       func() { _ = []int{}[len(panicName)] },
		"nil pointer": func() { _ = *(*int)(nil) },
	}
	for name, cause := range panics {
		store.set(func(string) error { cause(); return nil })
		for call, request := range calls {
			c := s.dial(t)
			method, path, body := request(tok)
			log.Reset()
			c.do(method, path, body).wantError(t, 500, "InternalServerError")
			c.wantClosed()
			if text := log.String(); !strings.Contains(text, "level=ERROR msg=\"recovered panic\"") || !strings.Contains(text, "store_test.go") {
				t.Errorf("%s in %s is logged as %q, want a stack", name, call, text)
			}
			if text := log.String(); strings.Contains(text, tok) || strings.Contains(text, marker) {
				t.Errorf("%s in %s: the log has the request: %q", name, call, text)
			}
		}
	}
	store.clear()
	if _, meta := c.exchange(tok, ""); meta != `{"a":1}` {
		t.Errorf("metadata after all = %s", meta)
	}
	s.wantWorking(t)
}

const panicName = "panic"

// A request that panics leaves nothing of itself in what the next one is given.
func TestPanicLeavesNothingBehind(t *testing.T) {
	store := newMishap(t)
	s := serve(t, Config{Store: store})
	for i := range 50 {
		store.set(func(string) error { panic("a panic") })
		s.do(t, "POST", "/token", `{"meta":{"`+marker+`":1}}`).wantError(t, 500, "InternalServerError")
		store.clear()
		c := s.dial(t)
		meta := fmt.Sprintf(`{"n":%d}`, i)
		if _, got := c.exchange(c.create(meta), ""); got != meta {
			t.Errorf("metadata = %s, want %s", got, meta)
		}
	}
}

// A store's failure is told in the log, and the request is not.
func TestStoreFailureIsLogged(t *testing.T) {
	var log logBuffer
	store := newMishap(t)
	s := serve(t, Config{Store: store, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	store.set(func(string) error { return errors.New("engine is away") })
	s.do(t, "PUT", "/token", tokenBody(somewhere)).wantError(t, 503, "StoreUnavailable")
	text := log.String()
	if !strings.Contains(text, "level=ERROR") || !strings.Contains(text, "engine is away") || strings.Contains(text, somewhere) {
		t.Errorf("log = %q, want the store's error alone", text)
	}
}

// The store owns none of the slices that it is given: what it keeps stays as it
// was when other requests use the same memory.
func TestStoreKeepsCopies(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	const n = 200
	tokens := make([]string, n)
	meta := func(i int) string {
		return fmt.Sprintf(`{"n":%d,"s":%q}`, i, bytes.Repeat([]byte{byte('a' + i%26)}, i))
	}
	for i := range tokens {
		tokens[i] = c.create(meta(i))
	}
	for i, tok := range tokens {
		if _, got := c.exchange(tok, ""); got != meta(i) {
			t.Errorf("metadata of session %d = %s, want %s", i, got, meta(i))
		}
	}
}
