package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
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

// Where callers are set and the admin listener is beyond loopback, top needs an admin's secret
// and speaks TLS. To a server that has another certificate than the file it sends none.
func TestTopWithCallers(t *testing.T) {
	c, other := newCerts(t), newCerts(t)
	s := authFile(t, "web", "ops:admin")
	_, port, _ := net.SplitHostPort(freeAddress(t))
	address := "--admin-address=0.0.0.0:" + port
	run(t, append(c.args, "--auth-file="+s.file, address)...)
	for name, tt := range map[string]struct {
		args []string
		code int
		want string
	}{
		"with the secret of an admin":     {append(c.args, s.secretFile(t, "ops")), exitOK, "Healthy?"},
		"without a secret":                {c.args, exitFailed, "401 Unauthorized"},
		"with one that is no admin's":     {append(c.args, s.secretFile(t, "web")), exitFailed, "403 Forbidden"},
		"with a secret that is not there": {append(c.args, "--caller-secret-file=none"), exitFailed, "--caller-secret-file"},
		"with another certificate":        {append(other.args, s.secretFile(t, "ops")), exitFailed, "another certificate"},
		"without TLS":                     {[]string{s.secretFile(t, "ops")}, exitFailed, "top: "},
	} {
		t.Run(name, func(t *testing.T) {
			code, text := runCommand(t, slices.Concat([]string{"top", address}, tt.args)...)
			if code != tt.code || !strings.Contains(text, tt.want) {
				t.Errorf("top = %d %q, want %d with %q", code, text, tt.code, tt.want)
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
	to, err := m.Config.adminTarget()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		ended <- m.top(ctx, to, screen{again: true, clear: clearScreen, size: func() (int, int) { return 80, 24 }})
	}()
	for giveUp := time.Now().Add(time.Minute); strings.Count(out.String(), clearScreen+"token-server  ") < 2; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(giveUp) {
			t.Fatalf("no second sample: %q", out.String())
		}
	}
	cancel()
	if err = <-ended; err != nil {
		t.Errorf("top = %v, want nil at its end", err)
	}
}

func TestFit(t *testing.T) {
	for _, tt := range []struct {
		text          string
		width, height int
		want          string
	}{
		{"a\nbcd\n", 0, 0, "a\nbcd\n"},
		{"a\nbcd\n", 3, 3, "a\nbcd\n"},
		{"a\nbäcd\n", 3, 3, "a\nbä…\n"},
		{"a\nb\nc\nd\n", 80, 4, "a\nb\n… 2 more lines: make the window higher, or use a pipe\n"},
	} {
		if got := fit(tt.text, tt.width, tt.height); got != tt.want {
			t.Errorf("fit(%q, %d, %d) = %q, want %q", tt.text, tt.width, tt.height, got, tt.want)
		}
	}
}

// Whoever has taken the server's address writes what a terminal shows.
func TestRefusalIsPlain(t *testing.T) {
	for _, body := range []string{`{"message":"\u001b]0;title\u0007"}`, "\x1b[2J"} {
		err := refusal(&http.Response{Status: "500 \x1b[2Jgone", StatusCode: 500, Body: io.NopCloser(strings.NewReader(body))})
		if err == nil || strings.ContainsAny(err.Error(), "\x1b\a") {
			t.Errorf("refusal = %q, want one without escape characters", err)
		}
	}
}
