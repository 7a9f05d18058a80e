package server

import (
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// reaper ends what takes too long on connections. To set a deadline before each
// read and write, as fasthttp does if it is told to, costs as much as an
// exchange; here a request costs four atomic swaps, and one goroutine looks at all
// connections every now and then. A connection is therefore ended up to two ticks
// late.
type reaper struct {
	request, answer, idle time.Duration
	tick                  time.Duration
	log                   *slog.Logger

	start time.Time
	clock func() time.Duration // since start
	// now is the time as of the last tick, in nanoseconds. While the process is
	// paused it stands still: see advance.
	now atomic.Int64

	last   time.Duration // what clock said at the last tick
	paused bool          // the last tick came late

	max     int        // connections, or 0
	mu      sync.Mutex // guards what follows
	conns   registry
	added   int64                 // connections, in all
	exposed int64                 // times that a connection became the last of the exposed
	refused map[net.Conn]struct{} // being told that there are too many
	closed  bool                  // no connection is let in any more
	emptied chan struct{}         // has room for one: the last connection has gone

	badHandshakes atomic.Uint64 // of TLS

	stopping atomic.Bool // the listeners have closed
	// From then on there is one end to all writing: as now has it, or never, and as a
	// time, or nil.
	writesDue atomic.Int64
	writesEnd atomic.Pointer[time.Time]

	started sync.Once
	stopped sync.Once
	done    chan struct{}
}

// The reaper looks at connections this many times in the shortest time-out, but
// not more often than minTick. A tick that comes more than lateTicks after the
// last one was held up.
const (
	ticksPerTimeout = 20
	minTick         = 5 * time.Millisecond
	lateTicks       = 3
)

// newReaper takes time-outs, limit and logger from cfg.
func newReaper(cfg Config) *reaper {
	start := time.Now()
	r := &reaper{
		request: cfg.RequestTimeout, answer: cfg.AnswerTimeout, idle: cfg.IdleTimeout,
		tick:    max(min(cfg.RequestTimeout, cfg.AnswerTimeout, cfg.IdleTimeout)/ticksPerTimeout, minTick),
		log:     cfg.Logger,
		start:   start,
		clock:   func() time.Duration { return time.Since(start) },
		max:     cfg.MaxConnections,
		refused: make(map[net.Conn]struct{}),
		emptied: make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
	r.writesDue.Store(never)
	return r
}

// begin lets the reaper run until stop.
func (r *reaper) begin() { r.started.Do(func() { go r.run() }) }
func (r *reaper) stop()  { r.stopped.Do(func() { close(r.done) }) }

func (r *reaper) run() {
	ticker := time.NewTicker(r.tick)
	defer ticker.Stop()
	for {
		select {
		case <-r.done:
			return
		case <-ticker.C:
			r.reapOnce()
		}
		if r.paused { // the next tick might follow at once
			ticker.Reset(r.tick)
		}
	}
}

// reapOnce outlives a panic: without the reaper connections would be held for ever.
func (r *reaper) reapOnce() {
	defer recovering(r.log)
	r.reap()
}

func (r *reaper) reap() {
	r.advance()
	now := r.now.Load()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.expire(now)
	}
	if r.max > 0 {
		r.rekeyLocked()
	}
}

// advance lets the time go on by what has passed since the last tick. A tick
// that comes late says that the process was paused: what clients have sent
// meanwhile has yet to be read. Then no time has passed. If one late tick follows
// another, it is the machine that is slow, and time has to go on.
func (r *reaper) advance() {
	now := r.clock()
	passed, limit := now-r.last, lateTicks*r.tick
	r.last = now
	switch {
	case passed <= limit:
		r.paused = false
	case r.paused:
		passed = limit
	default:
		r.paused, passed = true, 0
	}
	r.now.Add(int64(passed))
}

// due returns when something has to be done that may take d. The time of the
// last tick may be a tick ago.
func (r *reaper) due(d time.Duration) int64 { return r.now.Load() + int64(d+r.tick) }

// answerDue returns when an answer has to be written whose time begins now.
func (r *reaper) answerDue() int64 { return min(r.due(r.answer), r.writesDue.Load()) }

// answerEnd is answerDue as a time.
func (r *reaper) answerEnd() time.Time {
	end := time.Now().Add(r.answer)
	if last := r.writesEnd.Load(); last != nil {
		end = earlier(end, *last)
	}
	return end
}

// stateChanged is told by fasthttp when a request begins and when it has been answered.
func (r *reaper) stateChanged(nc net.Conn, state fasthttp.ConnState) {
	c, ok := nc.(*conn)
	if !ok {
		return
	}
	switch state {
	case fasthttp.StateActive:
		c.begun, c.refused = true, r.stopping.Load()
		c.enter(reading, r.request)
	case fasthttp.StateIdle:
		if c.stranger.Load() {
			r.exposeIdle(c)
		} else {
			c.enter(idle, r.idle)
		}
	}
}
