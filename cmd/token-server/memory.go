package main

import (
	"os"

	"github.com/KimMachineGun/automemlimit/memlimit"

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

// memoryLimit replaces halfOfMemory, in whole MiB, and warns of a limit that can't be kept.
func (m *Main) memoryLimit() int64 {
	usable, err := limitMemory()
	if err != nil {
		m.logger.Warn("memory limit of the process not set or not found", "error", err)
	}
	limit := m.Config.MaxMemory
	if limit == halfOfMemory {
		limit = usable / 2 &^ (flags.MiB - 1)
	}
	if usable > 0 && limit > usable {
		m.logger.Warn("max-memory is more than the process may use",
			"max_memory", flags.FormatSize(limit), "usable", flags.FormatSize(usable))
	}
	return limit
}
