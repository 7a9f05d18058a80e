package server

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenserver/shard"
)

var walkSeed = flag.Uint64("server.seed", 0, "seed of the random walks over connections; 0 picks one")

// What a walk's server allows.
const (
	walkTimeout = 150 * time.Millisecond // for requests, answers and idle connections
	walkBound   = 4*walkTimeout + lingerTime + 2*time.Second
)

// walker does to one connection what clients do, and what none should.
type walker struct {
	conn    net.Conn
	rnd     *rand.Rand
	request []string // texts of whole requests
	rest    string   // of the request that has begun
	read    int      // bytes
	asked   int      // requests sent whole
}

// step does one step. It returns false if the connection has ended, or if there
// is no more to do.
func (w *walker) step() bool {
	switch w.rnd.IntN(12) {
	case 0, 1:
		return w.write(1 + w.rnd.IntN(3)) // requests at once
	case 2:
		return w.write(30 + w.rnd.IntN(60))
	case 3, 4, 5:
		return w.writePart()
	case 6:
		return w.readSome(1 + w.rnd.IntN(3000))
	case 7:
		return w.readSome(200_000)
	case 8:
		half, ok := w.conn.(*net.TCPConn)
		return !ok || half.CloseWrite() == nil && w.rnd.IntN(2) == 0
	case 9:
		return w.rnd.IntN(4) != 0 // or leave it as it is, for ever
	default:
		time.Sleep(time.Duration(w.rnd.Int64N(int64(walkTimeout / 2))))
		return true
	}
}

func (w *walker) write(n int) bool {
	text := w.rest
	w.rest = ""
	for range n {
		text += w.request[w.rnd.IntN(len(w.request))]
	}
	w.asked += n + 1
	return w.send(text)
}

// writePart begins a request, or goes on with it, and does not end it.
func (w *walker) writePart() bool {
	if w.rest == "" {
		w.rest = w.request[w.rnd.IntN(len(w.request))]
	}
	n := w.rnd.IntN(len(w.rest))
	part := w.rest[:n]
	w.rest = w.rest[n:]
	return w.send(part)
}

// send gives up soon: the server may take nothing more.
func (w *walker) send(text string) bool {
	w.conn.SetWriteDeadline(time.Now().Add(walkTimeout))
	_, err := io.WriteString(w.conn, text)
	return err == nil
}

func (w *walker) readSome(n int) bool {
	w.conn.SetReadDeadline(time.Now().Add(walkTimeout / 10))
	got, err := io.CopyN(io.Discard, w.conn, int64(n))
	w.read += int(got)
	timeout, ok := err.(net.Error)
	return err == nil || ok && timeout.Timeout()
}

// No sequence of partial writes, answers left unread and partial requests holds a
// connection beyond the time-outs. The model is naive: some time after a client
// has done its last step, the server knows nothing of the connection any more.
func TestWalkOfConnections(t *testing.T) {
	s := walk(t, 0)
	s.wantGone(t, walkBound)
	s.wantWorking(t)
}

// Nor does it hold a stop that comes in the middle.
func TestWalkIntoAStop(t *testing.T) {
	for _, stop := range []time.Duration{walkTimeout / 3, walkTimeout, 3 * walkTimeout} {
		walk(t, stop).wantGone(t, 0)
	}
}

// walk lets many clients walk until they have ended, or until a server that is
// stopped after a while has ended.
func walk(t *testing.T, stop time.Duration) *served {
	t.Helper()
	seed := *walkSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d (-server.seed)", seed)
	s := serve(t, Config{RequestTimeout: walkTimeout, AnswerTimeout: walkTimeout, IdleTimeout: walkTimeout,
		MaxBody: 1 << 20, Store: newStore(t, shard.Config{MaxMeta: 1 << 20})})
	requests := walkRequests(s.dial(t))
	pipes := s.servePipes(t)
	const walkers, steps = 200, 25
	var walks sync.WaitGroup
	for i := range walkers {
		dial := s.dialSmall
		if i%2 == 0 {
			dial = pipes.dial
		}
		w := &walker{conn: dial(t).conn, rnd: rand.New(rand.NewPCG(seed, uint64(i))), request: requests}
		walks.Go(func() {
			for n := 0; n < steps && w.step(); n++ {
			}
		})
	}
	if stop > 0 {
		time.Sleep(stop)
		ctx, cancel := context.WithTimeout(context.Background(), StopGrace+walkBound)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown() = %v; left: %s", err, s.reaper.phases())
		}
	}
	walks.Wait()
	return s
}

// wantGone checks that all connections end within the given time, although no
// client closes one, and that a stop finds nothing to wait for.
func (s *served) wantGone(t *testing.T, bound time.Duration) {
	t.Helper()
	for start := time.Now(); s.reaper.open() > 0; time.Sleep(walkTimeout / 10) {
		if time.Since(start) > bound {
			t.Fatalf("after %v the server still has %d connections: %s", bound, s.reaper.open(), s.reaper.phases())
		}
	}
}

// phases tells what the connections are doing.
func (r *reaper) phases() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for _, c := range r.conns {
		fmt.Fprintf(&b, "%v phase %d, lingering %d; ", c.RemoteAddr(), c.load().phase(), c.linger)
	}
	return b.String()
}

// walkRequests are requests of all kinds with answers of several sizes.
func walkRequests(c *client) (texts []string) {
	for _, size := range []int{10, 3000, 6000, 60_000} {
		tok := c.create(`{"a":"` + strings.Repeat("x", size) + `"}`)
		texts = append(texts, requestText("POST", "/token/validate", tokenBody(tok)))
	}
	return append(texts,
		requestText("GET", "/healthz", ""),
		requestText("POST", "/token", `{"meta":{"a":"`+strings.Repeat("x", 2000)+`"}}`),
		requestText("POST", "/token", `{"meta":{}}`, "Expect: 100-continue"),
		chunkedText("PUT", "/token", "2\r\n{}\r\n0\r\n\r\n"),
		requestText("PUT", "/token", tokenBody(marker), "Connection: close"),
		head+"Content-Length: 2000000\r\n\r\n{",
		"\r\n\r\n",
		brokenHTTP["no Host"])
}

// A client that never reads holds nobody either: the last answer, be it that the
// time is over, gets its time, and nothing more.
func TestUnreadAnswers(t *testing.T) {
	s := serve(t, Config{RequestTimeout: walkTimeout, AnswerTimeout: walkTimeout, IdleTimeout: walkTimeout})
	pipes := s.servePipes(t)
	whole := requestText("GET", "/healthz", "")
	for name, text := range map[string]string{
		"an answer":                        whole,
		"408":                              slow["body"],
		"an answer and 408":                whole + slow["body"],
		"an answer and no head of another": whole + "PUT /tok",
		"413":                              head + "Content-Length: 2000000\r\n\r\n",
		"leave to send":                    head + "Expect: 100-continue\r\nContent-Length: 10\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			pipes.dial(t).send(text)
			s.wantGone(t, walkBound)
		})
	}
}
