package main

import (
	"os/exec"
	"strings"
	"testing"
)

func TestStartServerTellsWhyItFailed(t *testing.T) {
	if _, err := exec.LookPath("taskset"); err != nil {
		t.Skip("taskset is not installed")
	}
	_, err := startServer(t.Context(), serverCPU, "sh", func(host, port string) []string {
		return []string{"-c", "echo no luck on " + host + " >&2"}
	})
	if err == nil || !strings.Contains(err.Error(), "ended before it listened") || !strings.Contains(err.Error(), "no luck on 127.0.0.1") {
		t.Errorf("error = %v, want what the server wrote", err)
	}
}
