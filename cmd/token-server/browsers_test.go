package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	tokens "tokenserver/client"
	"tokenserver/client/session"
)

// crowd is browsers before a web application with the middleware, and what they have seen.
type crowd struct {
	t    *testing.T
	url  string
	http http.Client

	mu     sync.Mutex   // guards what follows
	seen   []string     // all tokens
	spoken bytes.Buffer // what must have no token: logs, URLs, bodies, headers but those of cookies
}

// newCrowd starts a token server with flags and a web application: /login logs a user in, any
// other page sets what its query says and is the metadata.
func newCrowd(t *testing.T, flags ...string) *crowd {
	m, log := newMain(t, flags...)
	if err := m.Run(); err != nil {
		t.Fatal(err)
	}
	c := &crowd{t: t, http: http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{MaxIdleConnsPerHost: 256},
	}}
	client, err := tokens.New(tokens.Config{Addresses: []string{m.listeners[0].Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	sessions := &session.Manager{Client: client, Cookie: session.Cookie{Insecure: true}, Logger: slog.New(slog.NewTextHandler(c, nil))}
	app := httptest.NewServer(sessions.Handler(http.HandlerFunc(c.page)))
	c.url = app.URL
	t.Cleanup(func() {
		c.http.CloseIdleConnections()
		app.Close()
		client.Close()
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		spoken := c.spoken.String() + fmt.Sprint(log)
		for _, token := range c.seen {
			if strings.Contains(spoken, token) {
				t.Errorf("the token %s is in a log, a URL, a page or a header that is none of cookies", token)
			}
		}
	})
	return c
}

// Write takes the middleware's log.
func (c *crowd) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spoken.Write(b)
}

func (c *crowd) page(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	fmt.Fprintln(c, r.RequestURI, r.Referer(), r.Header.Get("Origin"))
	user := r.FormValue("user")
	switch {
	case r.URL.Path == "/login" && user != "":
		if err := session.Login(ctx, tokens.NewSession{Subject: user, Meta: fmt.Appendf(nil, `{"user":%q}`, user)}); err != nil {
			c.t.Error(err)
		}
	case r.FormValue("round") != "":
		if err := session.Set(ctx, "round", r.FormValue("round")); err != nil {
			c.t.Error(err)
		}
	}
	w.Write(session.Meta(ctx))
}

// get sends a request with a cookie. It returns the status, the page, and the cookie that the browser then has.
func (c *crowd) get(path, cookie string) (status int, page map[string]string, next string) {
	req, err := http.NewRequest("GET", c.url+path, nil)
	if err != nil {
		c.t.Error(err)
		return 0, nil, cookie
	}
	req.Header.Set("Referer", c.url+"/before"+path)
	if cookie != "" {
		req.AddCookie(&http.Cookie{Name: "token", Value: cookie})
	}
	res, err := c.http.Do(req)
	if err != nil {
		c.t.Error(err)
		return 0, nil, cookie
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Error(err)
	}
	next = cookie
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, set := range res.Cookies() {
		next = set.Value
		c.seen = append(c.seen, set.Value)
	}
	res.Header.Del("Set-Cookie")
	fmt.Fprintln(&c.spoken, res.Header, string(body))
	if res.StatusCode == http.StatusOK {
		if err := json.Unmarshal(body, &page); err != nil {
			c.t.Errorf("the page %s: %v", body, err)
		}
	}
	return res.StatusCode, page, next
}

// TestManyBrowsers: every request that gets a page gets the metadata of its own user and what they have
// set last, and nobody is logged out.
func TestManyBrowsers(t *testing.T) {
	const browsers, rounds, parallel = 64, 6, 4
	for _, test := range []struct {
		name   string
		flags  []string
		served int // of parallel requests
	}{
		{"with a grace", []string{"--grace=1m"}, parallel},
		{"without", nil, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCrowd(t, test.flags...)
			var wg sync.WaitGroup
			for i := range browsers {
				wg.Go(func() {
					user := fmt.Sprintf("user-%d", i)
					_, _, cookie := c.get("/login?user="+user, "")
					for round := range rounds {
						cookie = c.round(user, cookie, fmt.Sprint(round), parallel, test.served)
					}
					if status, page, _ := c.get("/", cookie); status != 200 || page["user"] != user {
						t.Errorf("in the end %s gets %d %v, want their page", user, status, page)
					}
				})
			}
			wg.Wait()
		})
	}
}

// round sets a round, then sends parallel requests with one cookie, of which some are served. It returns the
// cookie of one that was.
func (c *crowd) round(user, cookie, round string, parallel, served int) string {
	want := map[string]string{"user": user, "subject": user, "round": round}
	status, page, cookie := c.get("/?round="+round, cookie)
	if status != 200 || fmt.Sprint(page) != fmt.Sprint(want) {
		c.t.Errorf("%s sets the round %s and gets %d %v, want %v", user, round, status, page, want)
	}
	var wg sync.WaitGroup
	cookies := make([]string, parallel)
	for i := range parallel {
		wg.Go(func() {
			status, page, next := c.get(fmt.Sprintf("/%d", i), cookie)
			switch {
			case status == 200 && fmt.Sprint(page) == fmt.Sprint(want):
				cookies[i] = next
			case status != 303 || next != cookie:
				c.t.Errorf("%s in the round %s gets %d %v and the cookie %s, want %v or 303 and the cookie of before", user, round, status, page, next, want)
			}
		})
	}
	wg.Wait()
	got := slices.DeleteFunc(cookies, func(cookie string) bool { return cookie == "" })
	if len(got) != served {
		c.t.Errorf("%d requests of %s in the round %s were served, want %d", len(got), user, round, served)
	}
	if len(got) == 0 {
		return cookie
	}
	return got[len(got)-1]
}
