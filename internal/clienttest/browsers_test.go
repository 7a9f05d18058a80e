package clienttest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenserver/client"
	"tokenserver/client/session"
	"tokenserver/shard"
)

// site is a web application behind the middleware, with what it has logged and the
// parts of requests where no token may be.
type site struct {
	*httptest.Server
	mu   sync.Mutex
	seen bytes.Buffer // log, URLs, headers but Cookie
}

// Write takes the log.
func (s *site) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen.Write(b)
}

func startSite(t *testing.T, c session.Client) *site {
	s := new(site)
	m := &session.Manager{Client: c, Cookie: session.Cookie{Insecure: true}, Logger: slog.New(slog.NewTextHandler(s, nil))}
	mux := http.NewServeMux()
	mux.Handle("/login", m.Optional(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := client.NewSession{Meta: fmt.Appendf(nil, `{"user":%q,"visits":0}`, r.FormValue("user")), Subject: r.FormValue("user")}
		if err := session.Login(r.Context(), begin); err != nil {
			t.Errorf("log in: %v", err)
		}
	})))
	mux.Handle("/", m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/visit" {
			visits, _ := session.Get[int](r.Context(), "visits")
			session.Set(r.Context(), "visits", visits+1)
		}
		w.Write(session.Meta(r.Context()))
	})))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest := r.Header.Clone()
		rest.Del("Cookie")
		fmt.Fprintln(s, r.RequestURI, rest)
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// browser is that of one user, who knows what their session should have.
type browser struct {
	t      *testing.T
	site   *site
	client *http.Client
	user   string
	visits int
	tokens map[string]bool // that it has had
}

func newBrowser(t *testing.T, s *site, user string) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	t.Cleanup(transport.CloseIdleConnections)
	b := &browser{t: t, site: s, user: user, tokens: make(map[string]bool)}
	b.client = &http.Client{Jar: jar, Transport: transport, Timeout: time.Minute}
	b.get("/login?user="+user, nil)
	return b
}

// get checks that a page has the metadata of the user, and returns it.
func (b *browser) get(path string, last *url.URL) (visits int) {
	r, err := http.NewRequestWithContext(b.t.Context(), "GET", b.site.URL+path, nil)
	if err != nil {
		b.t.Error(err)
		return 0
	}
	if last != nil {
		r.Header.Set("Referer", last.String())
	}
	res, err := b.client.Do(r)
	if err != nil {
		b.t.Errorf("%s: %s: %v", b.user, path, err)
		return 0
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body) // what was cut off is no metadata
	if strings.HasPrefix(path, "/login") {
		return 0
	}
	var got struct {
		User   string
		Visits int
	}
	if err := json.Unmarshal(body, &got); err != nil || res.StatusCode != 200 || got.User != b.user {
		b.t.Errorf("%s: %s at %s: %s, %s", b.user, path, res.Request.URL, res.Status, body)
	}
	return got.Visits
}

// round visits a page, fetches its parts at once, and leaves before the next page is
// there.
func (b *browser) round() {
	b.visits++
	if got := b.get("/visit", nil); got != b.visits {
		b.t.Errorf("%s: %d visits, want %d", b.user, got, b.visits)
	}
	b.note()
	page, _ := url.Parse(b.site.URL + "/visit")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			if got := b.get(fmt.Sprint("/part/", i), page); got != b.visits {
				b.t.Errorf("%s: part %d has %d visits, want %d", b.user, i, got, b.visits)
			}
		})
	}
	wg.Wait()
	b.note()
	b.giveUp()
}

// giveUp makes a request whose answer is lost, unless it is a quick one.
func (b *browser) giveUp() {
	ctx, cancel := context.WithTimeout(b.t.Context(), rand.N(5*time.Millisecond))
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", b.site.URL+"/left", nil)
	if err != nil {
		b.t.Error(err)
		return
	}
	if res, err := b.client.Do(r); err == nil {
		res.Body.Close()
	}
}

// note notes the token that the browser has.
func (b *browser) note() {
	u, _ := url.Parse(b.site.URL)
	for _, cookie := range b.client.Jar.Cookies(u) {
		b.tokens[cookie.Value] = true
	}
}

// TestBrowsers: 64 browsers, each with parallel requests and with answers that are lost,
// get pages of their own user and of what they have done, and no session is lost. No token is anywhere but in
// cookies.
func TestBrowsers(t *testing.T) {
	const browsers, rounds = 64, 4
	address := startMemory(t, shard.Config{Grace: time.Minute})
	c := newClient(t, client.Config{Addresses: []string{address}, Timeout: 30 * time.Second, RetryUnknown: true})
	s := startSite(t, c)
	all := make([]*browser, browsers)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			all[i] = newBrowser(t, s, fmt.Sprint("user-", i))
			for range rounds {
				all[i].round()
			}
		})
	}
	wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	tokens := 0
	for _, b := range all {
		tokens += len(b.tokens)
		for token := range b.tokens {
			if bytes.Contains(s.seen.Bytes(), []byte(token)) {
				t.Errorf("%s: a token is in a URL, a header or the log", b.user)
			}
		}
	}
	if want := browsers * rounds; tokens < want {
		t.Errorf("%d tokens were seen, want %d or more", tokens, want)
	}
}

// TestBrowsersAlone: so it is without a grace, if a browser makes one request at a time.
func TestBrowsersAlone(t *testing.T) {
	address := startMemory(t, shard.Config{})
	s := startSite(t, newClient(t, client.Config{Addresses: []string{address}, Timeout: 30 * time.Second}))
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			b := newBrowser(t, s, fmt.Sprint("user-", i))
			for want := range 8 {
				if got := b.get("/visit", nil); got != want+1 {
					t.Errorf("%s: %d visits, want %d", b.user, got, want+1)
				}
			}
		})
	}
	wg.Wait()
}
