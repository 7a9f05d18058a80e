package main

import (
	"log/slog"
	"runtime/debug"
	"strings"
	"testing"

	"tokenserver/internal/flags"
)

// keepMemoryLimit restores the process's limit at the end of the test.
func keepMemoryLimit(t *testing.T) {
	limit := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(limit) })
}

func TestLimitMemory(t *testing.T) {
	keepMemoryLimit(t)
	usable, err := limitMemory()
	if err != nil || usable < 64*flags.MiB {
		t.Fatalf("limitMemory() = %d, %v, want the memory of this machine or less", usable, err)
	}
	if got := debug.SetMemoryLimit(-1); got < usable/2 || got >= usable {
		t.Errorf("limit of the garbage collector = %d, want a bit less than %d", got, usable)
	}
}

func TestLimitMemoryRespectsTheOperators(t *testing.T) {
	keepMemoryLimit(t)
	t.Setenv("GOMEMLIMIT", "100MiB")
	debug.SetMemoryLimit(100 * flags.MiB) // as the runtime does at the start
	usable, err := limitMemory()
	if err != nil || usable != 100*flags.MiB {
		t.Errorf("limitMemory() = %d, %v, want the 100 MiB of GOMEMLIMIT", usable, err)
	}
	if got := debug.SetMemoryLimit(-1); got != 100*flags.MiB {
		t.Errorf("limit of the garbage collector = %d, want the 100 MiB of GOMEMLIMIT", got)
	}
}

func TestMemoryLimit(t *testing.T) {
	keepMemoryLimit(t)
	t.Setenv("GOMEMLIMIT", "101MiB")
	debug.SetMemoryLimit(101 * flags.MiB)
	tests := []struct {
		config, want int64
		warns        bool
	}{
		{halfOfMemory, 50 * flags.MiB, false},
		{0, 0, false},
		{101 * flags.MiB, 101 * flags.MiB, false},
		{102 * flags.MiB, 102 * flags.MiB, true},
	}
	for _, tt := range tests {
		var log strings.Builder
		m := &Main{Config: Config{MaxMemory: tt.config}, logger: slog.New(slog.NewTextHandler(&log, nil))}
		if got := m.memoryLimit(); got != tt.want {
			t.Errorf("memoryLimit() with %d = %d, want %d", tt.config, got, tt.want)
		}
		if got := strings.Contains(log.String(), "max-memory is more"); got != tt.warns {
			t.Errorf("memoryLimit() with %d logged %q, want a warning: %v", tt.config, log.String(), tt.warns)
		}
	}
}
