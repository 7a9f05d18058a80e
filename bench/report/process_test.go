package main

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"tokenserver/internal/testneeds"
)

func TestStartServerTellsWhyItFailed(t *testing.T) {
	testneeds.Program(t, "taskset")
	_, err := startServer(t.Context(), serverCPU, "sh", func(host, port string) []string {
		return []string{"-c", "echo no luck on " + host + " >&2"}
	})
	if err == nil || !strings.Contains(err.Error(), "ended before it listened") || !strings.Contains(err.Error(), "no luck on 127.0.0.1") {
		t.Errorf("error = %v, want what the server wrote", err)
	}
}

func TestResident(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("Linux only")
	}
	s := &process{cmd: &exec.Cmd{Process: &os.Process{Pid: os.Getpid()}}}
	if got, err := s.resident(); err != nil || got < 1<<20 || got > 1<<40 {
		t.Errorf("resident() of this process = %d, %v, want more than a megabyte", got, err)
	}
}
