package server

import (
	"context"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"tokenserver/shard"
	"tokenserver/token"
)

// dialSmall dials with a receive buffer that answers soon fill.
func (s *served) dialSmall(t testing.TB) *client {
	t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
		})
	}}
	conn, err := dialer.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return newClient(t, conn)
}

// stopping begins a Shutdown, and returns once the listener has closed.
func (s *served) stopping(t testing.TB) (ended chan error) {
	t.Helper()
	ended = make(chan error, 1)
	go func() {
		// Answers may take as long as some tests let each take.
		ctx, cancel := context.WithTimeout(context.Background(), (stopAnswers+1)*patience)
		defer cancel()
		ended <- s.Shutdown(ctx)
	}()
	eventually(t, "the listener closes", s.reaper.stopping.Load)
	return ended
}

func (s *served) wantStopped(t testing.TB, ended chan error) {
	t.Helper()
	if err := <-ended; err != nil {
		t.Errorf("Shutdown() = %v", err)
	}
	if err := <-s.done; err != nil {
		t.Errorf("Serve() = %v", err)
	}
}

// A client that reads slowly, and sends all the time, gets the answer to each
// exchange that is carried out.
func TestShutdownLosesNoAnswers(t *testing.T) {
	const n = 1200 // whose answers are more than what the sockets take in
	for _, test := range []struct {
		name string
		stop int           // after how many answers
		rest time.Duration // between answers
	}{{"slow reader", 50, time.Millisecond}, {"fast reader", 300, 0}, {"reader that begins late", 0, 0}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			store := newStore(t, shard.Config{})
			s := serve(t, Config{Store: store, AnswerTimeout: patience}) // a busy machine reads slowly itself
			tokens := createMany(t, store, n, strings.Repeat("x", 10_000))
			c := s.dialSmall(t)
			go func() {
				var text strings.Builder
				for _, tok := range tokens {
					text.WriteString(requestText("PUT", "/token", tokenBody(string(tok.Append(nil)))))
				}
				c.conn.Write([]byte(text.String())) // fails when the server has said that it closes
			}()
			var ended chan error
			answered := 0
			for {
				if answered == test.stop && ended == nil {
					eventually(t, "exchanges", func() bool { return store.Stats().Exchanged > uint64(test.stop) })
					ended = s.stopping(t)
				}
				r, err := c.tryReceive("PUT")
				if err != nil {
					break
				}
				if _, _, ok := r.exchanged(); ok {
					answered++
				} else {
					r.wantRefusal(t, "StoreUnavailable")
				}
				if r.closes {
					break
				}
				if ended != nil {
					time.Sleep(test.rest)
				}
			}
			c.conn.Close()
			s.wantStopped(t, ended)
			if spent := countSpent(t, store, tokens); spent != answered || spent == n {
				t.Errorf("%d tokens are spent, %d exchanges answered, of %d", spent, answered, n)
			}
		})
	}
}

func createMany(t testing.TB, store Store, n int, text string) []token.Token {
	t.Helper()
	tokens := make([]token.Token, n)
	for i := range tokens {
		var err error
		if tokens[i], err = store.Create(context.Background(), token.NewSession{Meta: []byte(`{"a":"` + text + `"}`)}); err != nil {
			t.Fatal(err)
		}
	}
	return tokens
}

func countSpent(t testing.TB, store Store, tokens []token.Token) (spent int) {
	t.Helper()
	for _, tok := range tokens {
		if _, _, err := store.Validate(context.Background(), tok, nil); err != nil {
			spent++
		}
	}
	return spent
}

// A client that does not notice that its connection was closed holds no stop up
// once it has got all answers.
func TestShutdownWaitsForNoClient(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial(t)
	c.wantOpen()
	ended := s.stopping(t)
	c.do("GET", "/healthz", "").wantRefusal(t, "StoreUnavailable")
	start := time.Now()
	s.wantStopped(t, ended)
	if took := time.Since(start); took > 4*lingerTime {
		t.Errorf("Shutdown took %v", took)
	}
}

// Who sends a request on a connection that is open when the listener closes is
// told that nothing was carried out.
func TestShutdownRefusesWhatComesLater(t *testing.T) {
	s := serve(t, Config{})
	tok := s.dial(t).create(`{}`)
	requests := map[string]string{
		"exchange":       requestText("PUT", "/token", tokenBody(tok)),
		"create":         requestText("POST", "/token", `{"meta":{}}`),
		"readyz":         requestText("GET", "/readyz", ""),
		"healthz":        requestText("GET", "/healthz", ""),
		"asks for leave": requestText("PUT", "/token", tokenBody(tok), "Expect: 100-continue"),
		"pipeline":       strings.Repeat(requestText("PUT", "/token", tokenBody(tok)), 100),
	}
	idle, fresh := make(map[string]*client), make(map[string]*client)
	for name := range requests {
		idle[name], fresh[name] = s.dial(t), s.dial(t)
		idle[name].wantOpen()
	}
	half := s.dial(t)
	begun := requestText("PUT", "/token", tokenBody(half.create(`{}`)))
	half.send(begun[:20])
	eventually(t, "all are let in", func() bool { return s.reaper.open() >= 2*len(requests)+1 && s.reaper.doing(reading) == 1 })
	ended := s.stopping(t)
	for name, text := range requests {
		for _, c := range []*client{idle[name], fresh[name]} {
			c.send(text)
			r := c.receive("PUT")
			if r.wantRefusal(t, "StoreUnavailable"); !r.closes {
				t.Errorf("%s: answer %v does not say that the connection closes", name, r)
			}
			c.wantClosed()
			c.conn.Close()
		}
	}
	half.send(begun[20:]) // is answered
	if r := half.receive("PUT"); !r.closes {
		t.Errorf("answer %v to a request that had begun, want Connection: close", r)
	} else if _, _, ok := r.exchanged(); !ok {
		t.Errorf("answer %v to a request that had begun, want the exchange", r)
	}
	half.conn.Close()
	s.wantStopped(t, ended)
	if _, _, err := s.store.Validate(context.Background(), parse(t, tok), nil); err != nil {
		t.Errorf("a refused request has spent its token: %v", err)
	}
}

// A second after the listener has closed no request is waited for any more. One
// that has begun by then was not carried out, and says so.
func TestShutdownWaitsASecond(t *testing.T) {
	s := serve(t, Config{})
	idle, fresh, half := s.dial(t), s.dial(t), s.dial(t)
	idle.wantOpen()
	half.send(slow["body"])
	eventually(t, "all are let in", func() bool { return s.reaper.open() == 3 })
	start := time.Now()
	ended := s.stopping(t)
	half.wantRefusal(t)
	idle.wantClosed()
	fresh.wantClosed()
	s.wantStopped(t, ended)
	if took := time.Since(start); took < StopGrace || took > 5*StopGrace {
		t.Errorf("Shutdown took %v, want %v", took, StopGrace)
	}
}

// wantRefusal reads an answer that is the connection's last, and closes that.
func (c *client) wantRefusal(t testing.TB) {
	t.Helper()
	c.receive("PUT").wantRefusal(t, "StoreUnavailable")
	c.wantClosed()
	c.conn.Close()
}

func TestShutdownEndsEarly(t *testing.T) {
	for name, test := range map[string]struct {
		open func(t *testing.T, s *served)
		stop func(*Server, context.Context) error
	}{
		"without a connection":         {func(*testing.T, *served) {}, (*Server).Shutdown},
		"when the last one has closed": {func(t *testing.T, s *served) { s.wantWorking(t) }, (*Server).Shutdown},
		"at once": {func(t *testing.T, s *served) {
			s.dial(t).wantOpen()
			s.dial(t)
			eventually(t, "both are let in", func() bool { return s.reaper.open() == 2 })
		}, (*Server).ShutdownNow},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, Config{})
			test.open(t, s)
			start := time.Now()
			if err := test.stop(s.Server, context.Background()); err != nil {
				t.Errorf("Shutdown() = %v", err)
			}
			if took := time.Since(start); took > StopGrace/2 {
				t.Errorf("Shutdown took %v", took)
			}
		})
	}
}

// At the end of its context a Shutdown cuts off who takes no answers.
func TestShutdownCutsOff(t *testing.T) {
	store := newStore(t, shard.Config{})
	s := serve(t, Config{Store: store})
	c := s.dialSmall(t)
	text := ""
	for _, tok := range createMany(t, store, 400, strings.Repeat("x", 20000)) {
		text += requestText("POST", "/token/validate", tokenBody(string(tok.Append(nil))))
	}
	go c.conn.Write([]byte(text))
	eventually(t, "an answer blocks", func() bool { return s.reaper.doing(writing) == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), hurry)
	defer cancel()
	if err := s.Shutdown(ctx); err != context.DeadlineExceeded {
		t.Errorf("Shutdown() = %v, want %v", err, context.DeadlineExceeded)
	}
	eventually(t, "the connection is gone", func() bool { return s.reaper.open() == 0 })
	<-s.done
}

// doing counts the connections in a phase.
func (r *reaper) doing(p phase) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		if c.load().phase() == p {
			n++
		}
	}
	return n
}

func TestServeOnTwoListeners(t *testing.T) {
	s := serve(t, Config{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	second := &served{s.Server, ln.Addr().String(), make(chan error, 1)}
	go func() { second.done <- s.Serve(ln) }()
	s.wantWorking(t)
	second.wantWorking(t)
	s.shutdown(t)
	if err := <-second.done; err != nil {
		t.Errorf("Serve() = %v", err)
	}
	if _, err := net.Dial("tcp", second.addr); err == nil {
		t.Errorf("the second listener is still open")
	}
}

// Whatever is written after the listeners have closed, and however slowly it is
// taken, a stop ends within its time: each write has an end of its own, and all have
// one together.
func TestWritesOfAStopEnd(t *testing.T) {
	const answer, tick = 10 * time.Second, 500 * time.Millisecond
	tests := []struct {
		name  string
		write func(r *reaper, c *conn) // returns when it fails
	}{
		{"many, each in time", func(_ *reaper, c *conn) { writeUntilItFails(c, handling) }},
		{"the last of a late one", func(_ *reaper, c *conn) {
			time.Sleep(answer * 3 / 2)
			writeUntilItFails(c, late)
		}},
		{"lingering", func(r *reaper, c *conn) {
			time.Sleep(answer * 3 / 2)
			c.lingerLater(fully)
			time.Sleep(time.Until(c.lingerEnd))
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newReaper(Config{AnswerTimeout: answer}.withDefaults())
				ours, theirs := net.Pipe()
				c := &conn{Conn: theirs, reaper: r}
				r.add(c)
				r.begin()
				defer r.stop()
				var client sync.WaitGroup
				defer client.Wait()
				defer theirs.Close()
				client.Go(func() {
					for err := error(nil); err == nil; _, err = ours.Read(make([]byte, 1)) {
						time.Sleep(answer * 9 / 10)
					}
				})
				start := time.Now()
				r.beginStop()
				time.Sleep(answer / 2)
				r.beginStop() // once more changes nothing
				if test.write(r, c); time.Since(start) < stopAnswers*answer || time.Since(start) > stopAnswers*answer+2*tick+1 {
					t.Errorf("it ended after %v, want %v", time.Since(start), stopAnswers*answer)
				}
			})
		})
	}
}

func writeUntilItFails(c *conn, p phase) {
	for n, err := 0, error(nil); err == nil && n < 10; n++ {
		c.set(newStep(p, never))
		_, err = c.Write([]byte("x"))
	}
}
