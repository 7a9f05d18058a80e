package session_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tokenserver/client"
	"tokenserver/client/session"
	"tokenserver/client/session/sessiontest"
)

// web is a web server with a browser.
type web struct {
	*testing.T
	store   *sessiontest.Store
	manager *session.Manager
	server  *httptest.Server
	browser *http.Client
}

// newWeb starts a web server whose pages are h, and /in that logs in.
func newWeb(t *testing.T, m session.Manager, cfg sessiontest.Config, h http.HandlerFunc) *web {
	t.Helper()
	w := &web{T: t, store: sessiontest.New(cfg), manager: &m}
	m.Client = w.store
	m.Cookie.Insecure = true
	m.Logger = slog.New(slog.DiscardHandler)
	mux := http.NewServeMux()
	mux.HandleFunc("/in", func(w http.ResponseWriter, r *http.Request) {
		if err := session.Login(r.Context(), client.NewSession{Meta: json.RawMessage(`{"user":"ada","year":2026}`), Subject: "ada"}); err != nil {
			t.Errorf("Login = %v", err)
		}
	})
	mux.HandleFunc("/meta", func(w http.ResponseWriter, r *http.Request) { w.Write(session.Meta(r.Context())) })
	outer := http.NewServeMux()
	outer.Handle("/in", m.Optional(mux))
	outer.Handle("/meta", m.Handler(mux))
	outer.Handle("/", m.Handler(h))
	outer.Handle("/open", m.Optional(h))
	w.server = httptest.NewUnstartedServer(outer)
	w.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	w.server.Start()
	t.Cleanup(w.server.Close)
	w.browser = w.newBrowser()
	return w
}

// newBrowser keeps cookies, and does not follow redirects.
func (w *web) newBrowser() *http.Client {
	jar, _ := cookiejar.New(nil)
	transport := &http.Transport{}
	w.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Jar: jar, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// token is that of the browser's cookie.
func (w *web) token() string {
	for _, cookie := range w.browser.Jar.Cookies(must(http.NewRequest("GET", w.server.URL, nil)).URL) {
		if cookie.Name == "token" {
			return cookie.Value
		}
	}
	return ""
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (w *web) request(method, path string, header ...string) *http.Request {
	r := must(http.NewRequestWithContext(w.Context(), method, w.server.URL+path, nil))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// do returns an answer, and what of its body has come.
func (w *web) do(r *http.Request) (res *http.Response, body string) {
	w.Helper()
	res, err := w.browser.Do(r)
	if err != nil {
		w.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body) // an error is that of an answer that was cut off
	return res, string(text)
}

func (w *web) get(path string, header ...string) (res *http.Response, body string) {
	w.Helper()
	return w.do(w.request("GET", path, header...))
}

func (w *web) logIn() {
	w.Helper()
	if res, _ := w.get("/in"); res.StatusCode != 200 || w.token() == "" {
		w.Fatalf("log in: %s, cookie %q", res.Status, w.token())
	}
}

// hasSession checks that the browser's next request has its session.
func (w *web) hasSession(meta string) {
	w.Helper()
	if res, body := w.get("/meta"); res.StatusCode != 200 || body != meta {
		w.Errorf("the next request: %s, %q, want 200, %s", res.Status, body, meta)
	}
}

const (
	adas    = `{"user":"ada","year":2026,"subject":"ada"}`
	changed = `{"user":"ada","year":2027,"subject":"ada"}`
)

// set sets the year, in a handler.
func set(r *http.Request) {
	if err := session.Set(r.Context(), "year", 2027); err != nil {
		panic(err)
	}
}

// TestAnswers: however a handler answers, the browser has the next token, and what was
// set is kept.
func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		name   string
		handle http.HandlerFunc
		method string
		status int
		body   string
		meta   string
	}{
		{"nothing", func(w http.ResponseWriter, r *http.Request) {}, "GET", 200, "", adas},
		{"nothing, but sets", func(w http.ResponseWriter, r *http.Request) { set(r) }, "GET", 200, "", changed},
		{"Write", func(w http.ResponseWriter, r *http.Request) { set(r); io.WriteString(w, "page"); w.Write(nil) }, "GET", 200, "page", changed},
		{"HEAD", func(w http.ResponseWriter, r *http.Request) { set(r); io.WriteString(w, "page") }, "HEAD", 200, "", changed},
		{"Error", func(w http.ResponseWriter, r *http.Request) { set(r); http.Error(w, "no", http.StatusTeapot) }, "GET", http.StatusTeapot, "no\n", changed},
		{"304", func(w http.ResponseWriter, r *http.Request) { set(r); w.WriteHeader(304) }, "GET", 304, "", changed},
		{"Early Hints", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</a.css>; rel=preload")
			w.WriteHeader(103)
			set(r)
			w.WriteHeader(201)
		}, "GET", 201, "", changed},
		{"Flush", func(w http.ResponseWriter, r *http.Request) {
			set(r)
			w.(http.Flusher).Flush()
			io.WriteString(w, "page")
		}, "GET", 200, "page", changed},
		{"FlushError", func(w http.ResponseWriter, r *http.Request) {
			set(r)
			io.WriteString(w, fmt.Sprint(http.NewResponseController(w).Flush()))
		}, "GET", 200, "<nil>", changed},
		{"ReadFrom", func(w http.ResponseWriter, r *http.Request) {
			set(r)
			io.Copy(w, io.LimitReader(strings.NewReader("page"), 4))
		}, "GET", 200, "page", changed},
		{"deadline by Unwrap", func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, fmt.Sprint(http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Hour))))
		}, "GET", 200, "<nil>", adas},
		{"reads and sets after it has begun", func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "page")
			year, ok := session.Get[int](r.Context(), "year")
			fmt.Fprint(w, year, ok, errors.Is(session.Set(r.Context(), "year", 1), session.ErrTooLate), errors.Is(session.Destroy(r.Context()), session.ErrTooLate))
		}, "GET", 200, "page2026 true true true", adas},
		{"two heads", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(201); w.WriteHeader(202) }, "GET", 201, "", adas},
		{"panic", func(w http.ResponseWriter, r *http.Request) { set(r); panic("x") }, "GET", 500, "Internal Server Error\n", adas},
		{"abort", func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, "GET", 500, "Internal Server Error\n", adas},
		{"panic after a byte", func(w http.ResponseWriter, r *http.Request) { set(r); io.WriteString(w, "pa"); panic("x") }, "GET", 200, "pa", changed},
		{"hijack", func(w http.ResponseWriter, r *http.Request) {
			set(r)
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			defer conn.Close()
			hijacked(rw, w.Header())
		}, "GET", 200, "raw", changed},
		{"hijack with Header", func(w http.ResponseWriter, r *http.Request) {
			set(r)
			h, err := session.Header(r.Context())
			if err != nil {
				panic(err)
			}
			conn, rw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			defer conn.Close()
			hijacked(rw, h)
		}, "GET", 200, "raw", changed},
		{"inside of TimeoutHandler", func(w http.ResponseWriter, r *http.Request) {
			answered := make(chan struct{})
			defer close(answered)
			http.TimeoutHandler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-answered }), time.Nanosecond, "slow").ServeHTTP(w, r)
		}, "GET", 503, "slow", adas},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWeb(t, session.Manager{}, sessiontest.Config{}, c.handle)
			w.logIn()
			before := w.token()
			res, body := w.do(w.request(c.method, "/"))
			if res.StatusCode != c.status || body != c.body {
				t.Errorf("answer = %s, %q, want %d, %q", res.Status, body, c.status, c.body)
			}
			if w.token() == before || len(res.Header["Set-Cookie"]) != 1 {
				t.Errorf("Set-Cookie = %q, want one that is new", res.Header["Set-Cookie"])
			}
			if got := res.Header.Get("Cache-Control") + " " + res.Header.Get("Vary"); got != "no-store Cookie" {
				t.Errorf("Cache-Control and Vary = %s, want no-store Cookie", got)
			}
			w.hasSession(c.meta)
		})
	}
}

// hijacked writes an answer with a header.
func hijacked(rw *bufio.ReadWriter, h http.Header) {
	io.WriteString(rw, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n")
	h.Write(rw)
	io.WriteString(rw, "\r\nraw")
	rw.Flush()
}

// TestPanicWithoutSession: nothing is written for a handler that panics if no token
// could be lost by it.
func TestPanicWithoutSession(t *testing.T) {
	w := newWeb(t, session.Manager{}, sessiontest.Config{}, func(http.ResponseWriter, *http.Request) { panic("x") })
	if res, err := w.browser.Do(w.request("GET", "/open")); err == nil {
		t.Errorf("answer = %s, want none", res.Status)
		res.Body.Close()
	}
}

// TestCutOff: an answer that a panic has cut off does not look whole.
func TestCutOff(t *testing.T) {
	w := newWeb(t, session.Manager{}, sessiontest.Config{}, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "pa"); panic("x") })
	w.logIn()
	res, err := w.browser.Do(w.request("GET", "/"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadAll(res.Body); err == nil {
		t.Error("the answer looks whole")
	}
}

func TestLoginAndLogout(t *testing.T) {
	var devices []session.Device
	w := newWeb(t, session.Manager{}, sessiontest.Config{}, func(w http.ResponseWriter, r *http.Request) {
		ctx, err := r.Context(), error(nil)
		switch r.URL.Path {
		case "/out":
			err = session.Destroy(ctx)
		case "/everywhere":
			_, err = session.LogoutEverywhere(ctx)
		case "/others":
			_, err = session.LogoutOthers(ctx)
		case "/devices":
			devices, err = session.Devices(ctx)
		case "/end":
			err = session.End(ctx, r.FormValue("name"))
		}
		fmt.Fprintf(w, "%v %v %s", err, session.Active(ctx), session.Subject(ctx))
	})
	check := func(path, wantBody string, wantSessions int) {
		t.Helper()
		if _, body := w.get(path); body != wantBody || w.store.Len() != wantSessions {
			t.Errorf("%s = %q with %d sessions left, want %q with %d", path, body, w.store.Len(), wantBody, wantSessions)
		}
	}
	w.logIn()
	first := w.token()
	w.logIn()
	if w.token()[:10] == first[:10] || w.store.Len() != 1 {
		t.Errorf("a second log in leaves the session, or %d", w.store.Len())
	}
	check("/out", "<nil> false ", 0)
	if w.token() != "" {
		t.Error("log out leaves the cookie")
	}
	other := w.browser
	w.logIn()
	w.browser = w.newBrowser()
	w.logIn()
	check("/devices", "<nil> true ada", 2)
	if len(devices) != 2 || !devices[0].Current || devices[1].Current {
		t.Errorf("devices = %+v, want two, the first this one", devices)
	}
	check("/end?name="+devices[1].Name, "<nil> true ada", 1)
	check("/others", "<nil> true ada", 1)
	check("/end?name="+devices[0].Name, "<nil> false ", 0)
	w.browser = other
	if res, _ := w.get("/"); res.StatusCode != 303 {
		t.Errorf("a device that was ended: %s, want 303", res.Status)
	}
	w.logIn()
	w.browser = w.newBrowser()
	w.logIn()
	check("/others", "<nil> true ada", 1)
	w.browser = w.newBrowser()
	w.logIn()
	check("/everywhere", "<nil> false ", 0)
}

// TestInvalid: what becomes of a request without a session.
func TestInvalid(t *testing.T) {
	handled := false
	w := newWeb(t, session.Manager{}, sessiontest.Config{}, func(w http.ResponseWriter, r *http.Request) {
		handled = true
		_, err := session.Devices(r.Context())
		fmt.Fprint(w, session.Active(r.Context()), session.Set(r.Context(), "a", 1), err)
	})
	for _, c := range []struct {
		name, method, path string
		header             []string
		status             int
		location           string
	}{
		{"page", "GET", "/a?b=c%20d", nil, 303, "/login?next=%2Fa%3Fb%3Dc%2520d"},
		{"first page", "GET", "/", nil, 303, "/login"},
		{"form", "POST", "/a", nil, 303, "/login"},
		{"navigation", "GET", "/a", []string{"Sec-Fetch-Dest", "document", "Accept", "application/json"}, 303, "/login?next=%2Fa"},
		{"fetch", "GET", "/a", []string{"Sec-Fetch-Dest", "empty"}, 401, ""},
		{"image", "GET", "/a", []string{"Sec-Fetch-Dest", "image", "Accept", "text/html"}, 401, ""},
		{"wants JSON", "GET", "/a", []string{"Accept", "application/json"}, 401, ""},
		{"XMLHttpRequest", "GET", "/a", []string{"X-Requested-With", "XMLHttpRequest"}, 401, ""},
		{"garbled", "GET", "/a", []string{"Cookie", "token=x\"y; a"}, 303, "/login?next=%2Fa"},
		{"too large", "GET", "/a", []string{"Cookie", "token=" + strings.Repeat("A", 10000)}, 303, "/login?next=%2Fa"},
		{"unknown", "GET", "/a", []string{"Cookie", "token=" + strings.Repeat("A", 32)}, 303, "/login?next=%2Fa"},
		{"another cookie", "GET", "/a", []string{"Cookie", "__Host-token=" + strings.Repeat("A", 32)}, 303, "/login?next=%2Fa"},
	} {
		res, body := w.do(w.request(c.method, c.path, c.header...))
		if res.StatusCode != c.status || res.Header.Get("Location") != c.location {
			t.Errorf("%s: %s to %q, want %d to %q", c.name, res.Status, res.Header.Get("Location"), c.status, c.location)
		}
		if c.status == 401 && body != `{"Err":"InvalidToken","message":"Log in."}` {
			t.Errorf("%s: body = %s", c.name, body)
		}
		if res.Header.Get("Cache-Control") != "no-store" || res.Header["Set-Cookie"] != nil || handled {
			t.Errorf("%s: may be cached, changes the cookie, or is handled: %v", c.name, res.Header)
		}
	}
	for _, path := range []string{"/login", "/open"} { // which need none
		if res, body := w.get(path); res.StatusCode != 200 || body != "false session: there is none session: there is none" {
			t.Errorf("%s: %s, %s", path, res.Status, body)
		}
	}
}

// TestUnavailable: a token server that is away sends nobody to the login page, and the
// cookie stays.
func TestUnavailable(t *testing.T) {
	w := newWeb(t, session.Manager{}, sessiontest.Config{}, func(w http.ResponseWriter, r *http.Request) { set(r); io.WriteString(w, "page") })
	w.logIn()
	for _, err := range []error{client.ErrUnavailable, client.ErrOutcomeUnknown, client.ErrUnauthorized, client.ErrStoreFull, io.EOF} {
		w.store.Fail(err)
		for _, path := range []string{"/", "/open"} {
			res, _ := w.get(path)
			if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || res.Header["Set-Cookie"] != nil || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s while %v: %s, %v, want 503 with the cookie as it is", path, err, res.Status, res.Header)
			}
		}
	}
	w.store.Fail(nil)
	w.hasSession(adas)
}

// failing fails exchanges that change something.
type failing struct {
	session.Client
	err   error
	calls int
}

func (f *failing) Exchange(ctx context.Context, token string, p client.Patch) (client.Exchanged, error) {
	if p.Meta != nil && f.err != nil {
		f.calls++
		return client.Exchanged{}, f.err
	}
	return f.Client.Exchange(ctx, token, p)
}

// TestNotKept: the browser gets an error in place of an answer whose changes are not
// kept, and its token.
func TestNotKept(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		cookie bool
	}{
		{client.ErrUnavailable, 503, true},
		{client.ErrOutcomeUnknown, 503, true},
		{client.ErrMetaTooLarge, 500, true},
		{client.ErrInvalidToken, 303, false},
	} {
		store := sessiontest.New(sessiontest.Config{})
		tokens := &failing{Client: store, err: c.err}
		m := session.Manager{Client: tokens, Logger: slog.New(slog.DiscardHandler)}
		var wrote []error
		h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			set(r)
			if _, err := session.Header(r.Context()); !errors.Is(err, c.err) {
				t.Errorf("Header = %v, want %v", err, c.err)
			}
			w.Header().Set("Content-Length", "4")
			w.Header().Set("Location", "/thanks")
			w.WriteHeader(303)
			_, err1 := w.Write([]byte("page"))
			_, err2 := io.WriteString(w, "page")
			_, _, err3 := http.NewResponseController(w).Hijack()
			wrote = []error{err1, err2, err3, http.NewResponseController(w).Flush()}
		}))
		r := httptest.NewRequest("POST", "/", nil)
		sessiontest.LogIn(t, &m, r, client.NewSession{})
		rec := httptest.NewRecorder()
		rec.Header().Set("Content-Security-Policy", "x") // of a handler further out
		h.ServeHTTP(rec, r)
		res := rec.Result()
		if res.StatusCode != c.status || res.Header.Get("Content-Length") != "" || res.Header.Get("Location") == "/thanks" || rec.Body.String() == "page" {
			t.Errorf("%v: %s, %v, %s, want %d", c.err, res.Status, res.Header, rec.Body, c.status)
		}
		if got := res.Header["Set-Cookie"] != nil; got != c.cookie {
			t.Errorf("%v: a cookie is set: %v, want %v", c.err, got, c.cookie)
		}
		if tokens.calls != 1 {
			t.Errorf("%v: the exchange was made %d times, want once", c.err, tokens.calls)
		}
		if res.Header.Get("Content-Security-Policy") != "x" {
			t.Errorf("%v: the header of a handler further out is gone", c.err)
		}
		for i, err := range wrote {
			if !errors.Is(err, session.ErrReplaced) {
				t.Errorf("%v: write %d = %v, want ErrReplaced", c.err, i, err)
			}
		}
	}
}

// TestClientGone: what a handler has set is kept also if nobody waits for the answer.
func TestClientGone(t *testing.T) {
	store := sessiontest.New(sessiontest.Config{Grace: time.Minute})
	m := session.Manager{Client: store}
	r := httptest.NewRequest("POST", "/", nil)
	sessiontest.LogIn(t, &m, r, client.NewSession{})
	ctx, cancel := context.WithCancel(t.Context())
	m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		set(r)
		cancel()
	})).ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))
	v, err := store.Validate(t.Context(), must(r.Cookie("__Host-token")).Value)
	if got, want := string(v.Meta), `{"year":2027}`; err != nil || got != want {
		t.Errorf("metadata = %s, %v, want %s", got, err, want)
	}
}

// TestHTTP2: the same holds for HTTP/2, where a browser has the cookie that is Secure.
func TestHTTP2(t *testing.T) {
	m := session.Manager{Client: sessiontest.New(sessiontest.Config{})}
	server := httptest.NewUnstartedServer(m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic("x")
		}
		if _, _, err := w.(http.Hijacker).Hijack(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("Hijack = %v, want ErrNotSupported", err)
		}
		io.WriteString(w, "page")
	})))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	defer server.Close()
	browser := server.Client()
	browser.Jar = must(cookiejar.New(nil))
	first := must(http.NewRequest("GET", server.URL, nil))
	sessiontest.LogIn(t, &m, first, client.NewSession{})
	browser.Jar.SetCookies(first.URL, []*http.Cookie{{Name: "__Host-token", Value: first.Cookies()[0].Value, Path: "/", Secure: true}})
	for _, path := range []string{"/", "/panic", "/"} {
		res, err := browser.Get(server.URL + path)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		io.Copy(io.Discard, res.Body) // a panic resets the stream
		res.Body.Close()
		want := map[string]int{"/": 200, "/panic": 500}[path]
		if res.StatusCode != want || res.ProtoMajor != 2 || len(res.Cookies()) != 1 {
			t.Errorf("%s: %s %s, %v, want %d with a cookie", path, res.Proto, res.Status, res.Header, want)
		}
	}
}
