package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenserver/admin"
	"tokenserver/durable"
)

// Who may have a backup, and what one says where there is none.
func TestBackupCommand(t *testing.T) {
	c := newCerts(t)
	s := authFile(t, "web", "ops:admin")
	auth := "--auth-file=" + s.file
	_, port, _ := net.SplitHostPort(freeAddress(t))
	tests := map[string]struct {
		server, asker []string // flags of both, and of who asks
		memory        bool
		code          int
		want          string
	}{
		"on loopback":                     {nil, nil, false, exitOK, "backup written to"},
		"in memory mode":                  {nil, nil, true, exitFailed, "in memory mode"},
		"without the secret":              {[]string{auth}, nil, false, exitFailed, "401 Unauthorized"},
		"with one that is no admin's":     {[]string{auth}, []string{s.secretFile(t, "web")}, false, exitFailed, "403 Forbidden"},
		"with that of an admin":           {[]string{auth}, []string{s.secretFile(t, "ops")}, false, exitOK, "backup written to"},
		"over TLS":                        {append(c.args, auth, "--admin-address=0.0.0.0:"+port), []string{s.secretFile(t, "ops")}, false, exitOK, "backup written to"},
		"open to others, no callers":      {[]string{"--insecure", "--admin-address=0.0.0.0:" + port}, nil, false, exitFailed, "on loopback"},
		"with a secret that is not there": {[]string{auth}, []string{"--caller-secret-file=none"}, false, exitFailed, "--caller-secret-file"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"--admin-address=" + freeAddress(t)}, tt.server...)
			data := "--data-dir=" + filepath.Join(t.TempDir(), "data")
			if tt.memory {
				data = "--port=0"
			}
			run(t, append(args, data)...)
			dir := filepath.Join(t.TempDir(), "backup")
			code, text := runCommand(t, slices.Concat([]string{"backup", dir}, args, tt.asker)...)
			if code != tt.code || !strings.Contains(text, tt.want) {
				t.Errorf("backup = %d %q, want %d with %q", code, text, tt.code, tt.want)
			}
			if _, err := os.Stat(dir); (err == nil) != (tt.code == exitOK) {
				t.Errorf("the directory: %v, want that it is there: %v", err, tt.code == exitOK)
			}
		})
	}
}

// A server that has another certificate than the file, or is another one, gets no secret.
func TestBackupWithARenewedCertificate(t *testing.T) {
	c := newCerts(t)
	s := authFile(t, "ops:admin")
	_, port, _ := net.SplitHostPort(freeAddress(t))
	address := "--admin-address=0.0.0.0:" + port
	run(t, append(c.args, "--auth-file="+s.file, address, "--data-dir="+filepath.Join(t.TempDir(), "data"))...)
	cert, key := c.authority.Issue("server").Write(t, t.TempDir())
	code, text := runCommand(t, "backup", filepath.Join(t.TempDir(), "backup"), address, "--tls-cert="+cert, "--tls-key="+key, s.secretFile(t, "ops"))
	if code != exitFailed || !strings.Contains(text, "has it been reloaded?") {
		t.Errorf("backup = %d %q, want %d, and what to do", code, text, exitFailed)
	}
}

func TestBackupWhileItCannotBe(t *testing.T) {
	m, s, _ := newSlowMain(t)
	if err := m.Run(); err != nil {
		t.Fatal(err)
	}
	defer func() { s.end <- nil; m.Close() }()
	if err := m.backUp(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), admin.ErrNoBackup.Error()) {
		t.Errorf("backUp of a store that can't = %v, want ErrNoBackup", err)
	}
	m.stopping.Store(true)
	if status, answer := do(t, "POST", m.adminURL("/backup"), ""); status != 503 || !strings.Contains(answer, "about to stop") {
		t.Errorf("POST /backup during a stop = %d %s, want 503 and why", status, answer)
	}
}

// A directory that has something in it is left alone, and nobody is asked.
func TestBackupIntoADirectoryThatIsNotEmpty(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	code, text := runCommand(t, "backup", dir)
	if code != exitFailed || !strings.Contains(text, durable.ErrNotEmpty.Error()) {
		t.Errorf("backup = %d %q, want %d, and that it is not empty", code, text, exitFailed)
	}
}

// backedUp adds the states that a session had in a time.
func (a *account) backedUp(from, to time.Time) {
	var states []state
	for i, c := range a.past { // c.before held from the change before on, until c
		if c.ended.After(from) && (i == 0 || a.past[i-1].began.Before(to)) {
			states = append(states, c.before...)
		}
	}
	if n := len(a.past); n == 0 || a.past[n-1].began.Before(to) {
		states = append(states, a.states...)
	}
	if len(a.states) > 0 {
		a.states = distinct(states)
	}
}

// A backup that is taken under full load has every session as it was at one moment of the
// time that it took.
func TestBackupUnderLoad(t *testing.T) {
	for _, fsync := range []string{"always", "everysec"} {
		t.Run(fsync, func(t *testing.T) {
			l := &ledger{t: t, window: time.Hour} // so that it remembers all changes
			address := freeAddress(t)
			args := []string{"--dump", "--fsync=" + fsync}
			tor := newTorture(t, l, 1, append(args, "--admin-address="+address, "--data-dir="+filepath.Join(t.TempDir(), "data")))
			stop := make(chan struct{})
			var load sync.WaitGroup
			load.Go(func() { tor.each(func(w *worker) { w.loadUntil(stop) }) })
			awaitRequests(t, l, 500)
			dir := filepath.Join(t.TempDir(), "backup")
			from := time.Now()
			if code, text := runCommand(t, "backup", dir, "--admin-address="+address); code != exitOK {
				t.Errorf("backup = %d %q, want 0", code, text)
			}
			to := time.Now()
			awaitRequests(t, l, l.requested()+500)
			close(stop)
			load.Wait()
			tor.server.cmd.Process.Kill()
			tor.server.wait()

			// Everysec, so that no question waits for the disk.
			tor.server = startProcess(t, "--dump", "--fsync=everysec", "--data-dir="+dir)
			for _, a := range l.accounts {
				a.backedUp(from, to)
			}
			sessions := l.compare(tor.server.dump())
			left, taken := l.cut()
			if !taken.IsZero() && taken.Before(left) {
				t.Errorf("the backup has a change, and not one that was answered %v before it was asked for", left.Sub(taken))
			}
			tor.server.wantLoaded(sessions)
			tor.each((*worker).check)
			l.compare(tor.server.dump())
			t.Logf("%d sessions of %d requests; the backup took %v", sessions, l.requests, to.Sub(from))
		})
	}
}

func awaitRequests(t *testing.T, l *ledger, n int) {
	t.Helper()
	for l.requested() < n {
		if t.Failed() {
			t.FailNow()
		}
		time.Sleep(time.Millisecond)
	}
}

// A client that goes away in the middle leaves nothing behind.
func TestBackupIsAbandoned(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	fillDataDir(t, data, 20_000)
	m, _ := run(t, "--data-dir="+data)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", m.adminURL("/backup"), nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := new(http.Transport)
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fscanf(res.Body, "%c", new(rune))
	cancel()
	res.Body.Close()
	transport.CloseIdleConnections()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		code, text := runCommand(t, "backup", filepath.Join(t.TempDir(), "again"), "--admin-address="+m.adminListener.Addr().String())
		if code == exitOK {
			break
		}
		if !strings.Contains(text, "409 Conflict") || time.Now().After(deadline) { // until the server has seen it
			t.Fatalf("the next backup = %d %q, want 0", code, text)
		}
	}
	if _, err := os.Stat(filepath.Join(data, "checkpoint.tmp")); !os.IsNotExist(err) {
		t.Errorf("the checkpoint is there (%v), want that it was removed", err)
	}
}
