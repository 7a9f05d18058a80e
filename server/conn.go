package server

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// conn is a connection that the reaper watches, and that can be closed such
// that its last answer arrives. It wraps whatever Accept returns.
type conn struct {
	net.Conn
	tls    *tls.Conn // under it, or nil
	reaper *reaper
	step   atomic.Int64 // a step
	// stranger says that its caller is not known, by the last request that asked.
	stranger atomic.Bool
	born     time.Duration // when it was accepted, as reaper.clock has it

	// Of the goroutine that serves the connection.
	agreed    bool // the handshake of TLS is done
	caller    caller
	begun     bool // a byte of a request has come
	refused   bool // the present request began after the listeners had closed
	lastWrite bool // it was late or shed, and the time for its last answer runs
	linger    lingering
	lingerEnd time.Time

	// Guarded by reaper.mu.
	index int   // in reaper.conns, or absent
	key   int64 // its place there: see keyOf
	told  bool  // it is shed, and gets time to send its request and to be told
	// wake ends the delay of a caller who is not known; nil before the first. waiting
	// says that the connection was shed during that.
	wake    chan struct{}
	waiting bool
}

func (c *conn) load() step { return step(c.step.Load()) }

// claim ends a step, unless the connection has gone on to another one.
func (c *conn) claim(s step, end phase) bool {
	return c.step.CompareAndSwap(int64(s), int64(newStep(end, never)))
}

// enter begins a step that may take d, and returns what the connection did before.
func (c *conn) enter(p phase, d time.Duration) (before phase) {
	return c.set(newStep(p, c.reaper.due(d)))
}

func (c *conn) set(s step) (before phase) {
	old := step(c.step.Swap(int64(s)))
	if old.over() {
		c.step.Store(int64(old))
	}
	return old.phase()
}

// past is a deadline that ends what is being done.
var past = time.Unix(1, 0)

// expire ends the read or write that takes too long.
func (c *conn) expire(now int64) {
	if s := c.load(); !s.over() && s.due() < now {
		c.end(s)
	}
}

// end ends a step that is under way. What is claimed is what was seen: a
// connection that has gone on is left alone.
//
//  1. end: the connection is reading, and too slow.
//  2. The request's last byte arrives, and the connection is handling.
//  3. end: the claim fails.
//
// In the other order the claim stays, and the connection ends with its answer:
//
//  1. end: the connection is late.
//  2. requestRead finds it late, and asks for the close.
//  3. end sets a deadline in the past for reads. Whoever writes the answer finds
//     the connection late, and sets a deadline for that.
//
// A connection whose client takes no answers is dead in both directions, since
// the write that was too slow may be done by now. So is one in the middle of a
// handshake, which writes while it reads.
func (c *conn) end(s step) {
	both := s.phase() == writing || s.phase() == handshaking
	switch {
	case !both && c.claim(s, late):
		c.SetReadDeadline(past)
	case both && c.claim(s, dead):
		c.SetWriteDeadline(past)
		c.SetReadDeadline(past)
	}
}

// requestRead tells that a request was read and is about to be answered. If the
// connection's time was over by then, it can't serve another one, and if nobody
// would get the answer, not even this one; nor if its connection is shed or the
// server stops. Then it returns why.
func requestRead(ctx *fasthttp.RequestCtx) error {
	c, ours := ctx.Conn().(*conn)
	if !ours {
		return nil
	}
	c.caller.name = ""
	switch c.set(newStep(handling, never)) {
	case late:
		closeAfter(ctx)
	case shed:
		ctx.SetConnectionClose()
		lingerAfter(ctx, briefly)
	case dead:
		ctx.SetConnectionClose()
		return errStopping
	}
	return c.refusal()
}

// refusalOf returns why a request is refused that is being read, or nil.
func refusalOf(ctx *fasthttp.RequestCtx) error {
	if c, ok := ctx.Conn().(*conn); ok {
		return c.refusal()
	}
	return nil
}

func (c *conn) refusal() error {
	switch {
	case c.refused:
		return errStopping
	case c.load().phase() == shed:
		return errCrowded
	}
	return nil
}

// Read hides that the time of a connection is over that has sent nothing: a
// client would take a 408 for the answer to its first request.
func (c *conn) Read(b []byte) (int, error) {
	if c.tls != nil && !c.agreed {
		if err := c.handshake(); err != nil {
			return 0, err
		}
	}
	n, err := c.Conn.Read(b)
	if err != nil && !c.begun && errors.Is(err, os.ErrDeadlineExceeded) {
		return n, io.EOF
	}
	return n, err
}

// Write writes an answer, or what was gathered of several. In the middle of a
// request, as after "Expect: 100-continue", the rest of that gets its time anew.
func (c *conn) Write(b []byte) (int, error) {
	before := c.set(newStep(writing, c.reaper.answerDue()))
	if before == late || before == shed {
		c.limitLastWrite()
	}
	n, err := c.Conn.Write(b)
	switch {
	case err != nil:
		c.step.Store(int64(newStep(dead, never)))
	case before == reading:
		c.enter(reading, c.reaper.request)
	}
	return n, err
}

// limitLastWrite gives the last answer of a connection that was late or shed its
// time, once: the reaper looks at it no more.
func (c *conn) limitLastWrite() {
	if !c.lastWrite {
		c.lastWrite = true
		c.SetWriteDeadline(c.reaper.answerEnd())
	}
}

// Close closes the connection, whatever happens.
func (c *conn) Close() (err error) {
	defer recovering(c.reaper.log)
	defer c.reaper.remove(c)
	if c.load().phase() == dead {
		return cut(c.Conn)
	}
	defer func() { err = c.Conn.Close() }()
	c.drain()
	return nil
}

// cut closes the connection at once, from any goroutine: what it is doing fails.
// What lies under a layer such as TLS is closed without a farewell, which might
// have to wait.
func cut(nc net.Conn) error {
	if layered, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = layered.NetConn()
	}
	return nc.Close()
}

// isLayered reports whether a connection lies over another one, as with TLS.
func isLayered(nc net.Conn) bool {
	_, ok := nc.(interface{ NetConn() net.Conn })
	return ok
}
