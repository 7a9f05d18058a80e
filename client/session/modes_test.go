package session_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tokenserver/client"
	"tokenserver/client/session"
	"tokenserver/client/session/sessiontest"
)

// TestModes: which requests exchange their token.
func TestModes(t *testing.T) {
	for _, c := range []struct {
		name   string
		mode   session.Mode
		path   string
		header []string
		want   bool
	}{
		{"every request", session.EveryRequest, "/", []string{"Sec-Fetch-Dest", "image"}, true},
		{"a page", session.Navigations, "/", []string{"Sec-Fetch-Dest", "document"}, true},
		{"a frame", session.Navigations, "/", []string{"Sec-Fetch-Dest", "iframe"}, true},
		{"an image", session.Navigations, "/", []string{"Sec-Fetch-Dest", "image", "Accept", "text/html"}, false},
		{"a fetch", session.Navigations, "/", []string{"Sec-Fetch-Dest", "empty", "Accept", "*/*"}, false},
		{"a page of an old browser", session.Navigations, "/", []string{"Accept", "text/html,*/*"}, true},
		{"a part of an old browser", session.Navigations, "/", []string{"Accept", "*/*"}, false},
		{"a fetch that sets", session.Navigations, "/set", []string{"Sec-Fetch-Dest", "empty"}, true},
		{"a fetch that sets what there is", session.Navigations, "/same", []string{"Sec-Fetch-Dest", "empty"}, false},
		{"a fetch that renews", session.Navigations, "/renew", []string{"Sec-Fetch-Dest", "empty"}, true},
		{"within the interval", session.EveryInterval, "/", nil, false},
		{"within the interval, sets", session.EveryInterval, "/set", nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWeb(t, session.Manager{Mode: c.mode}, sessiontest.Config{}, func(w http.ResponseWriter, r *http.Request) {
				var err error
				switch r.URL.Path {
				case "/set":
					set(r)
				case "/same":
					err = session.Set(r.Context(), "year", 2026)
				case "/renew":
					err = session.Renew(r.Context())
				}
				year, ok := session.Get[int](r.Context(), "year")
				w.Header().Set("Cache-Control", "public, max-age=60")
				fmt.Fprint(w, year, ok, err)
			})
			w.logIn()
			before := w.token()
			res, body := w.get(c.path, c.header...)
			want := "2026 true <nil>"
			if c.path == "/set" {
				want = "2027 true <nil>"
			}
			if res.StatusCode != 200 || body != want {
				t.Errorf("answer = %s, %q, want 200, %q", res.Status, body, want)
			}
			if got := w.token() != before; got != c.want {
				t.Errorf("exchanged: %v, want %v", got, c.want)
			}
			if got := res.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control = %q, want no-store", got)
			}
			if res, _ := w.get("/meta", c.header...); res.StatusCode != 200 {
				t.Errorf("the next request: %s, want 200", res.Status)
			}
		})
	}
}

// visit has a handler answer a request with a token, and returns the token that comes
// back.
func visit(m *session.Manager, h http.Handler, token string, header ...string) (next string, rec *httptest.ResponseRecorder) {
	r := httptest.NewRequest("GET", "https://shop.example/", nil)
	m.Cookie.Add(r, token)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec = httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	for _, cookie := range rec.Result().Cookies() {
		next = cookie.Value
	}
	return next, rec
}

// begin makes a session of a Manager.
func begin(t *testing.T, m *session.Manager) (token string) {
	t.Helper()
	r := httptest.NewRequest("GET", "https://shop.example/", nil)
	sessiontest.LogIn(t, m, r, client.NewSession{})
	return r.Cookies()[0].Value
}

var page = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "page") })

func TestInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &session.Manager{Client: sessiontest.New(sessiontest.Config{}), Mode: session.EveryInterval, Interval: time.Minute}
		h := m.Handler(page)
		token := begin(t, m)
		second, _ := visit(m, h, token) // nobody knows how old the first is
		if second == "" {
			t.Error("the first token is not exchanged")
		}
		time.Sleep(59 * time.Second)
		if next, rec := visit(m, h, second); next != "" || rec.Code != 200 {
			t.Errorf("within the interval: %d, a cookie is set: %v", rec.Code, next != "")
		}
		time.Sleep(time.Second)
		if next, rec := visit(m, h, second); next == "" || rec.Code != 200 {
			t.Errorf("after the interval: %d, a cookie is set: %v", rec.Code, next != "")
		}
	})
}

// racing spends a token between a look and an exchange.
type racing struct{ session.Client }

func (c racing) Exchange(ctx context.Context, token string, p client.Patch) (client.Exchanged, error) {
	c.Client.Exchange(ctx, token, client.Patch{})
	return c.Client.Exchange(ctx, token, p)
}

// TestIntervalRace: a request is served if its token was good when it was looked at.
func TestIntervalRace(t *testing.T) {
	m := &session.Manager{Client: racing{sessiontest.New(sessiontest.Config{})}, Mode: session.EveryInterval}
	if next, rec := visit(m, m.Handler(page), begin(t, m)); rec.Code != 200 || next != "" {
		t.Errorf("%d, a cookie is set: %v, want 200 without", rec.Code, next != "")
	}
}

// TestParallel: of requests with one token all are served with a grace, and one without;
// each of the others leaves the cookie as it is.
func TestParallel(t *testing.T) {
	for _, c := range []struct {
		grace time.Duration
		want  int32
	}{{10 * time.Second, 16}, {0, 1}} {
		m := &session.Manager{Client: sessiontest.New(sessiontest.Config{Grace: c.grace})}
		h, token := m.Handler(page), begin(t, m)
		var served, cookies atomic.Int32
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				next, rec := visit(m, h, token)
				if rec.Code == 200 {
					served.Add(1)
				}
				if next != "" {
					cookies.Add(1)
				}
			})
		}
		wg.Wait()
		if served.Load() != c.want || cookies.Load() != c.want {
			t.Errorf("with a grace of %v: %d are served and %d get a cookie, want %d", c.grace, served.Load(), cookies.Load(), c.want)
		}
	}
}

// TestSlowHandler: an answer that took long has no token that is older than the
// browser's, which two quicker ones have given it.
func TestSlowHandler(t *testing.T) {
	for _, c := range []struct {
		name  string
		quick bool
		slow  time.Duration
		want  string // whether the slow answer has a cookie, and if its token is the newest
	}{
		{"alone", false, time.Minute, "newest"},
		{"within the grace", true, 3 * time.Second, "newest"},
		{"after the grace", true, time.Minute, "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &session.Manager{Client: sessiontest.New(sessiontest.Config{Grace: 10 * time.Second})}
				slow := m.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(c.slow) }))
				h, token := m.Handler(page), begin(t, m)
				var late, browsers string
				var wg sync.WaitGroup
				wg.Go(func() { late, _ = visit(m, slow, token) })
				if c.quick {
					time.Sleep(time.Second)
					next, _ := visit(m, h, token)
					browsers, _ = visit(m, h, next)
				}
				wg.Wait()
				got := "none"
				if late != "" {
					got, browsers = "older", late
				}
				if x, err := m.Client.Exchange(t.Context(), browsers, client.Patch{}); err != nil || x.Reused {
					t.Errorf("the browser's token: %v, reused %v", err, x.Reused)
				} else if late != "" {
					got = "newest"
				}
				if got != c.want {
					t.Errorf("the cookie of the slow answer: %s, want %s", got, c.want)
				}
			})
		})
	}
}

// TestNested: a handler within another of the same Manager does not exchange again.
func TestNested(t *testing.T) {
	m := &session.Manager{Client: sessiontest.New(sessiontest.Config{})}
	h := m.Optional(m.Handler(page))
	next, rec := visit(m, h, begin(t, m))
	if rec.Code != 200 || next == "" || len(rec.Result().Cookies()) != 1 {
		t.Errorf("%d, %v, want 200 with one cookie", rec.Code, rec.Header())
	}
	if _, rec := visit(m, h, ""); rec.Code != 303 {
		t.Errorf("without a session: %d, want 303", rec.Code)
	}
}

// TestCrossOrigin: a request of another site spends no token.
func TestCrossOrigin(t *testing.T) {
	trusting := http.NewCrossOriginProtection()
	trusting.AddTrustedOrigin("https://pay.example")
	for _, c := range []struct {
		name, method string
		protection   *http.CrossOriginProtection
		header       []string
		want         int
	}{
		{"its own", "POST", nil, []string{"Sec-Fetch-Site", "same-origin"}, 200},
		{"another site", "POST", nil, []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"a subdomain", "POST", nil, []string{"Sec-Fetch-Site", "same-site"}, 403},
		{"another origin", "DELETE", nil, []string{"Origin", "https://evil.example"}, 403},
		{"a link", "GET", nil, []string{"Sec-Fetch-Site", "cross-site"}, 200},
		{"trusted", "POST", trusting, []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://pay.example"}, 200},
	} {
		m := &session.Manager{Client: sessiontest.New(sessiontest.Config{}), CrossOrigin: c.protection}
		r := httptest.NewRequest(c.method, "https://shop.example/", nil)
		sessiontest.LogIn(t, m, r, client.NewSession{})
		for i := 0; i < len(c.header); i += 2 {
			r.Header.Set(c.header[i], c.header[i+1])
		}
		rec := httptest.NewRecorder()
		m.Handler(page).ServeHTTP(rec, r)
		if rec.Code != c.want {
			t.Errorf("%s: %d, want %d", c.name, rec.Code, c.want)
		}
		_, err := m.Client.Validate(t.Context(), r.Cookies()[0].Value)
		if spent := errors.Is(err, client.ErrInvalidToken); spent != (c.want == 200) {
			t.Errorf("%s: the token is spent: %v", c.name, spent)
		}
	}
}

func TestCSRFToken(t *testing.T) {
	var tokens []string
	w := newWeb(t, session.Manager{}, sessiontest.Config{}, func(w http.ResponseWriter, r *http.Request) {
		tokens = append(tokens, session.CSRFToken(r.Context()))
		fmt.Fprint(w, session.CheckCSRF(r))
	})
	w.get("/open")
	w.logIn()
	w.get("/")
	w.get("/")
	first := w.browser
	w.browser = w.newBrowser()
	w.logIn()
	w.get("/")
	if tokens[0] != "" || len(tokens[1]) != 22 || tokens[1] != tokens[2] || tokens[3] == tokens[1] {
		t.Errorf("tokens = %q, want none, two that are equal, and that of another session", tokens)
	}
	w.browser = first
	for _, c := range []struct{ form, header, want string }{
		{tokens[1], "", "<nil>"},
		{"", tokens[1], "<nil>"},
		{"", "", session.ErrCSRF.Error()},
		{tokens[3], "", session.ErrCSRF.Error()},
		{"", tokens[3], session.ErrCSRF.Error()},
	} {
		r := w.request("POST", "/")
		r.Body = io.NopCloser(strings.NewReader(url.Values{session.CSRFField: {c.form}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set(session.CSRFHeader, c.header)
		if _, body := w.do(r); body != c.want {
			t.Errorf("form %q, header %q: %s, want %s", c.form, c.header, body, c.want)
		}
	}
}

// TestCSRFKey: web servers with one key take each other's forms, and who knows a spent token but
// not the key can't make one.
func TestCSRFKey(t *testing.T) {
	store := sessiontest.New(sessiontest.Config{Grace: time.Minute})
	key := bytes.Repeat([]byte("k"), 32)
	r := httptest.NewRequest("GET", "/", nil)
	sessiontest.LogIn(t, &session.Manager{Client: store}, r, client.NewSession{})
	csrf := func(key []byte) (token string) {
		m := &session.Manager{Client: store, CSRFKey: key}
		m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { token = session.CSRFToken(r.Context()) })).
			ServeHTTP(httptest.NewRecorder(), r)
		return token
	}
	first := csrf(key)
	if again, other := csrf(bytes.Clone(key)), csrf(bytes.Repeat([]byte("l"), 32)); first == "" || again != first || other == first {
		t.Errorf("tokens %q and %q with one key, %q with another", first, again, other)
	}
	if none := csrf(nil); none != csrf(nil) || none == first {
		t.Errorf("the token without a key is %q, want one that the process keeps", none)
	}
}

// TestValues: what a handler sets it gets, and so does the next.
func TestValues(t *testing.T) {
	type unit struct{ Name string }
	checks := 0
	w := newWeb(t, session.Manager{}, sessiontest.Config{MaxMeta: 1 << 10}, func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		is := func(what string, got, want any) {
			t.Helper()
			checks++
			if got != want {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		noErr := func(err error) { t.Helper(); is("error", err, nil) }
		switch r.URL.Path {
		case "/1":
			noErr(session.Set(ctx, "unit", unit{"Sales"}))
			u, ok := session.Get[unit](ctx, "unit")
			is("unit", u, unit{"Sales"})
			is("unit", ok, true)
			_, ok = session.Get[string](ctx, "unit")
			is("unit of another type", ok, false)
			_, ok = session.Get[string](ctx, "none")
			is("none", ok, false)
			noErr(session.Unset(ctx, "year"))
			noErr(session.Unset(ctx, "none"))
			is("Meta", string(session.Meta(ctx)), `{"user":"ada","subject":"ada","unit":{"Name":"Sales"}}`)
			is("reserved", session.Set(ctx, "subject", "bob"), session.ErrReserved)
			is("reserved", session.Unset(ctx, "renewed"), session.ErrReserved)
			is("no JSON", session.Set(ctx, "f", func() {}) != nil, true)
		case "/2":
			_, ok := session.Get[int](ctx, "year")
			is("unset", ok, false)
			noErr(session.Set(ctx, "year", 1))
			noErr(session.Unset(ctx, "year"))
			noErr(session.Unset(ctx, "unit"))
			noErr(session.Set(ctx, "unit", 2))
		case "/3":
			is("Meta", string(session.Meta(ctx)), `{"user":"ada","subject":"ada","unit":2}`)
			noErr(session.Set(ctx, "unit", strings.Repeat("x", 1<<10)))
			is("Renew", errors.Is(session.Renew(ctx), client.ErrMetaTooLarge), true)
			session.Revert(ctx)
			is("Meta", string(session.Meta(ctx)), `{"user":"ada","subject":"ada","unit":2}`)
			noErr(session.Set(ctx, "unit", 3))
			noErr(session.Renew(ctx))
		case "/4":
			is("Meta", string(session.Meta(ctx)), `{"user":"ada","subject":"ada","unit":3}`)
			noErr(session.Destroy(ctx))
			is("Meta", string(session.Meta(ctx)), "")
			is("Set", session.Set(ctx, "unit", 2), session.ErrNoSession)
		}
	})
	w.logIn()
	for _, path := range []string{"/1", "/2", "/3", "/4"} {
		if res, _ := w.get(path); res.StatusCode != 200 {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	if checks != 26 {
		t.Errorf("%d checks were made, want 26", checks)
	}
}

// TestAfterTheHandler: a goroutine that outlives the handler reads what there was.
func TestAfterTheHandler(t *testing.T) {
	m := &session.Manager{Client: sessiontest.New(sessiontest.Config{})}
	answered, done := make(chan struct{}), make(chan error, 2)
	h := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		set(r)
		go func() {
			<-answered
			if year, _ := session.Get[int](r.Context(), "year"); year != 2027 {
				done <- fmt.Errorf("year = %d, want 2027", year)
			}
			done <- session.Set(r.Context(), "year", 1)
		}()
	}))
	visit(m, h, begin(t, m))
	close(answered)
	if err := <-done; !errors.Is(err, session.ErrTooLate) {
		t.Errorf("Set = %v, want ErrTooLate", err)
	}
}
