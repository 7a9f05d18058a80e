package main

import (
	"runtime"
	"strings"
	"testing"
)

func TestReadProc(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("Linux only")
	}
	m := &machine{}
	if err := m.readProc(); err != nil {
		t.Fatal(err)
	}
	if m.cpu == "" || m.memory < 1<<20 || m.load < 0 || !strings.HasPrefix(m.kernel, "Linux ") || strings.Contains(m.kernel, "-") {
		t.Errorf("readProc() found %+v, want a processor, memory and a version of Linux", m)
	}
}

func TestChosen(t *testing.T) {
	cases := map[string]string{
		"always [madvise] never\n": "madvise",
		"[always] madvise never":   "always",
		"":                         "unknown",
		"always":                   "unknown",
	}
	for in, want := range cases {
		if got := chosen(in); got != want {
			t.Errorf("chosen(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestRedisVersion(t *testing.T) {
	cases := map[string]string{
		"Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d": "7.0.15, jemalloc-5.3.0",
		"something else": "unknown",
	}
	for in, want := range cases {
		if got := redisVersion(in); got != want {
			t.Errorf("redisVersion(%q) = %q, want %q", in, got, want)
		}
	}
}
