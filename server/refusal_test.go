package server

import (
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"tokenserver/shard"
)

// tcpPair returns both ends of a connection over a socket.
func tcpPair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if client, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if server, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

// arrive sends something, and returns when it lies in the other end's socket.
func arrive(t testing.TB, client, server net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(client, text); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it arrives", func() bool { return unread(server) == len(text) })
}

// knowsUnread skips a test where the system does not tell what lies in a socket.
func knowsUnread(t *testing.T) {
	t.Helper()
	if _, server := tcpPair(t); unread(server) < 0 {
		t.Skip("this system does not tell what was not read")
	}
}

// A request that lies in its socket since nobody had the time to read it is no
// reason to close its connection, be it the first one or not.
func TestVictimHasSentNothing(t *testing.T) {
	knowsUnread(t)
	for name, p := range map[string]phase{"fresh": fresh, "idle": idle} {
		t.Run(name, func(t *testing.T) {
			r := newReaper(Config{MaxConnections: 3}.withDefaults())
			conns := make([]*conn, r.max)
			for i := range conns {
				client, server := tcpPair(t)
				conns[i] = &conn{Conn: server, reaper: r}
				r.add(conns[i])
				conns[i].enter(p, r.idle)
				if i != 1 {
					arrive(t, client, server, "GET /healthz")
				}
			}
			r.age(keepServed + time.Duration(r.slack()) + 1)
			for _, want := range []*conn{conns[1], nil} {
				c := &conn{Conn: nothingConn{}, reaper: r}
				if got, _ := r.add(c); got != want {
					t.Errorf("shed = %v, want %v", got, want)
				}
				r.stateChanged(c, fasthttp.StateActive)
			}
		})
	}
}

// wantClean checks that a client is refused, and that the connection is not reset.
func wantClean(t *testing.T, client net.Conn) {
	t.Helper()
	c := newClient(t, client)
	if r := c.receive("PUT"); !r.closes {
		t.Errorf("answer %v does not say that the connection closes", r)
	} else {
		r.wantRefusal(t, "StoreUnavailable")
	}
	c.wantClosed()
	if _, err := io.WriteString(client, "x"); err != nil {
		t.Errorf("the connection was reset: %v", err)
	}
}

// With more clients being refused than are waited for, one more is told at once,
// and not by a reset. Nor is one that comes when all has stopped.
func TestRefusedAtOnce(t *testing.T) {
	knowsUnread(t)
	for name, prepare := range map[string]func(*reaper){
		"many are refused": func(r *reaper) {
			r.conns = append(r.conns, &conn{Conn: nothingConn{}, key: never})
			for range refusals(r.max) {
				c, _ := net.Pipe()
				r.refused[c] = struct{}{}
			}
		},
		"after the stop": func(r *reaper) { r.closed = true; r.stopping.Store(true) },
	} {
		for _, text := range []string{requestText("PUT", "/token", tokenBody(somewhere)), strings.Repeat("x", 100_000)} {
			client, server := tcpPair(t)
			arrive(t, client, server, text)
			s := New(Config{Store: newStore(t, shard.Config{}), Logger: slog.New(slog.DiscardHandler), MaxConnections: 1})
			prepare(s.reaper)
			if s.admit(server) != nil {
				t.Fatalf("%s: it was let in", name)
			}
			wantClean(t, client)
		}
	}
}

// What comes on a connection that is shed is refused if it comes soon, as far as it
// comes.
func TestShedConnectionIsTold(t *testing.T) {
	whole := requestText("PUT", "/token", tokenBody(somewhere))
	for name, text := range map[string]string{
		"request":        whole,
		"pipeline":       strings.Repeat(whole, 100),
		"part of it":     whole[:len(whole)-3],
		"asks for leave": head + "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n",
	} {
		for which, begin := range map[string]func(*client){"fresh": func(*client) {}, "idle": (*client).wantOpen} {
			t.Run(which+" "+name, func(t *testing.T) {
				s := serve(t, Config{MaxConnections: 1})
				first := s.letIn(t)
				begin(first)
				eventually(t, "it waits", func() bool { return s.reaper.doing(fresh)+s.reaper.doing(idle) == 1 })
				s.reaper.age(2 * keepServed)
				second := s.letIn(t)
				first.send(text)
				r := first.receive("PUT")
				if r.wantRefusal(t, "StoreUnavailable"); !r.closes || !r.contains("too many connections") {
					t.Errorf("answer %v, want that there are too many connections, and that this one closes", r)
				}
				first.wantClosed()
				second.wantOpen()
				first.conn.Close()
				eventually(t, "nobody is being refused", func() bool { return s.Stats().Connections == 1 })
			})
		}
	}
}

// age makes all connections older.
func (r *reaper) age(d time.Duration) {
	r.now.Add(int64(d))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rekeyLocked()
}

// If many are being refused, a connection that is shed is told at once.
func TestShedConnectionIsToldAtOnce(t *testing.T) {
	s := serve(t, Config{MaxConnections: 1})
	for range refusals(1) {
		c, _ := net.Pipe()
		if !s.reaper.beginRefusal(c) {
			t.Fatal("no room to refuse")
		}
		defer s.reaper.endRefusal(c)
	}
	first := s.letIn(t)
	s.letIn(t).wantOpen()
	wantClean(t, first.conn)
}

// busy is a connection on a busy machine: between a deadline and what it is for,
// others run.
type busy struct{ *net.TCPConn }

func (b busy) SetWriteDeadline(t time.Time) error {
	err := b.TCPConn.SetWriteDeadline(t)
	time.Sleep(refusalWait / 5)
	return err
}

// However busy the machine is, who is told at once is told.
func TestRefusedAtOnceOnABusyMachine(t *testing.T) {
	knowsUnread(t)
	for name, refuse := range map[string]func(net.Conn){
		"new":  func(nc net.Conn) { refuseAtOnce(nc, errCrowded) },
		"shed": func(nc net.Conn) { (&conn{Conn: nc}).leave() },
	} {
		client, server := tcpPair(t)
		if name == "new" {
			arrive(t, client, server, requestText("PUT", "/token", tokenBody(somewhere)))
		}
		refuse(busy{server.(*net.TCPConn)})
		wantClean(t, client)
	}
}
