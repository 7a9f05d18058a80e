// Package clock has a clock for all time that passes, also while the machine sleeps,
// and whatever happens to the wall clock.
//
// # Basics
//
// A [Clock] tells [Timestamp] values: Go's monotonic clock, and how long the machine
// has slept. It looks at that every second, so that Now makes no system call for it.
// A timestamp is turned into the time of day only when somebody asks, by the wall
// clock of that moment.
//
// # Caveats
//
// After a wake-up the time that the machine has slept is seen a second late at most.
// Where the system does not tell it, which is everywhere but on Linux, it does not
// count.
package clock

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tokenserver/internal/stack"
)

// Timestamp is a point in time on a Clock: nanoseconds since its zero, which is just
// before the Clock was made. 0 can stand for none.
type Timestamp int64

// Add returns the timestamp d later.
func (t Timestamp) Add(d time.Duration) Timestamp { return t + Timestamp(d) }

// Sub returns the time from u to t.
func (t Timestamp) Sub(u Timestamp) time.Duration { return time.Duration(t - u) }

// LookInterval is the time between two looks at how long the machine has slept.
const LookInterval = time.Second

// noise is what two clocks that are read one after the other may differ by although
// the machine has not slept.
const noise = time.Millisecond

// start is the first timestamp of a Clock, so that none is 0.
const start = 1

// Clock tells the time. Its methods may be called by any number of goroutines.
type Clock struct {
	system  System
	zero    time.Time     // of the timestamps
	before  time.Duration // that the machine had slept at zero
	slept   atomic.Int64  // nanoseconds that it has slept since
	boot    Boot
	looking sync.Mutex // held while slept and last are updated
	last    atomic.Pointer[Moment]
	// followsWall says that there is no clock but the wall clock.
	followsWall bool

	closing chan struct{}
	closed  sync.WaitGroup
}

// New makes a Clock of a System. Nil means the real one. It must be closed.
func New(system System) *Clock {
	c := &Clock{closing: make(chan struct{})}
	if c.system = system; system == nil {
		c.system = real{}
		c.followsWall = !isMonotonic(time.Now())
	}
	c.before = c.system.Slept()
	c.boot = c.system.Boot()
	c.zero = time.Now().Add(-start)
	c.boot.Age -= start
	c.look()
	if !c.followsWall {
		c.closed.Go(c.lookLoop)
	}
	return c
}

// Close ends the looks. The Clock goes on.
func (c *Clock) Close() {
	close(c.closing)
	c.closed.Wait()
}

// Now returns the present timestamp. It never goes back.
func (c *Clock) Now() Timestamp { return Timestamp(int64(time.Since(c.zero)) + c.slept.Load()) }

// Moment is a reading of a Clock and of the wall clock at once.
type Moment struct {
	Timestamp Timestamp
	wall      time.Time
}

// Read reads the Clock and the wall clock.
func (c *Clock) Read() Moment {
	now := time.Now()
	return Moment{Timestamp: Timestamp(int64(now.Sub(c.zero)) + c.slept.Load()), wall: c.system.Wall(now)}
}

// Last returns the moment of the last look, without a system call. In it the wall
// clock is set as it was LookInterval ago at most.
func (c *Clock) Last() Moment { return *c.last.Load() }

// Time returns what the wall clock, as it was set at the moment, says at a timestamp.
func (m Moment) Time(t Timestamp) time.Time { return m.wall.Add(t.Sub(m.Timestamp)) }

// Time returns what the wall clock, as it is set now, says at a timestamp.
func (c *Clock) Time(t Timestamp) time.Time { return c.Read().Time(t) }

// WallZero returns what the wall clock, as it is set now, says at timestamp 0, in
// nanoseconds since 1970.
func (c *Clock) WallZero() int64 {
	c.look() // the wall clock knows already for how long the machine has slept
	return c.Read().Time(0).UnixNano()
}

// Boot returns the boot that the Clock was made in, with its age at timestamp 0.
func (c *Clock) Boot() Boot { return c.boot }

// FollowsWall says that the wall clock is all there is, as in a test with a fake
// clock: what it says of a timestamp does not change.
func (c *Clock) FollowsWall() bool { return c.followsWall }

func (c *Clock) lookLoop() {
	ticker := time.NewTicker(LookInterval)
	defer ticker.Stop()
	for {
		select {
		case <-c.closing:
			return
		case <-ticker.C:
			c.lookOnce()
		}
	}
}

// lookOnce outlives a panic: the next look may do better.
func (c *Clock) lookOnce() {
	defer func() {
		if p := recover(); p != nil {
			slog.Error("recovered panic", "panic", fmt.Sprint(p), "stack", string(stack.Current()))
		}
	}()
	c.look()
}

// look looks at how long the machine has slept, and at the wall clock.
func (c *Clock) look() {
	c.looking.Lock()
	defer c.looking.Unlock()
	if slept := c.system.Slept() - c.before; slept > time.Duration(c.slept.Load())+noise {
		c.slept.Store(int64(slept))
	}
	now := c.Read()
	c.last.Store(&now)
}
