package valkey

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// engineClock tells what an engine's clock shows, by its offset to ours. Of several primaries
// it goes by the one that is ahead: a deadline is then never too early for any of them.
type engineClock struct {
	start  time.Time    // ours, which is monotonic
	offset atomic.Int64 // milliseconds from ours to the engine's
}

func (c *engineClock) init() { c.start = time.Now() }

// local returns our clock, in milliseconds.
func (c *engineClock) local() int64 { return time.Since(c.start).Milliseconds() }

// now returns the engine's clock, in milliseconds.
func (c *engineClock) now() int64 { return c.local() + c.offset.Load() }

// set sets the offset that was measured. What is less than the error of a measurement changes
// nothing, so that what time it tells does not tremble.
func (c *engineClock) set(offset int64) {
	if was := c.offset.Load(); offset < was-offsetError || offset > was+offsetError {
		c.offset.Store(offset)
	}
}

// offsetError is how many milliseconds a measurement may be off.
const offsetError = 5

// correct takes in that the engine's clock shows now.
func (c *engineClock) correct(now int64) {
	offset := now - c.local()
	for old := c.offset.Load(); offset > old && !c.offset.CompareAndSwap(old, offset); {
		old = c.offset.Load()
	}
}

// deadlines gives out contexts for calls. Those of calls that begin within some milliseconds
// are the same, so that calls need no timers of their own.
type deadlines struct {
	timeout time.Duration
	base    context.Context
	start   time.Time

	mu     sync.Mutex
	latest atomic.Pointer[sharedDeadline]
}

// deadlineStep is how much later than its timeout a call may end.
const deadlineStep = 5 * time.Millisecond

type sharedDeadline struct {
	ctx    context.Context
	cancel context.CancelFunc
	step   int64
}

func (d *deadlines) init(base context.Context, timeout time.Duration) {
	d.base, d.timeout, d.start = base, timeout, time.Now()
}

// next returns a context that ends after the timeout.
func (d *deadlines) next() context.Context {
	step := int64((time.Since(d.start)+d.timeout)/deadlineStep) + 1
	if latest := d.latest.Load(); latest != nil && latest.step == step {
		return latest.ctx
	}
	return d.advance(step)
}

func (d *deadlines) advance(step int64) context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if latest := d.latest.Load(); latest != nil && latest.step >= step {
		return latest.ctx
	}
	ctx, cancel := context.WithDeadline(d.base, d.start.Add(time.Duration(step)*deadlineStep))
	d.latest.Store(&sharedDeadline{ctx, cancel, step})
	return ctx
}

// time returns the time here of a time of the engine's clock.
func (c *engineClock) time(engine time.Duration) time.Time {
	return c.start.Add(engine - time.Duration(c.offset.Load())*time.Millisecond)
}
