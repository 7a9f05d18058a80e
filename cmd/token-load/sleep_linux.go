package main

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// sleeper sleeps to some microseconds. time.Sleep may last a millisecond too long, as the
// runtime's poller counts in milliseconds, and an open loop would report that as latency; a
// timer that is a file wakes the poller in time.
type sleeper struct {
	fd    int
	timer *os.File // of fd
}

func newSleeper() (*sleeper, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	return &sleeper{fd, os.NewFile(uintptr(fd), "timer")}, nil
}

func (s *sleeper) sleep(d time.Duration) {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(int64(d), 1))}
	var fired [8]byte
	if unix.TimerfdSettime(s.fd, 0, &spec, nil) != nil {
		time.Sleep(d)
		return
	}
	_, _ = s.timer.Read(fired[:])
}

func (s *sleeper) close() { s.timer.Close() }
