package server

import (
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"
)

// deadlines is a connection that remembers which deadlines were set.
type deadlines struct {
	net.Conn
	read, write atomic.Int32
}

func (d *deadlines) SetReadDeadline(time.Time) error  { d.read.Add(1); return nil }
func (d *deadlines) SetWriteDeadline(time.Time) error { d.write.Add(1); return nil }

// newWatched returns a connection whose reaper allows a request 10 s, an answer
// 20 s, and an idle connection 60 s, with a tick of half a second.
func newWatched() (*reaper, *conn, *deadlines) {
	r := newReaper(10*time.Second, 20*time.Second, time.Minute)
	d := new(deadlines)
	c := &conn{Conn: d, reaper: r}
	r.add(c)
	return r, c, d
}

func TestReaperSteps(t *testing.T) {
	tests := []struct {
		name        string
		step        func(*reaper, *conn)
		allowed     time.Duration
		read, write int32 // deadlines set once the time is over
	}{
		{"new connection", func(*reaper, *conn) {}, 10 * time.Second, 1, 0},
		{"request", func(r *reaper, c *conn) { r.stateChanged(c, fasthttp.StateActive) }, 10 * time.Second, 1, 0},
		{"idle", func(r *reaper, c *conn) { r.stateChanged(c, fasthttp.StateIdle) }, time.Minute, 1, 0},
		{"answer", func(_ *reaper, c *conn) { c.allow(c.reaper.answer); c.writing.Store(true) }, 20 * time.Second, 0, 1},
		{"handler", func(_ *reaper, c *conn) { c.setDue(unwatched) }, 1000 * time.Hour, 0, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, c, d := newWatched()
				test.step(r, c)
				time.Sleep(test.allowed)
				if r.reap(); d.read.Load()+d.write.Load() != 0 {
					t.Errorf("ended within %v", test.allowed)
				}
				time.Sleep(r.tick + 1)
				r.reap()
				r.reap() // once is enough
				if read, write := d.read.Load(), d.write.Load(); read != test.read || write != test.write {
					t.Errorf("after %v: %d read and %d write deadlines, want %d and %d", test.allowed+r.tick, read, write, test.read, test.write)
				}
			})
		})
	}
}

// A connection whose time was over stays so: its deadline is not taken back.
func TestReaperExpiredStaysExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, c, _ := newWatched()
		time.Sleep(11 * time.Second)
		r.reap()
		r.stateChanged(c, fasthttp.StateActive)
		if !c.setDue(unwatched) || c.due.Load() != expired {
			t.Error("a connection with a deadline in the past is taken for a good one")
		}
	})
}

func TestReaperForgetsClosed(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	r := newReaper(time.Second, time.Second, time.Second)
	c := &conn{Conn: server, reaper: r}
	r.add(c)
	if c.Close(); len(r.conns) != 0 {
		t.Errorf("%d connections watched, want none", len(r.conns))
	}
}

// The time-outs are those of the design.
func TestReaperOfDefaults(t *testing.T) {
	r := New(Config{}).reaper
	if r.request != 10*time.Second || r.answer != 10*time.Second || r.idle != 5*time.Minute {
		t.Errorf("request %v, answer %v, idle %v, want 10s, 10s, 5m", r.request, r.answer, r.idle)
	}
}

// A store that takes long takes nothing from the next request.
func TestSlowStoreDoesNotSpoilTheConnection(t *testing.T) {
	store := newMishap(t)
	s := serve(t, Config{Store: store, RequestTimeout: hurry / 2})
	c := s.dial(t)
	tok := c.create(`{"a":1}`)
	store.set(func(string) error { time.Sleep(hurry); return nil })
	for range 2 {
		tok, _ = c.exchange(tok, "")
	}
}
