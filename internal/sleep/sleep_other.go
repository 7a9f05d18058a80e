//go:build !linux

package sleep

import "time"

// Sleeper sleeps as precisely as the runtime can.
type Sleeper struct{}

// New returns a Sleeper, which must be closed.
func New() (*Sleeper, error) { return new(Sleeper), nil }

// Sleep returns after d, or up to a millisecond later.
func (*Sleeper) Sleep(d time.Duration) { time.Sleep(d) }

// Close does nothing.
func (*Sleeper) Close() error { return nil }
