package clock

import "time"

// System is what a Clock reads of the operating system.
type System interface {
	// Wall returns what the wall clock says at a reading of Go's clock.
	Wall(now time.Time) time.Time
	// Slept returns for how long the machine has slept since it was booted.
	Slept() time.Duration
	// Boot returns the boot that the machine is in.
	Boot() Boot
}

// Boot is what is known of a boot of the machine.
type Boot struct {
	ID  string        // no other boot of any machine has it; "" if it is unknown
	Age time.Duration // time since then, also while the machine slept
}

// real is the operating system itself.
type real struct{}

// Wall implements System.
func (real) Wall(now time.Time) time.Time { return now }

// Slept implements System.
func (real) Slept() time.Duration { return slept() }

// Boot implements System. Where Go goes by the wall clock alone, that of the boot
// tells nothing: timestamps have another pace.
func (real) Boot() Boot {
	if !isMonotonic(time.Now()) {
		return Boot{}
	}
	return boot()
}

// isMonotonic says whether a time has a reading of the monotonic clock. In a bubble
// of testing/synctest there is none.
func isMonotonic(t time.Time) bool { return t != t.Round(0) }
