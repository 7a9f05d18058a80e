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

func TestDivideMemory(t *testing.T) {
	tests := []struct {
		usable int64 // MiB
		dir    string
		want   memory // MiB
	}{
		{0, "", memory{}},
		{0, "dir", memory{}},
		{101, "", memory{sessions: 50}},
		{1, "dir", memory{sessions: 1, memTable: 4}},
		{101, "dir", memory{sessions: 45, memTable: 4}},
		{256, "dir", memory{sessions: 117, memTable: 8}},
		{4096, "dir", memory{sessions: 1979, memTable: 64}},
	}
	for _, tt := range tests {
		tt.want.sessions *= flags.MiB
		tt.want.memTable *= flags.MiB
		if got := divideMemory(tt.usable*flags.MiB, tt.dir != ""); got != tt.want {
			t.Errorf("of %d MiB with data directory %q: %+v, want %+v", tt.usable, tt.dir, got, tt.want)
		}
	}
}

func TestMaxMemory(t *testing.T) {
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
		m.divideMemory()
		if got := m.Config.MaxMemory; got != tt.want {
			t.Errorf("max-memory of %d becomes %d, want %d", tt.config, got, tt.want)
		}
		if got := strings.Contains(log.String(), "max-memory is more"); got != tt.warns {
			t.Errorf("max-memory of %d logged %q, want a warning: %v", tt.config, log.String(), tt.warns)
		}
	}
}
