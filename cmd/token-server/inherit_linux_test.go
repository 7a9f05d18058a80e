package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	tokenclient "tokenserver/client"
)

// heldSocket is a listening socket that a service manager holds, and its name.
type heldSocket struct {
	name string
	file *os.File
	addr net.Addr
}

// openSocket listens for others.
func openSocket(t *testing.T, name, network, address string) heldSocket {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	file, err := ln.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	ln.Close() // the file keeps it open
	t.Cleanup(func() { file.Close() })
	return heldSocket{name, file, ln.Addr()}
}

// activated prepares a run of the command with sockets, as a service manager does.
func activated(t *testing.T, sockets []heldSocket, args ...string) *exec.Cmd {
	t.Helper()
	inner := command(t, args...)
	cmd := exec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh"}, inner.Args...)...)
	var names []string
	for _, s := range sockets {
		names = append(names, s.name)
		cmd.ExtraFiles = append(cmd.ExtraFiles, s.file)
	}
	cmd.Env = append(os.Environ(), fmt.Sprintf("LISTEN_FDS=%d", len(sockets)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	return cmd
}

func TestInheritedSockets(t *testing.T) {
	sockets := []heldSocket{
		openSocket(t, "http", "tcp", "127.0.0.1:0"),
		openSocket(t, "admin", "tcp", "127.0.0.1:0"),
		openSocket(t, "http", "unix", filepath.Join(socketDir(t), "http")),
		openSocket(t, "admin", "unix", filepath.Join(socketDir(t), "admin")),
	}
	p := startCommand(t, activated(t, sockets, "--address=127.0.0.1:1", "--admin-address=off"))
	for _, s := range sockets {
		conn, err := net.Dial(s.addr.Network(), s.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		path := "/token/validate" // which the admin listener does not have
		if s.name == "admin" {
			path = "/metrics"
		}
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path)
		answer, err := io.ReadAll(conn)
		if want := map[string]string{"http": "405 ", "admin": "200 "}[s.name]; err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 "+want) {
			t.Errorf("GET %s on %s %v = %.100q, %v, want %s", path, s.name, s.addr, answer, err, want)
		}
	}
	p.wantLog("sockets of the service manager: address, port and socket-mode are not used")
	p.wantLog("sockets of the service manager: admin-address is not used")
	p.signal(syscall.SIGTERM)
	if got := p.wait(); got != exitOK {
		t.Errorf("exit code = %d, want %d:\n%s", got, exitOK, p.log)
	}
	for _, s := range sockets { // they are not ours to close
		if conn, err := net.Dial(s.addr.Network(), s.addr.String()); err != nil {
			t.Errorf("connecting to %v after the end: %v, want that it waits", s.addr, err)
		} else {
			conn.Close()
		}
	}
}

// What nobody would answer on is refused, by a check too.
func TestSocketsOfOtherNames(t *testing.T) {
	sockets := []heldSocket{openSocket(t, "http", "tcp", "127.0.0.1:0"), openSocket(t, "token-server.socket", "tcp", "127.0.0.1:0")}
	for _, tt := range []struct {
		args []string
		code int
	}{
		{[]string{"--admin-address=off"}, exitFailed},
		{[]string{"check", "--admin-address=off"}, exitUsage},
	} {
		cmd := activated(t, sockets, tt.args...)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != tt.code || !strings.Contains(string(out), "token-server.socket") || !strings.Contains(string(out), "http or admin") {
			t.Errorf("%q: exit code %d with %s, want %d, and the socket", tt.args, got, out, tt.code)
		}
	}
	// Those of another process are none of ours.
	cmd := command(t, "--port=0", "--admin-address=off")
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_PID=1", "LISTEN_FDNAMES=web")
	startCommand(t, cmd)
}

func TestInheritedSocketWithTLSAndALimit(t *testing.T) {
	c := newCerts(t)
	s := openSocket(t, "http", "tcp", "127.0.0.1:0")
	waiting, err := net.Dial("tcp", s.addr.String()) // a handshake comes once somebody answers
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	startCommand(t, activated(t, []heldSocket{s}, append(c.args, "--admin-address=off", "--max-connections=1")...))
	over := tls.Client(waiting, &tls.Config{RootCAs: c.authority.Pool(), ServerName: "127.0.0.1"})
	fmt.Fprint(over, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	if answer, err := io.ReadAll(over); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200 ") {
		t.Errorf("GET /healthz over TLS on a connection that had waited = %.100q, %v, want 200", answer, err)
	}
}

// restarts is how often the server is restarted under load.
const restarts = 10

// With sockets of a service manager a restart refuses no connection, gives each answer, and
// loses no session: neither on plain connections nor through the client.
func TestRestartUnderLoad(t *testing.T) {
	s := openSocket(t, "http", "tcp", "127.0.0.1:0")
	dir := filepath.Join(t.TempDir(), "data")
	start := func() *process {
		return startCommand(t, activated(t, []heldSocket{s}, "--admin-address=off", "--dump", "--data-dir="+dir))
	}
	l := &ledger{t: t}
	l.stopping.Store(true) // what gets no answer was not carried out: the ledger finds out
	tor := &torture{t: t, ledger: l, server: start()}
	tor.addWorkers(1)
	stop := make(chan struct{})
	var load sync.WaitGroup
	for _, w := range tor.workers {
		load.Go(func() { w.loadOverRestarts(s.addr.String(), stop) })
	}
	users := newUsers(t, s.addr.String())
	load.Go(func() { users.load(stop) })
	for round := range restarts {
		before := l.requested()
		exchanged := users.exchanged.Load()
		for l.requested() < before+500 || users.exchanged.Load() < exchanged+20 {
			if t.Failed() {
				t.FailNow()
			}
			time.Sleep(time.Millisecond)
		}
		tor.server.signal(syscall.SIGTERM)
		if got := tor.server.wait(); got != exitOK {
			t.Fatalf("round %d: exit code %d, want %d:\n%.3000s", round, got, exitOK, tor.server.log)
		}
		tor.server = start()
	}
	close(stop)
	load.Wait()
	tor.each((*worker).check)
	l.compare(withoutUsers(tor.server.dump()))
	t.Logf("%d restarts under %d requests and %d exchanges through the client", restarts, l.requests, users.exchanged.Load())
}

// loadOverRestarts is load that connects again when a server has closed its connections.
func (w *worker) loadOverRestarts(address string, stop <-chan struct{}) {
	for {
		if err := w.dial(address); err != nil {
			w.ledger.violation("dial: %v", err)
			return
		}
		w.loadUntil(stop)
		w.close()
		select {
		case <-stop:
			return
		default:
		}
	}
}

// users exchange tokens through the client.
type users struct {
	t         *testing.T
	client    *tokenclient.Client
	exchanged atomic.Int64
}

func newUsers(t *testing.T, address string) *users {
	t.Helper()
	c, err := tokenclient.New(tokenclient.Config{Addresses: []string{address}, Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &users{t: t, client: c}
}

const numUsers = 16

func (u *users) load(stop <-chan struct{}) {
	var done sync.WaitGroup
	for range numUsers {
		done.Go(func() {
			if err := u.exchange(stop); err != nil {
				u.t.Errorf("through the client: %v", err)
			}
		})
	}
	done.Wait()
}

// exchange makes a session, which counts its exchanges.
func (u *users) exchange(stop <-chan struct{}) error {
	ctx := context.Background()
	token, err := u.client.Create(ctx, tokenclient.NewSession{Meta: json.RawMessage(userMeta(0))})
	for n := 1; err == nil; n++ {
		select {
		case <-stop:
			return nil
		default:
		}
		var x tokenclient.Exchanged
		x, err = u.client.Exchange(ctx, token, tokenclient.Patch{Meta: json.RawMessage(userMeta(n))})
		if err == nil && string(x.Meta) != userMeta(n) {
			err = errors.New("metadata is " + string(x.Meta) + ", want " + userMeta(n))
		}
		token = x.Token
		u.exchanged.Add(1)
	}
	return err
}

// userMeta has the number of no session of a ledger.
func userMeta(n int) string { return fmt.Sprintf(`{"session":-1,"user":%d}`, n) }

// withoutUsers leaves the sessions of users out of a dump.
func withoutUsers(found map[int][]string) map[int][]string {
	delete(found, -1)
	return found
}
