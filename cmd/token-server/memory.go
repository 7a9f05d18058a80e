package main

import (
	"os"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"tokenserver/durable"
	"tokenserver/internal/flags"
)

// halfOfMemory is the value of Config.MaxMemory that means half of the memory
// that the process may use.
const halfOfMemory = -1

const maxMemory = 1 << 50 // bytes

// newMemory makes a flag for a limit of memory, of which 0 means none and
// halfOfMemory is set by default.
func newMemory(target *int64) flags.Value {
	v := flags.SizeLimit(target, maxMemory)
	v.Format = formatMemory
	return v
}

func formatMemory(n int64) string {
	if n == halfOfMemory {
		return "half of the memory that the process may use"
	}
	return flags.FormatSize(n)
}

// limitMemory gives the garbage collector a limit below the memory that the
// process may use, unless GOMEMLIMIT is set, and returns that memory in bytes.
func limitMemory() (int64, error) {
	usable, err := usableMemory()
	if err != nil {
		return 0, err
	}
	limit, err := memlimit.Set(memlimit.WithProvider(memlimit.Limit(usable)))
	if os.Getenv("GOMEMLIMIT") != "" {
		usable = min(usable, uint64(limit))
	}
	return int64(usable), err
}

// usableMemory returns the limit of the process's cgroup, or else the memory of the machine.
func usableMemory() (uint64, error) {
	machine, machineErr := memlimit.FromSystem()
	limit, err := memlimit.FromCgroup()
	switch {
	case err != nil:
		return machine, machineErr
	case machineErr != nil:
		return limit, nil
	}
	return min(machine, limit), nil
}

// memory is how the memory of the process is divided.
type memory struct {
	sessions int64 // the default of --max-memory
	memTable int64 // of the durable store; 0 for its default
}

// divideMemory divides what may be used, of which 0 is unknown. What the durable store
// takes in any case is set aside first. Half of the rest is for sessions, in whole MiB.
func divideMemory(usable int64, isDurable bool) (m memory) {
	if usable == 0 {
		return m
	}
	if isDurable {
		m.memTable = durable.MemTableFor(usable)
		usable -= durable.FixedMemory(m.memTable)
	}
	m.sessions = max(usable/2&^(flags.MiB-1), flags.MiB)
	return m
}

// divideMemory divides the memory of the process, replaces halfOfMemory in the
// configuration, and warns of a limit that can't be kept.
func (m *Main) divideMemory() memory {
	usable, err := limitMemory()
	if err != nil {
		m.logger.Warn("memory limit of the process not set or not found", "error", err)
	}
	divided := divideMemory(usable, m.Config.DataDir != "")
	limit := &m.Config.MaxMemory
	if *limit == halfOfMemory {
		*limit = divided.sessions
	}
	if usable > 0 && *limit > usable {
		m.logger.Warn("max-memory is more than the process may use",
			"max_memory", flags.FormatSize(*limit), "usable", flags.FormatSize(usable))
	}
	return divided
}
