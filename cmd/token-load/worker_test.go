package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net"
	"testing"
	"time"

	"tokenserver/internal/sleep"
)

// echoConn answers every exchange at once with a new token, without any allocation.
type echoConn struct {
	net.Conn
	size    int // of a request
	answer  []byte
	token   []byte // within answer
	pending int
	writes  int
	count   int
}

func newEchoConn(l *load, user uint32) *echoConn {
	body := okTokenStart + "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" + okMeta + string(l.checker.meta.append(nil, user, 0)) + okEnd
	c := &echoConn{
		size: len(l.requests.appendToken(nil, opExchange, new(rawToken))),
		answer: fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nServer: x\r\nDate: Mon, 01 Jan 2035 00:00:00 GMT\r\n"+
			"Content-Type: application/json\r\nCache-Control: no-store\r\nContent-Length: %d\r\n\r\n%s", len(body), body),
	}
	c.token = c.answer[bytes.Index(c.answer, []byte(okTokenStart))+len(okTokenStart):][:tokenSize]
	return c
}

func (c *echoConn) Write(b []byte) (int, error) {
	c.writes++
	c.pending += len(b) / c.size
	return len(b), nil
}

func (c *echoConn) Read(b []byte) (int, error) {
	n := 0
	for ; c.pending > 0 && n+len(c.answer) <= len(b); c.pending-- {
		c.count++
		for i := range 5 {
			c.token[i] = base64url[c.count>>(6*i)&63]
		}
		n += copy(b[n:], c.answer)
	}
	return n, nil
}

func (c *echoConn) SetDeadline(time.Time) error { return nil }
func (c *echoConn) Close() error                { return nil }

func newEchoWorker(pipeline int) (*worker, *echoConn) {
	config := &Config{Connections: 1, Pipeline: pipeline, Sessions: pipeline, MetaSize: 115, Timeout: time.Hour, Seed: 1, Mix: defaultMix}
	l := newLoad(config)
	l.measureFrom = 0
	w := l.workers[0]
	const user = 7
	conn := newEchoConn(l, user)
	w.conn = conn
	w.answers.reset(conn)
	for range pipeline {
		s := session{user: user}
		copy(s.token[:], base64url)
		w.pool.sessions = append(w.pool.sessions, s)
	}
	return w, conn
}

func (w *worker) exchangeBatch() {
	for range w.load.config.Pipeline {
		w.add(opExchange, 0)
	}
	w.roundTrip()
}

func TestNoAllocations(t *testing.T) {
	for _, pipeline := range []int{1, 16} {
		w, conn := newEchoWorker(pipeline)
		w.exchangeBatch()
		if got := testing.AllocsPerRun(1000, w.exchangeBatch); got != 0 {
			t.Errorf("pipeline %d: %v allocations a batch, want none", pipeline, got)
		}
		if len(w.faults) > 0 || conn.writes < 1000 || conn.count != conn.writes*pipeline {
			t.Errorf("pipeline %d: %d exchanges in %d writes, faults %v, want a batch in each, no faults",
				pipeline, conn.count, conn.writes, w.faults)
		}
	}
}

// BenchmarkExchange is what the load generator itself costs a request, without the network.
func BenchmarkExchange(b *testing.B) {
	for _, pipeline := range []int{1, 16} {
		b.Run(fmt.Sprintf("pipeline=%d", pipeline), func(b *testing.B) {
			w, _ := newEchoWorker(pipeline)
			b.ReportAllocs()
			for range b.N / pipeline {
				w.exchangeBatch()
			}
		})
	}
}

func TestScheduleIsSpreadAndComplete(t *testing.T) {
	for _, rate := range []int{1, 3, 999, 1_000_000} {
		l := &load{config: &Config{Rate: rate, Connections: 3}, begin: 12345}
		if got := l.intendedStart(rate); got != l.begin+1e9 {
			t.Errorf("rate %d: request %d at %d, want a second after %d", rate, rate, got, l.begin)
		}
		for _, seconds := range []float64{0.5, 1, 2.25} {
			want := int(math.Ceil(seconds * float64(rate)))
			if got := l.startsBefore(l.begin + int64(seconds*1e9)); got < want-1 || got > want+1 {
				t.Errorf("rate %d: %d requests in %v s, want %d", rate, got, seconds, want)
			}
		}
		for _, n := range []int{1, 2, 10, 1000} {
			if got := l.startsBefore(l.intendedStart(n)); got != n {
				t.Errorf("rate %d: %d requests before number %d", rate, got, n)
			}
		}
	}
}

func TestFirstOfTheMeasurement(t *testing.T) {
	for _, warmUp := range []int64{0, 1, 1e6, 1e9 - 1, 1e9} {
		l := &load{config: &Config{Rate: 1000, Connections: 3}, begin: 12345, measureFrom: 12345 + warmUp}
		for index := range l.config.Connections {
			w := &worker{load: l, index: index}
			got := w.firstMeasured()
			if got%3 != index || l.intendedStart(got) < l.measureFrom || got >= 3 && l.intendedStart(got-3) >= l.measureFrom {
				t.Errorf("warm-up of %d ns, connection %d: number %d, want its first one after the warm-up", warmUp, index, got)
			}
		}
	}
}

// An attempt that hangs for as long as the timeout must not outlast the run.
func TestConnectThatIsBrokenOffIsNoFault(t *testing.T) {
	w, _ := newEchoWorker(1)
	w.disconnect()
	w.load.config.Address = "192.0.2.1:9"
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if w.connected(ctx) || len(w.faults) > 0 {
		t.Errorf("connected, or faults %v, want neither", w.faults)
	}
}

func TestSleeper(t *testing.T) {
	s, err := sleep.New()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, d := range []time.Duration{0, time.Microsecond, 3 * time.Millisecond} {
		start := time.Now()
		s.Sleep(d)
		if got := time.Since(start); got < d {
			t.Errorf("sleep(%v) took %v", d, got)
		}
	}
}
