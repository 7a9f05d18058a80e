package admin

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tokenserver/access"
)

// ask returns the answer of a server with a config to a request.
func ask(cfg Config, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	New(cfg).http.Handler.ServeHTTP(w, r)
	return w
}

// TestHost: by names that others may have given this machine nobody gets in.
func TestHost(t *testing.T) {
	cfg := sampleConfig()
	cfg.CheckHost, cfg.Hosts = true, []string{"admin.example", "Full.Example."}
	tests := []struct {
		host string
		want int
	}{
		{"127.0.0.1:3667", 200}, {"127.0.0.1", 200}, {"[::1]:3667", 200}, {"[::1]", 200}, {"10.0.0.7:1", 200}, {"localhost:3667", 200}, {"LOCALHOST", 200},
		{"admin.example", 200}, {"Admin.Example:3667", 200}, {"admin.example.", 200}, {"admin.example.:3667", 200}, {"localhost.:3667", 200},
		{"full.example", 200}, {"full.example.", 200}, {"[fe80::1%25eth0]:3667", 200}, {"admin.example..", 403},
		{"evil.example", 403}, {"evil.example:3667", 403}, {"localhost.evil.example", 403}, {"127.0.0.1.evil.example", 403}, {"admin.example.evil.example", 403},
		{"a.admin.example", 403}, {"", 403}, {"127.0.0.1:3667:1", 403}, {"localhost:1:2", 403},
	}
	for _, tt := range tests {
		for _, path := range []string{"/metrics", "/healthz", "/debug/pprof/", "/nowhere"} {
			r := httptest.NewRequest("GET", path, nil)
			r.Host = tt.host
			want := tt.want
			if want == 200 && path == "/nowhere" {
				want = 404
			}
			if got := ask(cfg, r); got.Code != want {
				t.Errorf("GET %s with Host %q = %d %s, want %d", path, tt.host, got.Code, got.Body, want)
			}
		}
	}
	cfg.CheckHost = false
	r := httptest.NewRequest("GET", "/metrics", nil)
	if r.Host = "anything"; ask(cfg, r).Code != 200 {
		t.Error("Host is checked though nobody asked for that")
	}
}

// TestOrigin: a page of another origin can't have anything changed.
func TestOrigin(t *testing.T) {
	tests := []struct {
		method, origin, site string
		want                 int
	}{
		{"POST", "", "", 200},
		{"POST", "http://127.0.0.1:3667", "", 200},
		{"POST", "http://evil.example", "", 403},
		{"POST", "null", "", 403},
		{"POST", "http://127.0.0.1:3667", "same-origin", 200},
		{"POST", "http://evil.example", "cross-site", 403},
		{"POST", "", "same-site", 403},
		{"GET", "http://evil.example", "cross-site", 200},
		{"HEAD", "http://evil.example", "", 200},
	}
	for _, tt := range tests {
		r := httptest.NewRequest(tt.method, "http://127.0.0.1:3667/debug/pprof/symbol", strings.NewReader(""))
		if tt.origin != "" {
			r.Header.Set("Origin", tt.origin)
		}
		if tt.site != "" {
			r.Header.Set("Sec-Fetch-Site", tt.site)
		}
		if got := ask(sampleConfig(), r); got.Code != tt.want {
			t.Errorf("%s from %q (%s) = %d %s, want %d", tt.method, tt.origin, tt.site, got.Code, got.Body, tt.want)
		}
	}
}

// TestWhatThereIsNot: an unknown path, and a method that a path has not, are told to
// everybody who is there: it is no secret, and nobody to be counted.
func TestWhatThereIsNot(t *testing.T) {
	cfg := sampleConfig()
	cfg.Guard = access.NewGuard(nil, nil)
	tests := []struct {
		method, path string
		want         int
	}{
		{"GET", "/nowhere", 404}, {"POST", "/", 404}, {"GET", "/metrics/", 404}, {"GET", "/debug/pprof/nothing", 404}, {"GET", "/debug/pprof/heap/", 404},
		{"POST", "/metrics", 405}, {"DELETE", "/debug/pprof/", 405}, {"POST", "/debug/pprof/heap", 405}, {"POST", "/healthz", 405}, {"OPTIONS", "/metrics", 405},
		{"GET", "/metrics", 401}, {"HEAD", "/metrics", 401}, {"GET", "/debug/pprof/", 401}, {"GET", "/debug/pprof/heap", 401}, {"GET", "/debug/pprof/symbol", 401},
		{"GET", "/debug/pprof", 401}, {"GET", "//metrics", 401},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) { // 401 takes time
			if got := ask(cfg, httptest.NewRequest(tt.method, "http://host"+tt.path, nil)); got.Code != tt.want {
				t.Errorf("%s %s by nobody = %d %s, want %d", tt.method, tt.path, got.Code, got.Body, tt.want)
			}
		})
	}
}

func TestProfilesOff(t *testing.T) {
	cfg := sampleConfig()
	cfg.NoProfiles = true
	for path, want := range map[string]int{
		"/debug/pprof/": 404, "/debug/pprof/heap": 404, "/debug/pprof/cmdline": 404, "/debug/pprof/trace": 404, "/metrics": 200, "/healthz": 200,
	} {
		if got := ask(cfg, httptest.NewRequest("GET", path, nil)); got.Code != want {
			t.Errorf("GET %s = %d, want %d", path, got.Code, want)
		}
	}
}

func TestHealth(t *testing.T) {
	cfg := sampleConfig()
	var broken error
	cfg.Ready = func() error { return broken }
	for _, each := range []struct {
		path  string
		err   error
		want  int
		body  string
		guard *access.Guard
	}{
		{"/healthz", nil, 200, "ok\n", nil},
		{"/readyz", nil, 200, "ok\n", nil},
		{"/healthz", errors.New("loading"), 200, "ok\n", nil},
		{"/readyz", errors.New("loading"), 503, `{"Err":"StoreUnavailable","message":"loading"}` + "\n", nil},
		{"/readyz", nil, 200, "ok\n", access.NewGuard(nil, nil)},
	} {
		broken, cfg.Guard = each.err, each.guard
		got := ask(cfg, httptest.NewRequest("GET", each.path, nil))
		if got.Code != each.want || got.Body.String() != each.body || got.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("GET %s with %v = %d %q %v, want %d %q", each.path, each.err, got.Code, got.Body, got.Header(), each.want, each.body)
		}
	}
}

// pipeListener accepts pipes, for which a test can wait by a fake clock.
type pipeListener chan net.Conn

func (l pipeListener) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l pipeListener) Close() error   { close(l); return nil }
func (l pipeListener) Addr() net.Addr { return &net.UnixAddr{} }

// get asks on a connection of its own. An answer's Close says that the server closes it.
func (l pipeListener) get(t *testing.T, path, secret string) (res *http.Response, took time.Duration) {
	start := time.Now()
	ours, theirs := net.Pipe()
	defer ours.Close()
	l <- theirs
	io.WriteString(ours, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+secret+"\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(ours), nil)
	if err != nil {
		t.Error(err)
		return new(http.Response), 0
	}
	io.Copy(io.Discard, res.Body)
	return res, time.Since(start)
}

// TestDelayedLeaveRoom: bad secrets that wait don't hold all connections, and a good one
// and the probes are answered at once.
func TestDelayedLeaveRoom(t *testing.T) {
	secret, line, err := access.NewSecret("prometheus")
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := access.ParseSecrets([]byte(line + ":metrics\n"))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		cfg := sampleConfig()
		cfg.Guard = access.NewGuard(secrets, nil)
		s, ln := New(cfg), make(pipeListener)
		go s.Serve(ln)
		defer s.Shutdown(context.Background())
		const bad = 3 * MaxConnections
		var closed atomic.Int64
		for range bad {
			go func() {
				res, took := ln.get(t, "/metrics", "bad")
				if res.StatusCode != 401 || !res.Close {
					t.Errorf("a bad secret got %d after %v, and the connection closes: %v", res.StatusCode, took, res.Close)
				}
				if took == 0 {
					closed.Add(1)
				}
			}()
		}
		synctest.Wait()
		if got, want := closed.Load(), int64(bad-MaxConnections/4); got != want {
			t.Errorf("%d were answered at once, want %d", got, want)
		}
		for _, path := range []string{"/metrics", "/healthz"} {
			if res, took := ln.get(t, path, secret); res.StatusCode != 200 || took != 0 {
				t.Errorf("GET %s with a good secret = %d after %v, want 200 at once", path, res.StatusCode, took)
			}
		}
		time.Sleep(time.Minute)
	})
}
