package server

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"tokenserver/shard"
)

// halfCloser can end its own side of a connection.
type halfCloser interface{ CloseWrite() error }

// What waits on a listener before there is a server: what clients have given up is not
// carried out, and nothing else is refused.
func TestBacklog(t *testing.T) {
	tests := map[string]struct {
		after  func(net.Conn) // what the client does behind its request
		status int            // of the answer; 0 for none
		spent  bool
		unix   bool // this is so on unix sockets, and else on TCP
	}{
		"TCP, the client waits":                {func(net.Conn) {}, 200, true, false},
		"TCP, the client has gone":             {func(c net.Conn) { c.Close() }, 0, false, false},
		"TCP, the client was killed":           {func(c net.Conn) { c.(*net.TCPConn).SetLinger(0); c.Close() }, 0, false, false},
		"TCP, the client sends nothing more":   {func(c net.Conn) { c.(halfCloser).CloseWrite() }, 503, false, false},
		"a unix socket, the client waits":      {func(net.Conn) {}, 200, true, true},
		"a unix socket, the client has gone":   {func(c net.Conn) { c.Close() }, 0, false, true},
		"a unix socket, it sends nothing more": {func(c net.Conn) { c.(halfCloser).CloseWrite() }, 200, true, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			store := newStore(t, shard.Config{})
			tok := serve(t, Config{Store: store}).dial(t).create(`{}`)
			ln := listen(t)
			if tt.unix {
				ln = listenUnix(t)
			}
			conn := connect(t, ln)
			c := newClient(t, conn)
			c.send(requestText("PUT", "/token", exchangeBody(tok, "")))
			tt.after(conn)
			idle := newClient(t, connect(t, ln)) // which has sent nothing yet
			s := serveInherited(t, store, ln)
			if tt.status != 0 {
				r := c.receive("PUT")
				if r.status != tt.status || r.status == 503 && !r.notDone() {
					t.Errorf("answer = %v, want %d, and that nothing was done if that is 503", r, tt.status)
				}
			}
			idle.create(`{}`) // whatever was before it has been accepted by now
			s.awaitConnections(t)
			if r := newClient(t, connect(t, ln)).do("POST", "/token/validate", tokenBody(tok)); r.contains("InvalidToken") != tt.spent {
				t.Errorf("validate = %v, want that the token is spent: %v", r, tt.spent)
			}
		})
	}
}

// awaitConnections waits until no more than two connections are open.
func (s *Server) awaitConnections(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(patience); s.reaper.open() > 2; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("connections stay open")
		}
	}
}

// Later on, a client that ends its own side gets its answer as ever.
func TestBacklogIsForgotten(t *testing.T) {
	ln := listen(t)
	serveInherited(t, newStore(t, shard.Config{}), ln)
	for range 3 {
		conn := connect(t, ln)
		c := newClient(t, conn)
		c.send(requestText("POST", "/token", `{"meta":{}}`))
		conn.(halfCloser).CloseWrite()
		if r := c.receive("POST"); r.status != 200 {
			t.Errorf("answer = %v, want 200", r)
		}
	}
}

func TestStalePeers(t *testing.T) {
	tests := []struct {
		name   string
		peer   peer
		waited bool
		unread int
		want   bool
	}{
		{"waits", peer{age: time.Second}, true, 100, false},
		{"is gone", peer{gone: true}, false, 100, true},
		{"has closed, and waited", peer{closed: true}, true, 100, true},
		{"has closed at once", peer{closed: true}, false, 100, false},
		{"is old", peer{age: maxWait + time.Millisecond}, true, 1, true},
		{"is old, in a process that stood still", peer{age: maxWait + time.Millisecond}, false, 1, true},
		{"is not too old", peer{age: maxWait}, true, 1, false},
		{"is old, and has sent nothing", peer{age: time.Hour}, true, 0, false},
	}
	for _, tt := range tests {
		if got := tt.peer.isStale(tt.waited, tt.unread); got != tt.want {
			t.Errorf("%s: isStale = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestAgeOfWhatWasSent(t *testing.T) {
	ln := listen(t)
	conn := connect(t, ln)
	conn.Write([]byte("x"))
	const age = 30 * time.Millisecond
	time.Sleep(age)
	if got := waiting(ln); got != 1 {
		t.Errorf("%d connections wait, want 1", got)
	}
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	if got := peerState(accepted); got.age < age/2 || got.age > patience || got.gone || got.closed {
		t.Errorf("state = %+v, want an age of %v, and a client that is there", got, age)
	}
}

func listenUnix(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func connect(t *testing.T, ln net.Listener) net.Conn {
	t.Helper()
	conn, err := net.Dial(ln.Addr().Network(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// serveInherited serves on a listener that was there before.
func serveInherited(t *testing.T, store Store, ln net.Listener) *Server {
	t.Helper()
	s := New(Config{Store: store})
	done := make(chan error, 1)
	go func() { done <- s.ServeInherited(ln, ln) }()
	t.Cleanup(func() {
		if err := s.ShutdownNow(t.Context()); err != nil && t.Context().Err() == nil {
			t.Errorf("Shutdown = %v", err)
		}
		<-done
	})
	return s
}
