package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tokenserver/durable"
	"tokenserver/shard"
	"tokenserver/token"
)

// slowStore is a store whose Load lasts until it is told to end.
type slowStore struct {
	*shard.Store
	loaded atomic.Bool
	end    chan error // what Load returns
}

func newSlowStore() *slowStore {
	return &slowStore{Store: shard.New(shard.Config{}), end: make(chan error, 1)}
}

func (s *slowStore) Load(ctx context.Context) error {
	select {
	case err := <-s.end:
		s.loaded.Store(err == nil)
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *slowStore) Ready() error {
	if !s.loaded.Load() {
		return &token.UnavailableError{Reason: "loading: 43 %"}
	}
	return nil
}

func (s *slowStore) Create(ctx context.Context, n token.NewSession) (token.Token, error) {
	if err := s.Ready(); err != nil {
		return token.Token{}, err
	}
	return s.Store.Create(ctx, n)
}

// newSlowMain returns a program whose store is slowStore.
func newSlowMain(t *testing.T, args ...string) (*Main, *slowStore, *buffer) {
	t.Helper()
	m, log := newMain(t, args...)
	s := newSlowStore()
	m.store = s
	return m, s, log
}

const loadingAnswer = `{"Err":"StoreUnavailable","message":"loading: 43 %","done":false}`

func TestAnswersWhileLoading(t *testing.T) {
	m, s, log := newSlowMain(t)
	if err := m.Run(); err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	tests := []struct {
		method, url, body string
		status            int
		answer            string // if it is not empty
	}{
		{"POST", m.url("/token"), createBody, 503, loadingAnswer},
		{"POST", m.url("/token"), "{", 400, ""},
		{"PUT", m.url("/token"), `{"token":"x"}`, 200, `{"Err":"InvalidToken"}`},
		{"GET", m.url("/readyz"), "", 503, loadingAnswer},
		{"GET", m.url("/healthz"), "", 200, ""},
		{"GET", m.adminURL("/metrics"), "", 200, ""},
	}
	for _, test := range tests {
		status, answer := do(t, test.method, test.url, test.body)
		if status != test.status || test.answer != "" && answer != test.answer {
			t.Errorf("%s %s %s while loading = %d %s, want %d %s", test.method, test.url, test.body, status, answer, test.status, test.answer)
		}
	}
	if res, err := http.Get(m.url("/readyz")); err != nil || res.Header.Get("Retry-After") != "1" {
		t.Errorf("GET /readyz while loading: error %v, want Retry-After: 1", err)
	} else {
		res.Body.Close()
	}
	if strings.Contains(log.String(), "msg=ready") || !strings.Contains(log.String(), "msg=listening") {
		t.Errorf("log = %s, want that it listens and is not ready", log)
	}
	s.end <- nil
	<-m.load.ended
	create(t, m.url(""))
	if status, answer := do(t, "GET", m.url("/readyz"), ""); status != 200 {
		t.Errorf("GET /readyz = %d %s, want 200", status, answer)
	}
}

// A stop ends the load; nobody is waited for, whatever the drain delay is.
func TestStopWhileLoading(t *testing.T) {
	m, _, log := newSlowMain(t, "--drain-delay=5min")
	ctx, cancel := context.WithCancel(t.Context())
	if err := m.Run(); err != nil {
		t.Fatal(err)
	}
	c := dial(t, m.listeners[0].Addr().String())
	c.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	c.readAnswer()
	half := dial(t, m.listeners[0].Addr().String()) // waited for by nobody
	half.send("PUT /token HTTP/1.1\r\nHost: x\r\n")
	cancel()
	start := time.Now()
	if err := errors.Join(m.Wait(ctx), m.Close()); err != nil {
		t.Errorf("stop while loading: %v, want nil", err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("stop while loading took %v, want a second at most", took)
	}
	if strings.Contains(log.String(), "msg=ready") {
		t.Errorf("log = %s, want no ready", log)
	}
}

func TestLoadFails(t *testing.T) {
	m, s, _ := newSlowMain(t, "--drain-delay=5min") // not waited for
	if err := m.Run(); err != nil {
		t.Fatal(err)
	}
	want := errors.New("damaged file")
	s.end <- want
	if err := m.Wait(t.Context()); !errors.Is(err, want) {
		t.Errorf("Wait = %v, want %v", err, want)
	}
	if err := m.Close(); err != nil {
		t.Errorf("Close = %v, want nil", err)
	}
}

// Whoever holds a connection to either listener holds up neither a stop while the
// store is loaded nor the end after a failed load.
func TestNobodyHoldsUpAnEndWithoutAStore(t *testing.T) {
	clients := map[string]struct {
		admin bool
		text  string
	}{
		"part of a request":          {false, "PUT /token HTTP/1.1\r\nHost: x\r\n"},
		"a body that never comes":    {false, "POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"},
		"part of an admin request":   {true, "GET /metrics HTTP/1.1\r\n"},
		"a profile that takes a day": {true, "GET /debug/pprof/heap?seconds=86400 HTTP/1.1\r\nHost: x\r\n\r\n"},
	}
	for name, client := range clients {
		for end, failure := range map[string]error{"stop": nil, "failed load": errors.New("damaged file")} {
			t.Run(name+", "+end, func(t *testing.T) {
				m, s, _ := newSlowMain(t)
				if err := m.Run(); err != nil {
					t.Fatal(err)
				}
				address := m.listeners[0].Addr()
				if client.admin {
					address = m.adminListener.Addr()
				}
				c := dial(t, address.String())
				c.send(client.text)
				do(t, "GET", m.url("/healthz"), "") // by now the connection has been accepted
				do(t, "GET", m.adminURL("/debug/pprof/cmdline"), "")
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				if failure == nil {
					stop()
				} else {
					s.end <- failure
				}
				if err := m.Wait(ctx); !errors.Is(err, failure) {
					t.Errorf("Wait = %v, want %v", err, failure)
				}
				start := time.Now()
				if err := m.Close(); err != nil {
					t.Errorf("Close = %v, want nil", err)
				}
				if took := time.Since(start); took > 700*time.Millisecond {
					t.Errorf("Close took %v, want 200 ms", took)
				}
			})
		}
	}
}

// endlessLoadDir is the variable that makes the test's own binary the command, with
// the data directory that it names, whose load ends with a stop alone.
const endlessLoadDir = "TEST_ENDLESS_LOAD"

// endlessLoad is a durable store that is not loaded before its load is told to end.
type endlessLoad struct{ *durable.Store }

func (s endlessLoad) Load(ctx context.Context) error {
	<-ctx.Done()
	return s.Store.Load(ctx)
}

// runEndlessLoad is main with an endlessLoad.
func runEndlessLoad() {
	s, err := durable.Open(durable.Config{Dir: os.Getenv(endlessLoadDir)})
	if err != nil {
		panic(err)
	}
	m := NewMain()
	m.store = endlessLoad{s}
	os.Exit(m.Execute(m.watchSignals(), os.Args[1:]))
}

// A service manager may think better of a start at any time.
func TestSIGTERMWhileLoading(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	fillDataDir(t, dir, 10_000)
	cmd := exec.Command(os.Args[0], "--port=0", "--admin-address=off", "--drain-delay=1min")
	cmd.Env = append(os.Environ(), endlessLoadDir+"="+dir)
	log := new(buffer)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(log.String(), "msg=listening"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not listening after 10 s:\n%s", log)
		}
	}
	start := time.Now()
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Wait()
	took, code := time.Since(start), cmd.ProcessState.ExitCode()
	if code != exitOK || took > 1500*time.Millisecond || strings.Contains(log.String(), "msg=ready") {
		t.Errorf("exit code %d after %v, want %d within a second, and no ready:\n%s", code, took, exitOK, log)
	}
	p := startProcess(t, "--data-dir="+dir)
	create(t, "http://"+p.address)
	p.wantLog("sessions=10000")
}

// fillDataDir makes a data directory with n sessions.
func fillDataDir(t *testing.T, dir string, n int) {
	t.Helper()
	s, err := durable.Open(durable.Config{Dir: dir, Fsync: durable.EverySecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	var refused *token.UnavailableError // where the disk of the machine is busy
	for n > 0 {
		switch _, err := s.Create(t.Context(), token.NewSession{Meta: []byte(`{"user":"ada"}`)}); {
		case err == nil:
			n--
		case !errors.As(err, &refused):
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
