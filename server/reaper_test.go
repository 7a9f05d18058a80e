package server

import (
	"log/slog"
	"net"
	"strings"
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
	r := newReaper(Config{RequestTimeout: 10 * time.Second, AnswerTimeout: 20 * time.Second, IdleTimeout: time.Minute}.withDefaults())
	d := new(deadlines)
	c := &conn{Conn: d, reaper: r}
	r.add(c)
	return r, c, d
}

// pass lets time pass as it does while nothing holds the reaper up.
func (r *reaper) pass(d time.Duration) {
	for ; d > 0; d -= r.tick {
		time.Sleep(min(d, r.tick))
		r.reap()
	}
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
		{"answer", func(r *reaper, c *conn) { c.enter(writing, r.answer) }, 20 * time.Second, 1, 1},
		{"handler", func(_ *reaper, c *conn) { c.set(newStep(handling, never)) }, 100 * time.Hour, 0, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, c, d := newWatched()
				test.step(r, c)
				r.pass(test.allowed)
				if d.read.Load()+d.write.Load() != 0 {
					t.Errorf("ended within %v", test.allowed)
				}
				r.pass(r.tick + 1)
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
		r.pass(11 * time.Second)
		r.stateChanged(c, fasthttp.StateActive)
		if c.set(newStep(handling, never)) != late || c.load().phase() != late {
			t.Error("a connection with a deadline in the past is taken for a good one")
		}
	})
}

func TestReaperForgetsClosed(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	r := newReaper(Config{}.withDefaults())
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

// After a pause of the whole process what has arrived meanwhile is read before
// anything is called too slow: a pause takes nothing from anybody's time.
func TestReaperPause(t *testing.T) {
	for _, pause := range []time.Duration{3 * time.Second, 10 * time.Minute, 100 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			r, c, d := newWatched()
			r.pass(10 * time.Second) // all that it has
			for range 2 {
				time.Sleep(pause)
				if r.reap(); d.read.Load() != 0 {
					t.Errorf("ended after a pause of %v", pause)
				}
				r.pass(1)
			}
			r.stateChanged(c, fasthttp.StateActive)
			r.pass(10 * time.Second)
			if d.read.Load() != 0 {
				t.Errorf("after a pause of %v a request did not get its time", pause)
			}
			r.pass(2 * r.tick)
			if d.read.Load() != 1 {
				t.Errorf("after a pause of %v nothing is ended any more", pause)
			}
		})
	}
}

// On a machine that is always late, time goes on nevertheless.
func TestReaperThatIsAlwaysLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, d := newWatched()
		for n := 0; d.read.Load() == 0; n++ {
			if time.Sleep(10 * r.tick); n > 20 {
				t.Fatalf("after %v nothing is ended", time.Duration(n)*10*r.tick)
			}
			r.reap()
		}
	})
}

// After a late tick the next one leaves time to read.
func TestReaperRunsAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, d := newWatched()
		var skip atomic.Int64
		r.clock = func() time.Duration { return time.Since(r.start) + time.Duration(skip.Load()) }
		r.begin()
		defer r.stop()
		time.Sleep(10 * time.Second)
		skip.Store(int64(time.Hour))
		time.Sleep(r.tick)
		if synctest.Wait(); d.read.Load() != 0 {
			t.Errorf("ended by a pause")
		}
		time.Sleep(3 * r.tick)
		if synctest.Wait(); d.read.Load() != 1 {
			t.Errorf("not ended in the end")
		}
	})
}

// panickyConn is a connection that panics when it is to be ended.
type panickyConn struct{ net.Conn }

func (panickyConn) SetReadDeadline(time.Time) error { panic("a panic") }

func TestReaperOutlivesPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		r, _, d := newWatched()
		r.log = slog.New(slog.NewTextHandler(&log, nil))
		r.add(&conn{Conn: panickyConn{}, reaper: r})
		r.conns[0], r.conns[1] = r.conns[1], r.conns[0]
		r.begin()
		defer r.stop()
		time.Sleep(12 * time.Second)
		if synctest.Wait(); d.read.Load() != 1 {
			t.Errorf("after a panic the reaper ends nothing")
		}
		if text := log.String(); strings.Count(text, "recovered panic") != 1 || !strings.Contains(text, "reap(…)") {
			t.Errorf("log = %s, want one panic, and its stack", text)
		}
	})
}
