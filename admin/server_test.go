package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/bits"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tokenserver/internal/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves a Server on a free port until the test ends.
func start(t *testing.T, cfg Config) (s *Server, base string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s = New(cfg)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.Shutdown(ctx)
		if err := <-served; err != nil {
			t.Errorf("Serve() = %v, want nil after Shutdown", err)
		}
	})
	return s, "http://" + ln.Addr().String()
}

func sampleConfig() Config {
	c := sampleCollector()
	return Config{Store: c.store, Requests: c.requests, Build: c.build, Logger: slog.New(slog.DiscardHandler)}
}

func do(t *testing.T, method, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func TestServerPaths(t *testing.T) {
	_, base := start(t, sampleConfig())
	tests := []struct {
		method, path string
		status       int
		contains     string
	}{
		{"GET", "/metrics", 200, "\ntoken_server_sessions 7\n"},
		{"GET", "/metrics", 200, `token_server_exchanges_total{result="ok"} 20`},
		{"GET", "/metrics", 200, "\ngo_goroutines "},
		{"GET", "/metrics", 200, "\nprocess_open_fds "},
		{"POST", "/metrics", 405, ""},
		{"GET", "/debug/pprof/", 200, "heap"},
		{"GET", "/debug/pprof/goroutine?debug=1", 200, "goroutine profile"},
		{"GET", "/debug/pprof/heap", 200, ""},
		{"GET", "/debug/pprof/cmdline", 200, "admin"},
		{"GET", "/debug/pprof/symbol", 200, "num_symbols"},
		{"POST", "/debug/pprof/symbol", 200, "num_symbols"},
		{"GET", "/debug/pprof/trace?seconds=0.01", 200, ""},
		{"GET", "/debug/pprof/nothing", 404, ""},
		{"GET", "/", 404, ""},
		{"GET", "/token", 404, ""},
		{"GET", "/debug/vars", 404, ""},
	}
	for _, tt := range tests {
		status, body := do(t, tt.method, base+tt.path)
		if status != tt.status || !strings.Contains(body, tt.contains) {
			t.Errorf("%s %s = %d %.200q, want %d with %q", tt.method, tt.path, status, body, tt.status, tt.contains)
		}
	}
}

// A CPU profile takes a second at least, so only its route is looked at.
func TestServerRoutesProfile(t *testing.T) {
	r := httptest.NewRequest("GET", "/debug/pprof/profile?seconds=1", nil)
	if _, got := newMux(Config{}, http.NotFoundHandler()).Handler(r); got != "GET /debug/pprof/profile" {
		t.Errorf("route of a CPU profile = %q, want its own", got)
	}
}

// slowConfig returns a Config whose scrapes say on entered that they have begun and wait for release.
func slowConfig(entered chan<- struct{}, release <-chan struct{}) Config {
	cfg := sampleConfig()
	requests := cfg.Requests
	cfg.Requests = func() stats.Server {
		entered <- struct{}{}
		<-release
		return requests()
	}
	return cfg
}

func TestShutdownWaitsForAScrape(t *testing.T) {
	entered, release := make(chan struct{}, 1), make(chan struct{})
	s, base := start(t, slowConfig(entered, release))
	scraped := make(chan int, 1)
	go func() {
		status, _ := do(t, "GET", base+"/metrics")
		scraped <- status
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(context.Background()) }()
	close(release)
	if got := <-scraped; got != 200 {
		t.Errorf("status of a scrape during Shutdown = %d, want 200", got)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Shutdown() = %v, want nil", err)
	}
}

func TestShutdownIsBounded(t *testing.T) {
	entered, release := make(chan struct{}, 1), make(chan struct{})
	s, base := start(t, slowConfig(entered, release))
	defer close(release)
	failed := make(chan error, 1)
	go func() {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := client.Get(base + "/metrics")
		if err == nil {
			res.Body.Close()
		}
		failed <- err
	}()
	<-entered
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown(canceled) = %v, want context.Canceled", err)
	}
	if err := <-failed; err == nil {
		t.Error("a scrape outlived the bounded Shutdown")
	}
}

func TestServeLogsItsFailure(t *testing.T) {
	var log bytes.Buffer
	cfg := sampleConfig()
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := New(cfg).Serve(ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve(closed listener) = %v, want net.ErrClosed", err)
	}
	if !strings.Contains(log.String(), `level=ERROR msg="admin listener failed"`) {
		t.Errorf("log = %q, want the failure of the listener", log.String())
	}
}

// leak is called with an id, which the runtime prints in its stack.
//
//go:noinline
func leak(id uint64, wait chan struct{}) uint64 {
	<-wait
	return id
}

func TestStacksHaveNoArguments(t *testing.T) {
	wait, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		leak(0xfedcba9876543210, wait)
	}()
	defer func() { close(wait); <-done }()
	_, url := start(t, sampleConfig())
	for _, path := range []string{"/debug/pprof/goroutine?debug=2", "/debug/pprof/goroutine?debug=3", "/debug/pprof/goroutine?debug=1"} {
		status, body := do(t, "GET", url+path)
		if status != 200 || !strings.Contains(body, "admin.leak") {
			t.Errorf("GET %s = %d %.300s, want stacks", path, status, body)
		}
		if strings.Contains(body, "0xfedcba9876543210") {
			t.Errorf("GET %s has an argument in it", path)
		}
	}
}

func TestPanicIsAnsweredAndLoggedWithoutArguments(t *testing.T) {
	var log bytes.Buffer
	h := recovering(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panicWith(0xfedcba9876543210)
	}), slog.New(slog.NewTextHandler(&log, nil)))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 500 {
		t.Errorf("answer after a panic = %d, want 500", w.Code)
	}
	if text := log.String(); !strings.Contains(text, "recovered panic") || !strings.Contains(text, "panicWith(…)") || strings.Contains(text, "fedcba98") {
		t.Errorf("log = %s, want a stack without arguments", text)
	}
}

//go:noinline
func panicWith(id uint64) { panic(fmt.Sprintf("id with %d bits", bits.Len64(id))) }

// More connections than allowed wait until one of the others is closed.
func TestMaxConnections(t *testing.T) {
	_, url := start(t, sampleConfig())
	var held []net.Conn
	for range MaxConnections {
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	answered := make(chan int, 1)
	go func() {
		res, err := http.Get(url + "/metrics")
		if err != nil {
			answered <- 0
			return
		}
		res.Body.Close()
		answered <- res.StatusCode
	}()
	select {
	case status := <-answered:
		t.Errorf("a connection too many was answered with %d while all others are open", status)
	case <-time.After(100 * time.Millisecond):
	}
	for _, c := range held {
		c.Close()
	}
	if got := <-answered; got != 200 {
		t.Errorf("answer once the others are closed = %d, want 200", got)
	}
	http.DefaultClient.CloseIdleConnections()
}

// Connections that wait for another request, as those of browsers do, give way to new ones.
func TestIdleConnectionsGiveWay(t *testing.T) {
	cfg := sampleConfig()
	cfg.MaxConnections = 4
	_, url := start(t, cfg)
	for i := range 3 * cfg.MaxConnections {
		client := http.Client{Transport: new(http.Transport), Timeout: 20 * time.Second}
		defer client.CloseIdleConnections()
		res, err := client.Get(url + "/healthz")
		if err != nil {
			t.Fatalf("client %d: %v, want an answer beside those who have one", i, err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
}
