package server

import (
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// reaper ends what takes too long on connections. To set a deadline before each
// read and write, as fasthttp does if it is told to, costs as much as an
// exchange; here a request costs two or three atomic stores, and one goroutine
// looks at all connections every now and then. A connection is therefore ended
// up to two ticks late.
type reaper struct {
	request, answer, idle time.Duration
	tick                  time.Duration
	start                 time.Time
	now                   atomic.Int64 // nanoseconds since start, as of the last tick

	mu    sync.Mutex // guards conns
	conns map[*conn]struct{}

	once sync.Once
	done chan struct{}
}

// The reaper looks at connections this many times in the shortest time-out, but
// not more often than minTick.
const (
	ticksPerTimeout = 20
	minTick         = 5 * time.Millisecond
)

func newReaper(request, answer, idle time.Duration) *reaper {
	return &reaper{
		request: request, answer: answer, idle: idle,
		tick:  max(min(request, answer, idle)/ticksPerTimeout, minTick),
		start: time.Now(),
		conns: make(map[*conn]struct{}),
		done:  make(chan struct{}),
	}
}

// run looks at all connections until stop.
func (r *reaper) run() {
	ticker := time.NewTicker(r.tick)
	defer ticker.Stop()
	for {
		select {
		case <-r.done:
			return
		case <-ticker.C:
			r.reap()
		}
	}
}

func (r *reaper) stop() { r.once.Do(func() { close(r.done) }) }

func (r *reaper) reap() {
	now := int64(time.Since(r.start))
	r.now.Store(now)
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		c.expire(now)
	}
}

func (r *reaper) add(c *conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.allow(r.request)
	r.conns[c] = struct{}{}
}

func (r *reaper) remove(c *conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

// stateChanged is told by fasthttp when a request begins and when it has been answered.
func (r *reaper) stateChanged(nc net.Conn, state fasthttp.ConnState) {
	c, ok := nc.(*conn)
	if !ok {
		return
	}
	switch state {
	case fasthttp.StateActive:
		c.allow(r.request)
	case fasthttp.StateIdle:
		c.allow(r.idle)
	}
}

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
