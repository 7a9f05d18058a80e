package clock

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const bootIDFile = "/proc/sys/kernel/random/boot_id"

// maxReads is how often the two clocks are read for one difference.
const maxReads = 10

// slept is what the clock of the boot is ahead of the monotonic clock, which stands
// still while the machine sleeps. If too much time has passed between the two
// readings, they are read again.
func slept() (d time.Duration) {
	for range maxReads {
		before, err := read(unix.CLOCK_MONOTONIC)
		if err != nil {
			return 0
		}
		boot, err := read(unix.CLOCK_BOOTTIME)
		if err != nil {
			return 0
		}
		after, err := read(unix.CLOCK_MONOTONIC)
		if d = boot - after; err != nil || after-before < noise/2 {
			break
		}
	}
	return d
}

func boot() Boot {
	id, err := os.ReadFile(bootIDFile)
	if err != nil {
		return Boot{}
	}
	age, err := read(unix.CLOCK_BOOTTIME)
	if err != nil {
		return Boot{}
	}
	return Boot{ID: strings.TrimSpace(string(id)), Age: age}
}

func read(clock int32) (time.Duration, error) {
	var ts unix.Timespec
	err := unix.ClockGettime(clock, &ts)
	return time.Duration(ts.Nano()), err
}
