package clock

import (
	"fmt"
	"sync"
	"time"
)

// Fake is a System for tests, whose clocks jump. It goes by the time of Go, which a
// bubble of testing/synctest can fake. Its wall clock begins with that.
type Fake struct {
	mu      sync.Mutex
	shift   time.Duration // that the wall clock is ahead
	slept   time.Duration
	boots   int
	started time.Time // of the boot
}

// NewFake returns a machine that was booted just now.
func NewFake() *Fake {
	f := new(Fake)
	f.Reboot()
	return f
}

// SetWall sets the wall clock forward.
func (f *Fake) SetWall(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shift += d
}

// Suspend has the machine sleep: Go's clock stands still, those of the boot and on
// the wall don't.
func (f *Fake) Suspend(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shift += d
	f.slept += d
}

// Reboot boots the machine again. A Clock of the boot before is of no use any more.
func (f *Fake) Reboot() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.boots++
	f.slept, f.started = 0, time.Now()
}

// Wall implements System.
func (f *Fake) Wall(now time.Time) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return now.Round(0).Add(f.shift)
}

// Slept implements System.
func (f *Fake) Slept() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.slept
}

// Boot implements System.
func (f *Fake) Boot() Boot {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Boot{ID: fmt.Sprintf("fake-%d", f.boots), Age: time.Since(f.started) + f.slept}
}
