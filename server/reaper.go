package server

import (
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
