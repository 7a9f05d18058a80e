package sleep

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Sleeper sleeps for one goroutine at a time.
type Sleeper struct {
	fd    int
	timer *os.File // of fd
}

// New returns a Sleeper, which must be closed.
func New() (*Sleeper, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	return &Sleeper{fd, os.NewFile(uintptr(fd), "timer")}, nil
}

// Sleep returns after d, or some microseconds later. Meanwhile the goroutine is
// parked at the poller, so that others, also those that wait for the network,
// have the processor.
func (s *Sleeper) Sleep(d time.Duration) {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(int64(d), 1))}
	var fired [8]byte
	if unix.TimerfdSettime(s.fd, 0, &spec, nil) != nil {
		time.Sleep(d)
		return
	}
	_, _ = s.timer.Read(fired[:])
}

// Close gives back what the Sleeper holds.
func (s *Sleeper) Close() error { return s.timer.Close() }
