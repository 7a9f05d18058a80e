package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"tokenserver/internal/testcert"
)

func TestUnixSockets(t *testing.T) {
	dir := t.TempDir()
	path, admin := filepath.Join(dir, "tokens"), filepath.Join(dir, "admin")
	_, log := run(t, "--address=unix:"+path, "--admin-address=unix:"+admin, "--socket-mode=0600")
	for _, each := range []string{path, admin} {
		info, err := os.Stat(each)
		if err != nil || info.Mode().Type() != os.ModeSocket || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v, want a socket of mode 0600", each, info.Mode(), err)
		}
	}
	over := func(path string) *http.Client {
		return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}}
	}
	res, err := over(path).Post("http://any/token", "application/json", strings.NewReader(newSession))
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("POST /token over a socket: %v, %v", res, err)
	}
	res.Body.Close()
	res, err = over(admin).Get("http://any/metrics")
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("GET /metrics over a socket: %v, %v", res, err)
	}
	res.Body.Close()
	if !strings.Contains(log.String(), "msg=listening address=unix:"+path+"\n") || strings.Contains(log.String(), "WARN") {
		t.Errorf("log:\n%s", log)
	}
	second, _ := newMain(t, "--address=unix:"+path)
	if err := second.Run(); err == nil || !strings.Contains(err.Error(), "somebody listens on "+path) {
		t.Errorf("a second server on the socket: %v, want that somebody listens", err)
	}
	if res, err = over(path).Get("http://any/healthz"); err != nil {
		t.Fatalf("the first server has lost its socket: %v", err)
	}
	res.Body.Close()
}

// TestSocketsOfServersThatStartTogether: of several that find a stale socket one gets it.
func TestSocketsOfServersThatStartTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	for range 20 {
		stale, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		stale.(*net.UnixListener).SetUnlinkOnClose(false)
		stale.Close()
		var winners atomic.Int64
		var starting sync.WaitGroup
		listeners := make([]net.Listener, 8)
		for i := range listeners {
			starting.Go(func() {
				ln, err := listenUnix(path, 0o600)
				if err == nil {
					listeners[i] = ln
					winners.Add(1)
				}
			})
		}
		starting.Wait()
		conn, err := net.Dial("unix", path)
		if err != nil || winners.Load() != 1 {
			t.Fatalf("%d servers listen on the socket, dial: %v, want one", winners.Load(), err)
		}
		conn.Close()
		for _, ln := range listeners {
			if ln != nil {
				ln.Close()
			}
		}
	}
}

// TestSocketOfAnotherServer: a server that ends leaves alone what has come in the place of
// its socket.
func TestSocketOfAnotherServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	first, err := listenUnix(path, defaultSocketMode)
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(path)
	second, err := listenUnix(path, defaultSocketMode)
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the second server is not reached: %v", err)
	}
	conn.Close()
	second.Close()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its own socket: %v, want it gone", err)
	}
}

// TestStaleSocket: one that a killed server has left is no obstacle, and what is no socket is.
func TestStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	run(t, "--address=unix:"+path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != defaultSocketMode {
		t.Errorf("mode of the socket = %v, %v, want %04o", info, err, defaultSocketMode)
	}
	file := filepath.Join(t.TempDir(), "file")
	testcert.WriteFile(t, file, []byte("precious"))
	second, _ := newMain(t, "--address=unix:"+file)
	if err := second.Run(); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("Run on a file = %v, want that it is no socket", err)
	}
	if text, _ := os.ReadFile(file); string(text) != "precious" {
		t.Error("the file is gone")
	}
}
