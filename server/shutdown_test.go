package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"tokenserver/shard"
)

// inFlight is a server with a request that waits in the store.
func inFlight(t *testing.T) (s *served, c *client, release func()) {
	store := newMishap(t)
	s = serve(t, Config{Store: store})
	c = s.dial(t)
	tok := c.create(`{}`)
	entered, blocked := make(chan struct{}), make(chan struct{})
	store.set(func(string) error {
		close(entered)
		<-blocked
		return nil
	})
	c.send(requestText("PUT", "/token", tokenBody(tok)))
	<-entered
	release = sync.OnceFunc(func() { close(blocked) })
	t.Cleanup(release)
	return s, c, release
}

func TestShutdownAnswersWhatIsInFlight(t *testing.T) {
	s, c, release := inFlight(t)
	ended := make(chan struct{})
	go func() {
		s.shutdown(t)
		close(ended)
	}()
	eventually(t, "the listener closes", func() bool {
		conn, err := net.Dial(networkOfTests(), s.addr)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	select {
	case <-ended:
		t.Fatal("Shutdown did not wait for the request in flight")
	default:
	}
	release()
	r := c.receive("PUT")
	if _, _, ok := r.exchanged(); !ok || !r.closes {
		t.Errorf("answer %v, closes %v, want the exchange, and the connection closed", r, r.closes)
	}
	c.wantClosed()
	c.conn.Close()
	<-ended
}

func TestShutdownGivesUp(t *testing.T) {
	s, _, release := inFlight(t)
	ctx, cancel := context.WithTimeout(context.Background(), hurry)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown() = %v, want %v", err, context.DeadlineExceeded)
	}
	release()
	if err := <-s.done; err != nil {
		t.Errorf("Serve() = %v", err)
	}
}

func TestShutdownClosesIdleConnections(t *testing.T) {
	s := serve(t, Config{})
	clients := make([]*client, 20)
	for i := range clients {
		clients[i] = s.dial(t)
		clients[i].wantOpen()
	}
	start := time.Now()
	s.shutdown(t)
	for _, c := range clients {
		c.wantClosed()
	}
	if took := time.Since(start); took > patience/4 {
		t.Errorf("Shutdown with idle connections took %v", took)
	}
	if _, err := net.Dial("tcp", s.addr); err == nil {
		t.Errorf("connections are still accepted after Shutdown")
	}
}

func TestShutdownDrains(t *testing.T) {
	s := serve(t, Config{})
	s.shutdown(t)
	if !s.draining.Load() {
		t.Errorf("after Shutdown the server is not draining")
	}
}

// A stop may come while the start is still under way.
func TestServeAfterShutdown(t *testing.T) {
	s := New(Config{Store: newStore(t, shard.Config{}), Logger: slog.New(slog.DiscardHandler)})
	if err := s.Shutdown(context.Background()); err != nil {
		t.Errorf("Shutdown() = %v", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(ln); err != nil {
		t.Errorf("Serve() = %v", err)
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Errorf("the listener is still open")
	}
}

func TestShutdownLeavesNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	store := shard.New(shard.Config{Shards: 1})
	s := serve(t, Config{Store: store, Dump: true})
	c := s.dial(t)
	c.exchange(c.create(`{}`), "")
	c.dump()
	c.do("PUT", "/token", "x").wantError(t, 400, "MalformedJSON")
	broken := s.dial(t)
	broken.send(brokenHTTP["no Host"])
	broken.wantRefused("no Host", 400, "BadRequest")
	s.shutdown(t)
	store.Close()
	goleak.VerifyNone(t, append(ignored, before)...)
}

// shortListener is a listener that file descriptors run out for.
type shortListener struct {
	net.Listener
	mu     sync.Mutex
	errors []error
}

func (l *shortListener) Accept() (net.Conn, error) {
	if err := l.next(); err != nil {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", err)}
	}
	return l.Listener.Accept()
}

// next takes the next error, if there is one.
func (l *shortListener) next() (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.errors) > 0 {
		err, l.errors = l.errors[0], l.errors[1:]
	}
	return err
}

func TestShortageOfDescriptorsIsOutlived(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log logBuffer
	s := New(Config{Store: newStore(t, shard.Config{}), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	short := &shortListener{Listener: ln, errors: []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM}}
	sv := &served{s, ln.Addr().String(), make(chan error, 1)}
	go func() { sv.done <- s.Serve(short) }()
	sv.wantWorking(t)
	sv.shutdown(t)
	if got := strings.Count(log.String(), "level=WARN"); got != 1 { // all within a second
		t.Errorf("log has %d warnings, want 1: %s", got, log.String())
	}
}

func (l *shortListener) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errors = append(l.errors, err)
}

// If descriptors have run out, those who have sent nothing make room, each for a
// new one.
func TestShortageOfDescriptorsMakesRoom(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	short := &shortListener{Listener: ln}
	s := &served{New(Config{Store: newStore(t, shard.Config{}), Logger: slog.New(slog.DiscardHandler)}), ln.Addr().String(), make(chan error, 1)}
	go func() { s.done <- s.Serve(short) }()
	defer s.shutdown(t)
	working, oldest, silent := s.letIn(t), s.letIn(t), s.letIn(t)
	working.wantOpen()
	short.fail(syscall.EMFILE)
	s.letIn(t).wantOpen()
	wantClean(t, oldest.conn)
	silent.wantOpen()
	s.makeRoom(syscall.EMFILE) // nobody is left who may be closed
	for _, c := range []*client{working, silent} {
		c.wantOpen()
	}
	if got := s.Stats().Shed; got != 1 {
		t.Errorf("%d connections were shed, want 1", got)
	}
}

// alwaysShort is a listener without descriptors, until the server ends.
type alwaysShort struct {
	net.Listener
	done chan struct{}
}

func (l alwaysShort) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
		return nil, syscall.EMFILE
	}
}

// A shortage holds up no stop.
func TestStopInAShortage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Store: panicking{}, Logger: slog.New(slog.DiscardHandler)})
		l := listener{Listener: alwaysShort{done: s.reaper.done}, s: s}
		accepted := make(chan error, 1)
		go func() {
			_, err := l.Accept()
			accepted <- err
		}()
		time.Sleep(time.Hour + maxAcceptDelay/2)
		s.reaper.stop()
		start := time.Now()
		if err := <-accepted; !errors.Is(err, net.ErrClosed) || time.Since(start) > 0 {
			t.Errorf("Accept() = %v after %v, want %v at once", err, time.Since(start), net.ErrClosed)
		}
	})
}

func TestBrokenListenerEndsServe(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(Config{Store: newStore(t, shard.Config{}), Logger: slog.New(slog.DiscardHandler)})
	defer s.Shutdown(context.Background())
	broken := &shortListener{Listener: ln, errors: []error{syscall.EINVAL}}
	if err := s.Serve(broken); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("Serve() = %v, want %v", err, syscall.EINVAL)
	}
}
