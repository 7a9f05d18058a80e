package main

import "testing"

const status = "Name:\ttoken-server\nVmPeak:\t 1234568 kB\nVmRSS:\t  216004 kB\nThreads:\t7\n"

func TestField(t *testing.T) {
	cpuinfo := "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu hypervisor\n\nprocessor\t: 1\nmodel name\t: other\n"
	cases := []struct{ file, name, want string }{
		{cpuinfo, "model name", "AMD EPYC"},
		{cpuinfo, "flags", "fpu hypervisor"},
		{cpuinfo, "model", ""},
		{status, "Threads", "7"},
		{"", "Threads", ""},
	}
	for _, c := range cases {
		if got := field([]byte(c.file), c.name); got != c.want {
			t.Errorf("field(%q) = %q, want %q", c.name, got, c.want)
		}
	}
}

func TestKibibytes(t *testing.T) {
	if got, err := kibibytes([]byte(status), "VmRSS"); err != nil || got != 216004<<10 {
		t.Errorf("kibibytes(VmRSS) = %d, %v, want %d", got, err, 216004<<10)
	}
	for _, name := range []string{"Threads", "Name", "None"} {
		if got, err := kibibytes([]byte(status), name); err == nil {
			t.Errorf("kibibytes(%s) = %d, want an error", name, got)
		}
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
