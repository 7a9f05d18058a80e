package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenserver/internal/testcert"
)

// hangUp sends what a SIGHUP is, and waits until it has been acted on: n records of the
// log say so.
func hangUp(t *testing.T, m *Main, log *buffer, n int) {
	t.Helper()
	before := len(linesWith("SIGHUP", log.String()))
	m.hangups <- struct{}{}
	for start := time.Now(); len(linesWith("SIGHUP", log.String())) < before+n; time.Sleep(time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatalf("the SIGHUP was not acted on:\n%s", log)
		}
	}
}

// waiting runs a program as run does, with Wait in the background.
func waiting(t *testing.T, args ...string) (*Main, *buffer) {
	t.Helper()
	m, log := run(t, args...)
	m.hangups = make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(context.Background())
	waited := make(chan struct{})
	go func() { defer close(waited); m.Wait(ctx) }()
	t.Cleanup(func() { cancel(); <-waited })
	return m, log
}

func TestReload(t *testing.T) {
	c, s := newCerts(t), authFile(t, "web")
	level := filepath.Join(t.TempDir(), "level")
	testcert.WriteFile(t, level, []byte("info\nsecond line\n"))
	m, log := waiting(t, append(c.args, "--auth-file="+s.file, "--log-level=@"+level)...)
	url := "https" + strings.TrimPrefix(m.url("/token"), "http")
	status := func(roots *testcert.Authority, secret string) int {
		got, _ := call(t, "POST", url, newSession, &tls.Config{RootCAs: roots.Pool(), ServerName: "127.0.0.1"}, "Bearer "+secret)
		return got
	}
	old := s.of["web"]
	if got := status(c.authority, old); got != 200 {
		t.Fatalf("before: %d, want 200", got)
	}
	next := testcert.NewAuthority(t)
	next.Issue("server").Write(t, c.dir)
	s.write(t, "web")
	testcert.WriteFile(t, level, []byte("debug\n"))
	hangUp(t, m, log, 3)
	if got := status(next, s.of["web"]); got != 200 {
		t.Errorf("new certificate and secret: %d, want 200", got)
	}
	if got := status(c.authority, s.of["web"]); got != 0 {
		t.Errorf("the old certificate's authority: %d, want no connection", got)
	}
	if got := status(next, old); got != 401 {
		t.Errorf("the old secret: %d, want 401", got)
	}
	if !strings.Contains(log.String(), "level=DEBUG msg=request") {
		t.Errorf("the log has no level debug:\n%s", log)
	}
}

// TestBadReload: each of what is bad is refused with one line, and the old stays in force.
func TestBadReload(t *testing.T) {
	c, s := newCerts(t), authFile(t, "web")
	level := filepath.Join(t.TempDir(), "level")
	testcert.WriteFile(t, level, []byte("info"))
	m, log := waiting(t, append(c.args, c.clientCA, "--auth-file="+s.file, "--log-level=@"+level)...)
	url := "https" + strings.TrimPrefix(m.url("/token"), "http")
	bad := []struct {
		name, file, text string
	}{
		{"an auth file", s.file, "web:secret\n"},
		{"an empty auth file", s.file, ""},
		{"a certificate", filepath.Join(c.dir, "cert.pem"), "nonsense"},
		{"an expired certificate", filepath.Join(c.dir, "cert.pem"), string(c.authority.Issue("server", testcert.Expired).Cert)},
		{"authorities", filepath.Join(c.dir, "ca.pem"), "nonsense"},
		{"a level", level, "loud\n"},
	}
	for _, each := range bad {
		t.Run(each.name, func(t *testing.T) {
			before := readFile(t, each.file)
			testcert.WriteFile(t, each.file, []byte(each.text))
			hangUp(t, m, log, 3)
			testcert.WriteFile(t, each.file, before)
			lines := linesWith("SIGHUP", log.String())
			if refused := linesWith("level=ERROR", strings.Join(lines[len(lines)-3:], "\n")); len(refused) != 1 || !strings.Contains(refused[0], each.file) {
				t.Errorf("the log has not one line that names %s: %q", each.file, refused)
			}
			if got, answer := call(t, "POST", url, newSession, c.client(t, ""), "Bearer "+s.of["web"]); got != 200 {
				t.Errorf("the old secret and certificate = %d %s, want 200", got, answer)
			}
			if got, answer := call(t, "POST", url, newSession, c.client(t, "web"), ""); got != 200 {
				t.Errorf("a client's certificate = %d %s, want 200", got, answer)
			}
		})
	}
}

// TestReloadUnderLoad: while certificates and callers are replaced again and again, no
// request fails, on connections that there are and on new ones.
func TestReloadUnderLoad(t *testing.T) {
	c, s := newCerts(t), authFile(t, "web", "other")
	m, log := waiting(t, append(c.args, c.clientCA, "--auth-file="+s.file)...)
	url := "https" + strings.TrimPrefix(m.url("/token"), "http")
	secret, first := s.of["web"], string(readFile(t, s.file))
	done := make(chan struct{})
	var sent atomic.Int64
	var load sync.WaitGroup
	for i := range 4 {
		transport := &http.Transport{TLSClientConfig: c.client(t, []string{"", "web"}[i%2]), DisableKeepAlives: i < 2}
		defer transport.CloseIdleConnections()
		load.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := createWith(transport, url, secret); err != nil {
					t.Error(err)
				}
				sent.Add(1)
			}
		})
	}
	for range 20 {
		c.authority.Issue("server").Write(t, c.dir)
		s.write(t, "new", "newer:admin")
		testcert.WriteFile(t, s.file, append(readFile(t, s.file), first...))
		hangUp(t, m, log, 2)
	}
	close(done)
	load.Wait()
	if refused := linesWith("refused", log.String()); len(refused) > 0 || sent.Load() < 20 {
		t.Errorf("%d requests, refused: %q", sent.Load(), refused)
	}
}

func createWith(transport *http.Transport, url, secret string) error {
	req, err := http.NewRequest("POST", url, strings.NewReader(newSession))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+secret)
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != 200 {
		err = errors.New(res.Status + " " + string(text))
	}
	return err
}
