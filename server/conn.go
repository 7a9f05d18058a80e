package server

import (
	"io"
	"math"
	"net"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// conn is a connection that the reaper watches, and that can be closed such
// that its last answer arrives.
type conn struct {
	net.Conn
	reaper  *reaper
	due     atomic.Int64 // when the present step has to be done, or unwatched or expired
	writing atomic.Bool
	linger  atomic.Bool // set by the connection's goroutine; Shutdown may close it too
}

// What a connection's due may be beside a time.
const (
	unwatched = math.MaxInt64 - iota // its request is being answered, which takes what it takes
	expired                          // its time was over: it has to be closed
)

// allow gives the connection d for its next step. The time of the last tick may
// be a tick ago.
func (c *conn) allow(d time.Duration) {
	c.setDue(c.reaper.now.Load() + int64(d+c.reaper.tick))
}

// setDue sets due and returns whether the time was over before. That stays so:
// a deadline in the past is set.
func (c *conn) setDue(due int64) (wasExpired bool) {
	if c.due.Swap(due) != expired {
		return false
	}
	c.due.Store(expired)
	return true
}

// expire ends the read or write that takes too long. A request that was not
// read in time can still be answered.
//
// What is being done is looked at before due: a step that begins in between
// changes due, and the claim fails.
//
//  1. reap: the connection is reading, and due is over.
//  2. The request's last byte arrives: requestRead sets due to unwatched.
//  3. reap: due is not what it was, so the connection is left alone.
//
// In the other order the claim stays, and the connection ends with its answer:
//
//  1. reap: due was over, and is expired now.
//  2. requestRead finds it expired, puts that back, and asks for the close.
//  3. reap sets a deadline in the past for reads; the answer is written all the same.
func (c *conn) expire(now int64) {
	writing, due := c.writing.Load(), c.due.Load()
	if due >= now || !c.due.CompareAndSwap(due, expired) {
		return
	}
	past := time.Unix(1, 0)
	if writing {
		c.SetWriteDeadline(past)
	} else {
		c.SetReadDeadline(past)
	}
}

// requestRead tells that a request was read and is about to be answered. If
// its time was over by then, the connection can't serve another one.
func requestRead(ctx *fasthttp.RequestCtx) {
	if c, ok := ctx.Conn().(*conn); ok && c.setDue(unwatched) {
		ctx.SetConnectionClose()
	}
}

// Write writes an answer, or what was gathered of several.
func (c *conn) Write(b []byte) (int, error) {
	c.allow(c.reaper.answer)
	c.writing.Store(true)
	defer c.writing.Store(false)
	return c.Conn.Write(b)
}

// What a client may still send, and for how long, after it was refused.
const (
	lingerBytes = 1 << 20
	lingerTime  = time.Second
)

// lingerAfter lets the connection of a refused request linger. Closed with
// unread input, a socket resets the connection, and the client might lose the
// answer that tells why.
func lingerAfter(ctx *fasthttp.RequestCtx) {
	if c, ok := ctx.Conn().(*conn); ok {
		c.linger.Store(true)
	}
}

// Close closes the connection.
func (c *conn) Close() error {
	c.reaper.remove(c)
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && c.linger.Load() && half.CloseWrite() == nil {
		c.SetReadDeadline(time.Now().Add(lingerTime))
		io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
	return c.Conn.Close()
}
