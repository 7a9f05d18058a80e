package server

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"tokenserver/internal/metadata"
	"tokenserver/shard"
	"tokenserver/token"
)

// The order is: HTTP syntax and size, path, method, content type, JSON, fields,
// token, merged size. Each request has a fault, and all those that are looked
// for after it.
func TestOrderOfChecks(t *testing.T) {
	s := serve(t, Config{Store: newStore(t, shard.Config{MaxMeta: 100}), MaxBody: 2000})
	tok := s.dial(t).create(`{}`)
	var (
		tooLargeMeta = `{"` + marker + `":"` + strings.Repeat("x", 200) + `"}`
		tooLargeBody = strings.Repeat(marker, 1000)
		plain        = "Content-Type: text/" + marker
		badJSON      = `{"` + marker + `"`
	)
	tests := []struct {
		name, method, path, body, header string
		status                           int
		code                             string
	}{
		{"syntax before all", "PUT", "/" + marker, badJSON, plain + "\r\nTransfer-Encoding: chunked", 400, "BadRequest"},
		{"size before path", "PUT", "/" + marker, tooLargeBody, plain, 413, "BodyTooLarge"},
		{"size before method", "PATCH", "/token", tooLargeBody, plain, 413, "BodyTooLarge"},
		{"path before method", "PATCH", "/" + marker, badJSON, plain, 404, "NotFound"},
		{"path before content type", "PUT", "/" + marker, badJSON, plain, 404, "NotFound"},
		{"path before JSON", "PUT", "/" + marker, badJSON, "", 404, "NotFound"},
		{"method before content type", "PATCH", "/token", badJSON, plain, 405, "MethodNotAllowed"},
		{"method before JSON", "PATCH", "/token", badJSON, "", 405, "MethodNotAllowed"},
		{"method before fields", "GET", "/token", `[]`, "", 405, "MethodNotAllowed"},
		{"content type before JSON", "PUT", "/token", badJSON, plain, 415, "UnsupportedMediaType"},
		{"content type before fields", "POST", "/token", `{}`, plain, 415, "UnsupportedMediaType"},
		{"content type before no body", "PUT", "/token", "", plain, 415, "UnsupportedMediaType"},
		{"content encoding before JSON", "PUT", "/token", badJSON, "Content-Encoding: gzip", 415, "UnsupportedMediaType"},
		{"JSON before fields", "POST", "/token", `{"meta":null} ` + marker, "", 400, "MalformedJSON"},
		{"JSON before a field given twice", "PUT", "/token", `{"token":"x","token":"x",}`, "", 400, "MalformedJSON"},
		{"JSON before the kind of a field", "PUT", "/token", `{"token":1,"meta":[}`, "", 400, "MalformedJSON"},
		{"JSON before token", "PUT", "/token", `{"token":"` + marker + `"`, "", 400, "MalformedJSON"},
		{"fields before token", "PUT", "/token", `{"token":"` + marker + `","meta":[]}`, "", 422, "InvalidRequest"},
		{"fields before token of validate", "POST", "/token/validate", `{"token":"a","token":"` + marker + `"}`, "", 422, "InvalidRequest"},
		{"token before merged size", "PUT", "/token", `{"token":"` + somewhere + `","meta":` + tooLargeMeta + `}`, "", 200, ""},
		{"merged size last", "PUT", "/token", `{"token":"` + tok + `","meta":` + tooLargeMeta + `}`, "", 413, "MetaTooLarge"},
		{"merged size, first", "POST", "/token", `{"meta":` + tooLargeMeta + `}`, "", 413, "MetaTooLarge"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var headers []string
			if test.header != "" {
				headers = append(headers, test.header)
			}
			r := s.do(t, test.method, test.path, test.body, headers...)
			if test.status == 200 {
				r.wantInvalidToken(t)
			} else {
				r.wantError(t, test.status, test.code)
			}
			s.wantWorking(t)
		})
	}
	s.dial(t).exchange(tok, "") // survived them all
}

// Not one of the bad requests with a live token in it spends it.
func TestBadRequestsSpendNothing(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial(t)
	tok := c.create(`{"a":1}`)
	tests := []struct{ method, path, body string }{
		{"PUT", "/token/", tokenBody(tok)},
		{"PATCH", "/token", tokenBody(tok)},
		{"GET", "/token", tokenBody(tok)},
		{"POST", "/token", tokenBody(tok)},
		{"PUT", "/token/validate", tokenBody(tok)},
		{"DELETE", "/token/validate", tokenBody(tok)},
		{"PUT", "/token", tokenBody(tok) + "x"},
		{"PUT", "/token", `{"token":"` + tok + `","token":"` + tok + `"}`},
		{"DELETE", "/token", `{"token":"` + tok + `","token":"` + tok + `"}`},
		{"PUT", "/token", exchangeBody(tok, `[]`)},
		{"PUT", "/token", exchangeBody(tok, `"x"`)},
		{"PUT", "/token", exchangeBody(tok, `{"a":}`)},
		{"PUT", "/token", `["` + tok + `"]`},
	}
	for _, test := range tests {
		if r := c.do(test.method, test.path, test.body); r.code() == "" {
			t.Errorf("%s %s of %s: %v, want an error", test.method, test.path, test.body, r)
		}
	}
	for _, header := range []string{"Content-Type: text/plain", "Content-Encoding: gzip"} {
		c.do("PUT", "/token", tokenBody(tok), header).wantError(t, 415, "UnsupportedMediaType")
		c.do("DELETE", "/token", tokenBody(tok), header).wantError(t, 415, "UnsupportedMediaType")
	}
	if _, meta := c.exchange(tok, ""); meta != `{"a":1}` {
		t.Errorf("metadata = %s, want it unchanged", meta)
	}
}

func TestAnswerTo(t *testing.T) {
	tests := []struct {
		err    error
		status int
		code   string
	}{
		{token.ErrInvalid, 200, "InvalidToken"},
		{metadata.ErrMalformed, 400, "MalformedJSON"},
		{errBadRequest, 400, "BadRequest"},
		{errPlain, 400, "BadRequest"},
		{errUnauthorized, 401, "Unauthorized"},
		{errNoSession, 401, "InvalidToken"},
		{errForbidden, 403, "Forbidden"},
		{errNotFound, 404, "NotFound"},
		{errMethodNotAllowed, 405, "MethodNotAllowed"},
		{errTimeout, 408, "RequestTimeout"},
		{errBodyTooLarge, 413, "BodyTooLarge"},
		{token.ErrMetaTooLarge, 413, "MetaTooLarge"},
		{errAuthTooLarge, 413, "MetaTooLarge"},
		{token.ErrBatchTooLarge, 413, "BatchTooLarge"},
		{errMediaType, 415, "UnsupportedMediaType"},
		{errInvalidRequest, 422, "InvalidRequest"},
		{errHeadersTooLarge, 431, "HeadersTooLarge"},
		{errInternal, 500, "InternalServerError"},
		{errDraining, 503, "Draining"},
		{errStopping, 503, "StoreUnavailable"},
		{errCrowded, 503, "StoreUnavailable"},
		{errStale, 503, "StoreUnavailable"},
		{errBusy, 503, "StoreUnavailable"},
		{token.ErrFull, 507, "StoreFull"},
		{errors.New("anything else"), 503, "StoreUnavailable"},
	}
	for _, test := range tests {
		for _, err := range []error{test.err, fmt.Errorf("wrapped: %w", test.err)} {
			a := answerTo(err)
			if a.status != test.status || !strings.HasPrefix(a.body, `{"Err":"`+test.code+`"`) {
				t.Errorf("answerTo(%v) = %d %s, want %d %s", err, a.status, a.body, test.status, test.code)
			}
		}
	}
	if got, want := len(tests), len(answers)+1; got != want {
		t.Errorf("%d errors are tested, want all %d", got, want)
	}
}

// Of a request that a store says it has not carried out the client may be told
// so; of no other failure.
func TestDone(t *testing.T) {
	store := newMishap(t)
	s := serve(t, Config{Store: store})
	c := s.dial(t)
	tok := c.create(`{}`)
	away := &token.UnavailableError{Reason: "loading: \"43 %\"\n"}
	for _, err := range []error{away, fmt.Errorf("%s: %w", marker, away)} {
		store.set(func(string) error { return err })
		for call, request := range calls {
			r := c.do(request(tok))
			if want := `{"Err":"StoreUnavailable","message":"loading: \"43 %\"\n","done":false}`; r.body != want {
				t.Errorf("%s answers %v, want %s", call, r, want)
			}
			r.wantRefusal(t, "StoreUnavailable")
		}
	}
	store.set(func(string) error { return errEngine })
	for call, request := range calls {
		if r := c.do(request(tok)); r.contains("done") {
			t.Errorf("%s that failed answers %v, want nothing of what was done", call, r)
		}
	}
	store.clear()
	c.exchange(tok, "")
}

// A store may fail for every request of many.
func TestStoreErrorsAreLoggedOncePerSecond(t *testing.T) {
	for _, test := range []struct {
		err  error
		line string
	}{
		{&token.UnavailableError{Reason: "loading: 43 %"}, `level=WARN msg="store is unavailable" reason="loading: 43 %"`},
		{errEngine, `level=ERROR msg="store failed" error="engine is away"`},
	} {
		var log logBuffer
		store := newMishap(t)
		s := serve(t, Config{Store: store, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		c := s.dial(t)
		store.set(func(string) error { return test.err })
		start := time.Now()
		for range 200 {
			c.do("PUT", "/token", tokenBody(somewhere)).wantError(t, 503, "StoreUnavailable")
		}
		most := 1 + int(time.Since(start)/time.Second)
		if got := strings.Count(log.String(), test.line); got == 0 || got > most {
			t.Errorf("log has %d lines, want 1 to %d: %s", got, most, log.String())
		}
		if got := strings.Count(log.String(), "level=WARN") + strings.Count(log.String(), "level=ERROR"); got > most {
			t.Errorf("log has %d lines of warnings and errors, want %d at most: %s", got, most, log.String())
		}
	}
}

func TestOncePerSecond(t *testing.T) {
	var o oncePerSecond
	for _, test := range []struct {
		now  time.Duration
		want bool
	}{{0, true}, {0, false}, {time.Second - 1, false}, {time.Second, true}, {time.Second + 1, false}, {time.Hour, true}} {
		if got := o.allow(test.now); got != test.want {
			t.Errorf("allow(%v) = %v, want %v", test.now, got, test.want)
		}
	}
}
