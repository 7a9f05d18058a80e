package server

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tokenserver/token"
)

func TestUnknownPaths(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial(t)
	paths := []string{
		"/", "/" + marker, "/ping", "/dump", "/index.html", "/metrics", "/favicon.ico",
		"//token", "/token/", "/token//", "/TOKEN", "/Token", "/%74oken", "/token%20", "/token%00", "/token%2F",
		"/./token", "/../token", "/x/../token", "/token/.", "/token/validate/", "/token/Validate", "/token//validate",
		"/token/" + marker, "/token;a=b", "/token,", "/tokens", "/toke", "/token/validat", "/token/validatee",
		"/healthz/", "/Healthz", "/readyz/", "/health", "/{path:*}", "/token#" + marker, "/token/validate#",
		"/subject/", "/subjects", "/Subject", "/%73ubject", "/subject//sessions", "/subject/sessions/", "/subject/session",
		"/subject/" + marker, "/subject/sessions/" + marker, "/sessions", "/token/sessions", "/subject/validate",
		"/auth/", "/Auth", "/%61uth", "/auth//", "/auth/" + marker, "/auth%3Fcookie=token", "/auth#", "/auth?#" + marker,
		"//" + marker + "/token", "//" + marker + "/token?://", "///token", "http://" + marker, "http://" + marker + "//token",
	}
	for _, path := range paths {
		for _, method := range []string{"GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "get", marker} {
			r := c.do(method, path, "")
			if r.status != 404 || r.code() != "NotFound" || r.header["Allow"] != nil || r.header["Location"] != nil {
				t.Errorf("%s %s: %v, want 404 NotFound without Allow or Location", method, path, r)
			}
		}
	}
	for _, path := range paths { // the answer to HEAD has no body
		if r := c.do("HEAD", path, ""); r.status != 404 || r.body != "" || r.contentType() != "application/json" {
			t.Errorf("HEAD %s: %v, want 404", path, r)
		}
	}
	c.wantOpen()
	s.wantWorking(t)
}

// The path "*" is not of any resource, but only OPTIONS may have it at all.
func TestAsterisk(t *testing.T) {
	s := serve(t, Config{Dump: true})
	c := s.dial(t)
	c.do("OPTIONS", "*", "").wantError(t, 404, "NotFound")
	c.do("PUT", "*", tokenBody(marker)).wantError(t, 400, "BadRequest")
	c.wantClosed()
	s.wantWorking(t)
}

func TestConnect(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial(t)
	c.do("CONNECT", marker+":443", "").wantError(t, 404, "NotFound")
	c.do("CONNECT", "/token", "").wantError(t, 405, "MethodNotAllowed")
	c.wantOpen()
}

func TestMethodNotAllowed(t *testing.T) {
	s := serve(t, Config{Dump: true})
	c := s.dial(t)
	allowed := map[string]string{
		"/token":          "POST, PUT, DELETE",
		"/token/validate": "POST",

		"/subject":          "DELETE",
		"/subject/sessions": "POST",

		"/auth": "GET, HEAD",

		"/openapi.yaml": "GET, HEAD",

		"/healthz": "GET, HEAD",
		"/readyz":  "GET, HEAD",
		"/dump":    "HEAD",
	}
	methods := []string{
		"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PROPFIND", "QUERY",
		"get", "put", "Post", "HEADS", "*", marker,
	}
	for path, allow := range allowed {
		for _, method := range methods {
			if slices.Contains(strings.Split(allow, ", "), method) {
				continue
			}
			r := c.do(method, path, "")
			if got := r.header["Allow"]; r.status != 405 || len(got) != 1 || got[0] != allow {
				t.Errorf("%s %s: %v, want 405 with Allow %q", method, path, r, allow)
			}
			if method == "HEAD" {
				if r.body != "" || r.contentType() != "application/json" {
					t.Errorf("HEAD %s: %v, want no body", path, r)
				}
				continue
			}
			r.wantError(t, 405, "MethodNotAllowed")
		}
	}
	c.wantOpen()
	s.wantWorking(t)
}

func TestMethodNotAllowedWithBody(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	for _, method := range []string{"GET", "PATCH", "OPTIONS", marker} {
		c.do(method, "/token", `{"`+marker).wantError(t, 405, "MethodNotAllowed")
		c.do(method, "/token/validate", `{"`+marker, "Content-Type: text/plain").wantError(t, 405, "MethodNotAllowed")
	}
	r := c.do("HEAD", "/token", `{"meta":{}}`)
	if r.status != 405 || r.body != "" {
		t.Errorf("HEAD with a body: %v, want 405", r)
	}
	c.wantOpen()
}

// These are other ways to write a path that there is.
func TestTargets(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	for _, target := range []string{
		"/token?", "/token?a=b", "/token?meta={}&token=" + marker, "/token?/ping", "/token??", "/token?//x", "/token?http://x/",
		"http://test/token", "http://other/token", "http://test:3666/token?x", "https://test/token", "HTTP://TEST/token",
	} {
		if r := c.do("POST", target, `{"meta":{}}`); r.status != 200 || !isToken(r.body) {
			t.Errorf("POST %s: %v, want a token", target, r)
		}
	}
	for _, target := range []string{"/healthz?x=" + marker, "http://test/healthz"} {
		if r := c.do("GET", target, ""); r.status != 200 {
			t.Errorf("GET %s: %v, want 200", target, r)
		}
	}
}

func TestHealth(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial(t)
	for _, path := range []string{"/healthz", "/readyz"} {
		if r := c.do("GET", path, ""); r.status != 200 || r.body != "ok\n" {
			t.Errorf("GET %s: %v, want 200 and ok", path, r)
		}
		r := c.do("HEAD", path, "")
		if r.status != 200 || r.body != "" || r.header.Get("Content-Length") != "3" {
			t.Errorf("HEAD %s: %v, want 200 and the length of GET", path, r)
		}
	}
	c.wantOpen()
}

// The reason is for operators, and nothing but readyz cares about it.
func TestNotReady(t *testing.T) {
	var reason error
	id := "" // not known yet
	s := serve(t, Config{Ready: func() error { return reason }, StoreID: func() string { return id }})
	c := s.dial(t)
	if r := c.do("GET", "/readyz", ""); r.status != 200 || r.header["Store-Id"] != nil {
		t.Errorf("GET /readyz: %v, want 200 and no identity", r)
	}
	id = "some-store"
	if r := c.do("GET", "/readyz", ""); r.status != 200 || r.body != "ok\n" || r.header.Get("Store-Id") != "some-store" {
		t.Errorf("GET /readyz: %v, want 200, ok and the store's identity", r)
	}
	reason = errors.New("disk \"d\" is full\n")
	r := c.do("GET", "/readyz", "")
	if want := `{"Err":"StoreUnavailable","message":"disk \"d\" is full\n","done":false}`; r.status != 503 || r.body != want {
		t.Errorf("GET /readyz: %v, want 503 and %s", r, want)
	}
	r.wantHeaders(t, map[string]string{
		"Content-Type":   "application/json",
		"Content-Length": strconv.Itoa(len(r.body)),
		"Cache-Control":  "no-store",
		"Retry-After":    "1",
	})
	head := c.do("HEAD", "/readyz", "")
	if head.status != 503 || head.body != "" || head.header.Get("Content-Length") != r.header.Get("Content-Length") {
		t.Errorf("HEAD /readyz: %v, want 503 and the headers of GET", head)
	}
	if r := c.do("GET", "/healthz", ""); r.status != 200 {
		t.Errorf("GET /healthz: %v, want 200", r)
	}
	c.exchange(c.create(`{}`), "")
	reason = fmt.Errorf("store: %w", &token.UnavailableError{Reason: "loading: 43 %"})
	if r, want := c.do("GET", "/readyz", ""), `{"Err":"StoreUnavailable","message":"loading: 43 %","done":false}`; r.status != 503 || r.body != want {
		t.Errorf("GET /readyz: %v, want 503 and %s", r, want)
	}
	reason = nil
	if r := c.do("GET", "/readyz", ""); r.status != 200 || r.body != "ok\n" {
		t.Errorf("GET /readyz: %v, want 200 and ok", r)
	}
	reason = errors.New("disk is full")
	s.Drain()
	c.do("GET", "/readyz", "").wantRefusal(t, "Draining")
	c.wantClosed()
}

// Draining changes nothing but what readyz says, and that each answer is the last
// of its connection.
func TestDrain(t *testing.T) {
	s := serve(t, Config{})
	tok := s.dial(t).create(`{}`)
	open := make([]*client, 4)
	for i := range open {
		open[i] = s.dial(t)
		open[i].wantOpen()
	}
	s.Drain()
	s.Drain()
	open[0].do("GET", "/readyz", "").wantRefusal(t, "Draining")
	if r := open[1].do("HEAD", "/readyz", ""); r.status != 503 || r.body != "" || r.header.Get("Content-Length") == "0" {
		t.Errorf("HEAD /readyz: %v, want 503", r)
	}
	open[2].wantOpen() // is answered, that is
	if r := open[3].do("PUT", "/token", tokenBody(tok)); !r.closes {
		t.Errorf("answer %v while draining, want Connection: close", r)
	} else if tok, _, _ = r.exchanged(); tok == "" {
		t.Errorf("answer %v while draining, want the exchange", r)
	}
	for _, c := range open {
		c.wantClosed()
	}
	s.dial(t).exchange(tok, "") // new connections are let in
	if r := s.do(t, "POST", "/token", `{"meta":{}}`); !isToken(r.body) || !r.closes {
		t.Errorf("answer %v while draining, want a token and Connection: close", r)
	}
}

// What a client has sent behind a request whose answer closes the connection is
// not carried out, and all answers before that arrive.
func TestDrainOfAPipeline(t *testing.T) {
	store := newMishap(t)
	s := serve(t, Config{Store: store})
	c := s.dial(t)
	const n = 20
	var tokens []string
	text := ""
	for range n {
		tokens = append(tokens, c.create(`{}`))
		text += requestText("PUT", "/token", tokenBody(tokens[len(tokens)-1]))
	}
	calls := 0
	store.set(func(string) error {
		if calls++; calls == n/2 {
			s.Drain()
		}
		return nil
	})
	c.send(text)
	for i := range n / 2 {
		r := c.receive("PUT")
		if _, _, ok := r.exchanged(); !ok || r.closes != (i == n/2-1) {
			t.Errorf("answer %d of %d: %v, closes %v", i, n/2, r, r.closes)
		}
	}
	c.wantClosed()
	store.clear()
	for i, tok := range tokens {
		r := s.do(t, "POST", "/token/validate", tokenBody(tok))
		if spent := r.body == invalidToken; spent != (i < n/2) {
			t.Errorf("token %d of %d is spent: %v", i, n, spent)
		}
	}
}
