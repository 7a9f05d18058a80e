package main

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// processCPU returns the processor time that all threads of a process have taken so far, by the
// kernel's account, to the nanosecond.
func processCPU(pid int) (time.Duration, error) {
	// A process has a clock of its own, whose number clock_getcpuclockid(3) makes like this.
	const scheduler = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduler), &t); err != nil {
		return 0, os.NewSyscallError("clock_gettime", err)
	}
	return time.Duration(t.Nano()), nil
}
