package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"
)

func TestTop(t *testing.T) {
	socket := "unix:" + t.TempDir() + "/admin"
	for name, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": socket} {
		t.Run(name, func(t *testing.T) {
			s, _ := run(t, "--admin-address="+address)
			var stdout, stderr bytes.Buffer
			top := &Main{Stdout: &stdout, Stderr: &stderr}
			code := top.Execute(t.Context(), []string{"top", "--admin-address=" + addressOf(s.adminListener)})
			if code != exitOK || stderr.Len() > 0 {
				t.Fatalf("top = %d, %s", code, stderr.String())
			}
			text := stdout.String()
			for _, want := range []string{"Healthy?\n", "  status                 Ready\n", "How full?\n", "Is somebody stealing?\n"} {
				if !strings.Contains(text, want) {
					t.Errorf("top has no %q:\n%s", want, text)
				}
			}
			if strings.ContainsRune(text, '\x1b') || strings.Count(text, "Healthy?") != 1 {
				t.Errorf("top for a pipe is not one sample in plain text:\n%q", text)
			}
		})
	}
}

func TestTopFails(t *testing.T) {
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--admin-address=127.0.0.1:1"}, exitFailed, "top: "},
		{[]string{"--admin-address=off"}, exitUsage, "there is no admin listener"},
		{[]string{"--nonsense"}, exitUsage, "unknown flag"},
		{[]string{"--help"}, exitOK, ""},
	} {
		var stdout, stderr bytes.Buffer
		m := &Main{Stdout: &stdout, Stderr: &stderr}
		if code := m.Execute(t.Context(), append([]string{"top"}, tt.args...)); code != tt.code || !strings.Contains(stderr.String(), tt.want) {
			t.Errorf("top %q = %d %q, want %d with %q", tt.args, code, stderr.String(), tt.code, tt.want)
		}
	}
}

// On a terminal one sample follows the other, in its place.
func TestTopOnATerminal(t *testing.T) {
	s, _ := run(t)
	out := new(buffer)
	m := &Main{Stdout: out, Config: defaultConfig()}
	m.Config.AdminAddress = addressOf(s.adminListener)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- m.top(ctx, true) }()
	for giveUp := time.Now().Add(time.Minute); strings.Count(out.String(), clearScreen+"token-server  ") < 2; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(giveUp) {
			t.Fatalf("no second sample: %q", out.String())
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("top = %v, want nil at its end", err)
	}
}
