package server

import (
	"container/heap"
	"math"
	"slices"
	"time"
)

// keepServed is how long a connection that has served a request is not closed for
// a new one.
const keepServed = 10 * time.Second

// maxLooks is how many connections are looked at, at most, to find one that may be
// closed for a new one.
const maxLooks = 1000

// maxUnknownLooks is how many are, to find a request that is in our hands: each look is a
// system call.
const maxUnknownLooks = 64

// absent is the index of a connection that is not registered.
const absent = -1

// freshFirst puts connections that have sent nothing before those that have. They are
// numbered from it on.
const freshFirst = math.MinInt64 / 2

// exposedFirst puts connections whose callers are not known before all others, when they
// wait to be told so or are idle. They are numbered from it on.
const exposedFirst = math.MinInt64

// registry is a heap of connections: those that may be closed first for a new
// one are at its top. A key is when a connection went idle, at the latest as it
// was when somebody looked last: no request touches it. It is never later than
// the truth, so that a top that is too young to be closed ends the search.
type registry []*conn

func (g registry) Len() int           { return len(g) }
func (g registry) Less(i, j int) bool { return g[i].key < g[j].key }

func (g registry) Swap(i, j int) {
	g[i], g[j] = g[j], g[i]
	g[i].index, g[j].index = i, j
}

// Push implements heap.Interface.
func (g *registry) Push(x any) {
	c := x.(*conn)
	c.index = len(*g)
	*g = append(*g, c)
}

// Pop implements heap.Interface.
func (g *registry) Pop() any {
	last := len(*g) - 1
	c := (*g)[last]
	(*g)[last] = nil
	*g, c.index = (*g)[:last], absent
	return c
}

// keyOf returns the key for a connection that is at s: since when it is idle, or
// now if it is not. What has sent nothing keeps the key that it has.
func (r *reaper) keyOf(s step) int64 {
	switch s.phase() {
	case fresh, handshaking:
		return freshFirst // which moves no connection
	case delayed, idleUnknown:
		return exposedFirst // nor this
	case idle:
		return s.due() - int64(r.idle+r.tick)
	}
	return r.now.Load()
}

// letIn registers a new connection. Where there are as many as may be, it returns one that
// is shed for it, or does not let the new one in. Many that come at once with bad secrets
// would crowd a good one out, if it did not wait until they can be shed. Nobody waits for
// what clients have yet to send: they could hold up all others.
func (r *reaper) letIn(c *conn) (victim *conn, ok bool) {
	for r.clock()-c.born < unknownWait && c.stranger.Load() {
		if victim, ok = r.addSparing(c, youngTime); ok || !r.unknownSoon() {
			break
		}
		time.Sleep(unknownTick)
	}
	if !ok {
		victim, ok = r.add(c)
	}
	return victim, ok
}

// add is letIn that does not wait.
func (r *reaper) add(c *conn) (victim *conn, ok bool) { return r.addSparing(c, 0) }

// addSparing is add that closes no connection that came within a time.
func (r *reaper) addSparing(c *conn, spared time.Duration) (victim *conn, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.index = absent
	if r.closed {
		return nil, false
	}
	if r.max > 0 && len(r.conns) >= r.max {
		if victim = r.shedLocked(spared); victim == nil {
			return nil, false
		}
	}
	c.enter(c.firstPhase(), r.request)
	r.added++
	c.key = freshFirst + r.added
	heap.Push(&r.conns, c)
	return victim, true
}

// delay makes a connection the last of the exposed while its caller, who is not known,
// waits to be told so.
func (r *reaper) delay(c *conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.wake == nil {
		c.wake = make(chan struct{}, 1)
	}
	c.set(newStep(delayed, never))
	r.exposeLocked(c)
}

// exposeIdle lets a connection be idle whose caller is not known.
func (r *reaper) exposeIdle(c *conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.enter(idleUnknown, r.idle)
	r.exposeLocked(c)
}

// exposeLocked requires r.mu.
func (r *reaper) exposeLocked(c *conn) {
	if c.index == absent {
		return
	}
	r.exposed++
	c.key = exposedFirst + r.exposed
	heap.Fix(&r.conns, c.index)
}

// wakeUpLocked requires reaper.mu. It ends a delay, or the next one.
func (c *conn) wakeUpLocked() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// unknownSoon says whether a connection is about to be exposed, or to show that its caller
// is known: it came just now, and its request is in our hands.
func (r *reaper) unknownSoon() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	young := r.clock() - unknownWait
	return slices.ContainsFunc(r.conns[:min(maxUnknownLooks, len(r.conns))], func(c *conn) bool {
		return c.born > young && c.stranger.Load() && c.isInOurHands()
	})
}

// isInOurHands says whether it is for us to go on with a request, and not for the client.
func (c *conn) isInOurHands() bool {
	switch c.load().phase() {
	case handling:
		return true
	case fresh, handshaking, reading:
		return unread(c.Conn) > 0
	}
	return false
}

// shedOne sheds a connection that gets no time, if there is one that may be closed
// for a new one.
func (r *reaper) shedOne() *conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.victimLocked(0)
	if c != nil {
		r.removeLocked(c)
	}
	return c
}

// shedLocked requires r.mu. It sheds a connection, if there is one that may be
// closed for a new one, and gives it time if that can be had.
func (r *reaper) shedLocked(spared time.Duration) *conn {
	c := r.victimLocked(spared)
	if c == nil {
		return nil
	}
	c.told = r.beginRefusalLocked(c.Conn)
	r.removeLocked(c)
	return c
}

// victimLocked requires r.mu. It finds the connection to close for a new one: that whose
// caller is not known, and was for longest, else the oldest that has sent nothing, if it
// came before the time that is spared, else that which is idle for longest, if that is
// longer than keepServed. It is shed then: a request that comes at this very
// moment is not carried out. What has come and was not read yet, since the process
// is slow or stood still, counts as sent. Each look moves a connection to its place,
// and it is looked at again after keepServed at the earliest, so that many searches
// in vain cost little.
func (r *reaper) victimLocked(spared time.Duration) *conn {
	young := r.now.Load() - int64(keepServed) - r.slack()
	for range min(maxLooks, len(r.conns)) {
		c := r.conns[0]
		if c.key >= young || c.isYoung(spared) {
			return nil
		}
		s := c.load()
		key := r.keyOf(s)
		if key <= c.key && s.phase() != delayed && unread(c.Conn) > 0 {
			key = r.now.Load()
		}
		if key > c.key {
			c.key = key
			heap.Fix(&r.conns, 0)
		} else if c.claim(s, shed) {
			c.waiting = s.phase() == delayed
			return c
		}
	}
	return nil
}

// isYoung says whether a connection that has sent nothing was accepted within a time. The
// next ones are younger still: fresh ones are in the order in which they came.
func (c *conn) isYoung(d time.Duration) bool {
	return c.key >= freshFirst && c.reaper.clock()-c.born < d
}

// slack is how much older a connection may look than it is, since the time is
// that of the last tick.
func (r *reaper) slack() int64 { return int64(lateTicks * r.tick) }

// rekeyLocked requires r.mu. It brings the keys up to date that are too old to say
// that their connections can't be closed.
func (r *reaper) rekeyLocked() {
	young, moved := r.now.Load()-int64(keepServed), false
	for _, c := range r.conns {
		if c.key >= young {
			continue
		}
		if key := r.keyOf(c.load()); key > c.key {
			c.key, moved = key, true
		}
	}
	if moved {
		heap.Init(&r.conns)
	}
}

// remove forgets a connection that has closed.
func (r *reaper) remove(c *conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.told {
		delete(r.refused, c.Conn)
	}
	r.removeLocked(c)
}

// removeLocked requires r.mu.
func (r *reaper) removeLocked(c *conn) {
	if c.index != absent {
		heap.Remove(&r.conns, c.index)
	}
	r.signalEmptyLocked()
}

// signalEmptyLocked requires r.mu.
func (r *reaper) signalEmptyLocked() {
	if len(r.conns)+len(r.refused) > 0 {
		return
	}
	select {
	case r.emptied <- struct{}{}:
	default:
	}
}

// release takes a connection that is about to linger out of the reaper's care.
// No deadline of the reaper's follows. It returns false if the connection is dead.
func (r *reaper) release(c *conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.set(newStep(late, never)) != dead
}

// open returns how many connections there are, with those that are being refused.
func (r *reaper) open() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.conns) + len(r.refused)
}
