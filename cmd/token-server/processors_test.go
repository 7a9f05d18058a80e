package main

import (
	"runtime"
	"testing"
)

func TestAddProcessor(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	runtime.SetDefaultGOMAXPROCS()
	processors := runtime.GOMAXPROCS(0)
	tests := []struct {
		name string
		env  string
		want int
	}{
		{"set by the operator", "4", processors},
		{"not set", "", processors + 1},
		{"not set, a second time", "", processors + 1},
	}
	for _, tt := range tests {
		addProcessor(func(string) string { return tt.env })
		if got := runtime.GOMAXPROCS(0); got != tt.want {
			t.Errorf("%s: GOMAXPROCS is %d, want %d", tt.name, got, tt.want)
		}
	}
}
