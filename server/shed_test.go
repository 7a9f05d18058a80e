package server

import (
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"
)

// letIn dials and waits until the server has let the connection in.
func (s *served) letIn(t testing.TB) *client {
	t.Helper()
	c := s.dial(t)
	eventually(t, "the connection is let in", func() bool { return s.reaper.find(c.conn.LocalAddr().String()) != nil })
	return c
}

// find returns the connection with a client's address.
func (r *reaper) find(client string) *conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		if c.RemoteAddr().String() == client {
			return c
		}
	}
	return nil
}

func TestLimitOfConnections(t *testing.T) {
	var log logBuffer
	s := serve(t, Config{MaxConnections: 4, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	served, first, second, third := s.letIn(t), s.letIn(t), s.letIn(t), s.letIn(t)
	served.wantOpen()
	fourth := s.letIn(t)
	first.wantClosed() // without a word
	fourth.wantOpen()
	second.wantOpen()
	s.letIn(t).wantOpen()
	third.wantClosed()
	for range 3 { // those that are left were served just now
		s.wantCrowded(t)
	}
	for _, c := range []*client{served, second, fourth} {
		c.wantOpen()
	}
	st := s.Stats()
	if st.MaxConnections != 4 || st.Shed != 5 {
		t.Errorf("Stats() = limit %d, shed %d, want 4 and 5", st.MaxConnections, st.Shed)
	}
	eventually(t, "the refused are gone", func() bool { return s.Stats().Connections == 4 })
	if !strings.Contains(log.String(), `level=WARN msg="too many connections" limit=4 newest=closed shed=1`) {
		t.Errorf("log = %s, want that there were too many", log.String())
	}
	served.conn.Close()
	eventually(t, "one has closed", func() bool { return s.Stats().Connections == 3 })
	s.letIn(t).wantOpen()
}

// It is logged once a second, with how many there were by then.
func TestLogOfShed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		s := New(Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		for range 10 {
			s.countShed("refused")
			time.Sleep(time.Second / 4)
		}
		var got []string
		for line := range strings.Lines(log.String()) {
			got = append(got, strings.TrimSpace(line[strings.LastIndex(line, "shed="):]))
		}
		if want := []string{"shed=1", "shed=5", "shed=9"}; !slices.Equal(got, want) {
			t.Errorf("log has %v, want %v", got, want)
		}
	})
}

// wantCrowded checks what a connection is told that is not let in.
func (s *served) wantCrowded(t *testing.T) {
	t.Helper()
	c := s.dial(t)
	r := c.do("PUT", "/token", tokenBody(somewhere))
	if r.wantRefusal(t, "StoreUnavailable"); !r.closes {
		t.Errorf("answer %v does not say that the connection closes", r)
	}
	c.wantClosed()
	c.conn.Close()
}

// A request that is under way keeps its connection, however long it takes.
func TestLimitSparesWhatIsUnderWay(t *testing.T) {
	s := serve(t, Config{MaxConnections: 2})
	c := s.letIn(t)
	c.send("G")
	eventually(t, "a request begins", func() bool { return s.reaper.doing(reading) == 1 })
	idle := s.letIn(t)
	idle.wantOpen()
	s.wantCrowded(t)
	c.send(requestText("GET", "/healthz", "")[1:])
	if r := c.receive("GET"); r.status != 200 {
		t.Errorf("answer %v, want 200", r)
	}
}

// A client that says nothing is told after a while nevertheless.
func TestRefusedWithoutARequest(t *testing.T) {
	s := serve(t, Config{MaxConnections: 1})
	s.letIn(t).wantOpen()
	c := s.dial(t)
	c.receive("GET").wantRefusal(t, "StoreUnavailable")
	c.wantClosed()
}

// A flood of connections takes no more than is allowed, and stops nobody's work.
func TestFloodOfConnections(t *testing.T) {
	const limit = 40
	s := serve(t, Config{MaxConnections: limit})
	working := make([]*client, limit/2)
	for i := range working {
		working[i] = s.letIn(t)
		working[i].wantOpen()
	}
	var floods sync.WaitGroup
	for range 8 {
		floods.Go(func() {
			for range 100 {
				conn, err := net.Dial("tcp", s.addr)
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				if got, most := s.reaper.open(), limit+SpareConnections(limit); got > most {
					t.Errorf("%d connections are open, want %d at most", got, most)
				}
			}
		})
	}
	for range 50 {
		for _, c := range working {
			c.wantOpen()
		}
	}
	floods.Wait()
}

// nothingConn is a connection of which nothing is asked.
type nothingConn struct{ net.Conn }

func (nothingConn) Close() error                     { return nil }
func (nothingConn) SetReadDeadline(time.Time) error  { return nil }
func (nothingConn) SetWriteDeadline(time.Time) error { return nil }

// modelConn is what a naive model knows of a connection.
type modelConn struct {
	conn *conn
	born int           // in which order
	busy bool          // a request is under way
	used time.Duration // when it last was served, or 0
}

// TestVictims: whom the reaper closes for a new connection is who a model that
// looks at all of them closes.
func TestVictims(t *testing.T) {
	seed := *walkSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d (-server.seed)", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 50 {
		synctest.Test(t, func(t *testing.T) { walkVictims(t, rnd) })
	}
}

func walkVictims(t *testing.T, rnd *rand.Rand) {
	r := newReaper(Config{IdleTimeout: time.Hour, RequestTimeout: time.Hour, AnswerTimeout: time.Hour, MaxConnections: 1 + rnd.IntN(12)}.withDefaults())
	r.tick = 100 * time.Millisecond
	var all []*modelConn
	now := func() time.Duration { return time.Since(r.start) }
	for n := range 1000 {
		switch k := rnd.IntN(10); {
		case k < 3:
			r.pass(r.tick * time.Duration(1+rnd.IntN(40)))
		case k < 6 && len(all) > 0:
			m := all[rnd.IntN(len(all))]
			m.busy = !m.busy
			if m.busy {
				r.stateChanged(m.conn, fasthttp.StateActive)
			} else {
				r.stateChanged(m.conn, fasthttp.StateIdle)
				m.used = now()
			}
			if !m.busy || m.used == 0 {
				m.used = max(now(), 1)
			}
		case k < 7 && len(all) > 0:
			i := rnd.IntN(len(all))
			all[i].conn.Close()
			all = append(all[:i], all[i+1:]...)
		default:
			c := &conn{Conn: nothingConn{}, reaper: r}
			victim, ok := r.add(c)
			all = checkVictim(t, r, all, victim, ok, now())
			if ok {
				all = append(all, &modelConn{conn: c, born: n})
			}
		}
	}
}

// checkVictim checks a choice, and returns who is left.
func checkVictim(t *testing.T, r *reaper, all []*modelConn, victim *conn, ok bool, now time.Duration) (left []*modelConn) {
	t.Helper()
	var want *modelConn
	if len(all) >= r.max {
		for _, m := range all {
			if m.closable(r, now) && (want == nil || m.before(want)) {
				want = m
			}
		}
		if ok != (want != nil) {
			t.Fatalf("new connection let in: %v, want %v", ok, want != nil)
		}
	} else if !ok || victim != nil {
		t.Fatalf("below the limit: let in %v, victim %v", ok, victim)
	}
	for _, m := range all {
		if m.conn != victim {
			left = append(left, m)
		} else if m != want && (want == nil || m.before(want) || want.before(m)) {
			t.Fatalf("closed was %+v, want %+v", m, want)
		}
	}
	return left
}

func (m *modelConn) closable(r *reaper, now time.Duration) bool {
	return m.used == 0 || !m.busy && now-m.used > keepServed+time.Duration(r.slack())
}

func (m *modelConn) before(o *modelConn) bool {
	if m.used == 0 || o.used == 0 {
		return m.used == 0 && (o.used > 0 || m.born < o.born)
	}
	return m.used < o.used
}

// Many searches in vain are not paid for with a look at everybody each.
func BenchmarkCrowded(b *testing.B) {
	r := newReaper(Config{MaxConnections: 100_000, Logger: slog.New(slog.DiscardHandler)}.withDefaults())
	for range r.max {
		c := &conn{Conn: nothingConn{}, reaper: r}
		r.add(c)
		r.stateChanged(c, fasthttp.StateActive)
	}
	for b.Loop() {
		if _, ok := r.add(&conn{Conn: nothingConn{}, reaper: r}); ok {
			b.Fatal("let in")
		}
	}
}
