package server

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"tokenserver/shard"
)

// requestOn returns the context of a request on a connection.
func requestOn(c net.Conn, text string) *fasthttp.RequestCtx {
	ctx := new(fasthttp.RequestCtx)
	ctx.Init2(c, nil, false)
	ctx.Request.SetBodyString(text)
	return ctx
}

// At a stop a client that is refused may have answers to read that came before.
func TestRefusedLinger(t *testing.T) {
	s := New(Config{Store: newStore(t, shard.Config{})})
	for _, want := range []lingering{briefly, fully} {
		c := &conn{Conn: nothingConn{}, reaper: s.reaper}
		if s.lingerRefused(requestOn(c, "")); c.linger != want {
			t.Errorf("draining %v: lingering %d, want %d", s.draining.Load(), c.linger, want)
		}
		s.Drain()
	}
}

// Answers that are still under way when a stop closes their connection arrive,
// although the client goes on to send and takes its time to read.
func TestStopWaitsForAnswersUnderWay(t *testing.T) {
	knowsUnread(t)
	t.Parallel()
	client, server := tcpPair(t)
	client.SetDeadline(time.Now().Add(patience))
	r := newReaper(Config{}.withDefaults())
	c := &conn{Conn: server, reaper: r}
	r.add(c)
	server.SetWriteDeadline(time.Now().Add(hurry))
	written, _ := io.Copy(server, io.LimitReader(zeros{}, 64<<20)) // until nothing more fits
	server.SetWriteDeadline(time.Time{})
	r.beginStop()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		c.Close()
	}()
	for start := time.Now(); time.Since(start) < lingerTime+hurry; time.Sleep(lingerTime / 20) {
		if _, err := io.WriteString(client, "x"); err != nil {
			t.Fatalf("the connection was reset after %v: %v", time.Since(start), err)
		}
	}
	got, err := io.Copy(io.Discard, client)
	if got != written || err != nil {
		t.Errorf("%d bytes arrived, error %v, want %d", got, err, written)
	}
	client.Close()
	<-closed
}

// zeros is an endless source.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A connection that is dead serves nobody and waits for nobody.
func TestDeadConnection(t *testing.T) {
	s := New(Config{Store: panicking{}})
	e := new(endless)
	c := &conn{Conn: e, reaper: s.reaper}
	s.reaper.add(c)
	c.lingerLater(fully)
	c.set(newStep(dead, never))
	s.reaper.stateChanged(c, fasthttp.StateActive)
	ctx := requestOn(c, tokenBody(somewhere))
	if s.handle(ctx); !bytes.HasSuffix(ctx.Response.Body(), []byte(`"done":false}`)) || !ctx.Response.ConnectionClose() {
		t.Errorf("answer %s, want that nothing was carried out, and that the connection closes", &ctx.Response)
	}
	if c.Close(); !e.closed || e.read > 0 || e.halfClosed {
		t.Errorf("closed %v, %d bytes read, half closed %v, want it closed at once", e.closed, e.read, e.halfClosed)
	}
}

// What could not be written ends the connection.
func TestFailedWriteEndsTheConnection(t *testing.T) {
	ours, theirs := net.Pipe()
	ours.Close()
	c := &conn{Conn: theirs, reaper: newReaper(Config{}.withDefaults())}
	if _, err := c.Write([]byte("x")); err == nil || c.load().phase() != dead {
		t.Errorf("Write() = %v, phase %d, want an error and %d", err, c.load().phase(), dead)
	}
}

// lockLooker is a connection that looks at its close whether others may go on.
type lockLooker struct {
	net.Conn
	r    *reaper
	free bool
}

func (l *lockLooker) Close() error {
	if l.free = l.r.mu.TryLock(); l.free {
		l.r.mu.Unlock()
	}
	return nil
}

// What is cut off carries nothing out any more, and nobody is held up meanwhile: a
// close may wait for who reads.
func TestCutAll(t *testing.T) {
	r := newReaper(Config{}.withDefaults())
	let, refused := &lockLooker{r: r}, &lockLooker{r: r}
	c := &conn{Conn: let, reaper: r}
	r.add(c)
	r.beginRefusal(refused)
	if r.cutAll(); !let.free || !refused.free {
		t.Errorf("while connections were closed the lock was free: %v and %v, want both", let.free, refused.free)
	}
	if err := requestRead(requestOn(c, "")); err != errStopping {
		t.Errorf("request after that: %v, want %v", err, errStopping)
	}
	if _, ok := r.add(&conn{Conn: nothingConn{}, reaper: r}); ok {
		t.Error("after that a connection is let in")
	}
}
