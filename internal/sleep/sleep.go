// Package sleep sleeps to some microseconds. time.Sleep may last a millisecond
// too long, since the runtime's poller counts in milliseconds; a timer that is a
// file wakes the poller in time.
package sleep
