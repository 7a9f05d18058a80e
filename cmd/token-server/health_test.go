package main

import (
	"bytes"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"tokenserver/internal/testcert"
)

// runCommand runs a command beside serving, and returns its exit code and what it says.
func runCommand(t *testing.T, args ...string) (code int, text string) {
	t.Helper()
	out := new(bytes.Buffer)
	m := &Main{Stdout: out, Stderr: out}
	code = m.Execute(t.Context(), args)
	return code, out.String()
}

func TestHealthCommand(t *testing.T) {
	c := newCerts(t)
	dir := socketDir(t)
	free := func() string { return freeAddress(t) }
	wildcard := func() string { _, port, _ := net.SplitHostPort(free()); return "0.0.0.0:" + port }
	both := func(args ...string) []string { return args }
	tests := map[string][]string{
		"the admin listener":                       both("--address="+free(), "--admin-address="+free()),
		"a unix socket":                            both("--address="+free(), "--admin-address=unix:"+filepath.Join(dir, "admin")),
		"the first address":                        both("--address="+free(), "--address="+free(), "--admin-address=off"),
		"the first address, a unix socket":         both("--address=unix:"+filepath.Join(dir, "http"), "--admin-address=off"),
		"the first address, over TLS":              append(c.args, "--address="+free(), "--admin-address=off"),
		"every address":                            both("--address="+wildcard(), "--admin-address=off", "--insecure"),
		"the admin listener on loopback, no TLS":   append(c.args, "--address="+free(), "--admin-address="+free()),
		"the admin listener on every one, for TLS": append(c.args, "--address="+free(), "--admin-address="+wildcard()),
	}
	for name, args := range tests {
		t.Run(name, func(t *testing.T) {
			args := append(args, "--max-memory=64MiB")
			if code, text := runCommand(t, append([]string{"health"}, args...)...); code != exitFailed || !strings.HasPrefix(text, "token-server: health: ") {
				t.Errorf("health without a server = %d %q, want %d and why", code, text, exitFailed)
			}
			m, s, _ := newSlowMain(t, args...)
			if err := m.Run(); err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if code, text := runCommand(t, append([]string{"health"}, args...)...); code != exitOK {
				t.Errorf("health while loading = %d %q, want 0", code, text)
			}
			if code, text := runCommand(t, append([]string{"health", "--ready"}, args...)...); code != exitFailed || !strings.Contains(text, "503 Service Unavailable: loading: 43 %") {
				t.Errorf("health --ready while loading = %d %q, want %d and the reason", code, text, exitFailed)
			}
			s.end <- nil
			<-m.load.ended
			if code, text := runCommand(t, append([]string{"health", "--ready"}, args...)...); code != exitOK || text != "ok\n" {
				t.Errorf("health --ready = %d %q, want 0", code, text)
			}
		})
	}
}

// A server whose certificate was renewed in the file alone is well.
func TestHealthWithARenewedCertificate(t *testing.T) {
	c := newCerts(t)
	_, port, _ := net.SplitHostPort(freeAddress(t))
	args := append(c.args, "--port="+port, "--admin-address=off")
	run(t, args...)
	cert, key := c.authority.Issue("server").Write(t, t.TempDir())
	if code, text := runCommand(t, "health", "--tls-cert="+cert, "--tls-key="+key, "--port="+port, "--admin-address=off"); code != exitOK {
		t.Errorf("health = %d %q, want 0", code, text)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func TestCommandsWithBadArguments(t *testing.T) {
	tests := []struct {
		args []string
		code int
		want string
	}{
		{[]string{"health", "--port=x"}, exitUsage, `--port "x"`},
		{[]string{"health", "extra"}, exitUsage, "extra"},
		{[]string{"health", "--port=0", "--admin-address=off"}, exitFailed, "a port that was picked is not known"},
		{[]string{"health", "--help"}, exitOK, "--ready"},
		{[]string{"--ready"}, exitUsage, "unknown flag"},
		{[]string{"backup"}, exitUsage, "needs a directory"},
		{[]string{"backup", "--admin-address=off"}, exitUsage, "needs a directory"},
		{[]string{"backup", "a", "b"}, exitUsage, `unexpected argument "b"`},
		{[]string{"backup", "a", "--admin-address=off"}, exitFailed, "there is no admin listener"},
		{[]string{"backup", "--admin-address=off", "a"}, exitFailed, "there is no admin listener"},
		{[]string{"backup", "--help"}, exitOK, "backup DIR"},
	}
	for _, tt := range tests {
		if code, text := runCommand(t, tt.args...); code != tt.code || !strings.Contains(text, tt.want) {
			t.Errorf("%q = %d %.300q, want %d with %q", tt.args, code, text, tt.code, tt.want)
		}
	}
}

// secretFile writes the secret of a caller.
func (s *secrets) secretFile(t *testing.T, name string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	testcert.WriteFile(t, file, []byte(s.of[name]+"\n"))
	return "--caller-secret-file=" + file
}

// A secret goes to no other machine in clear. Nobody has an address of 192.0.2.0/24.
func TestSecretInClear(t *testing.T) {
	s := authFile(t, "ops:admin")
	secret := s.secretFile(t, "ops")
	dir := filepath.Join(t.TempDir(), "backup")
	for _, command := range [][]string{{"backup", dir}, {"top"}} {
		code, text := runCommand(t, append(command, "--admin-address=192.0.2.1:3667", secret)...)
		if code != exitFailed || !strings.Contains(text, "in clear to 192.0.2.1:3667") {
			t.Errorf("%q = %d %q, want %d, and that the secret is not sent", command, code, text, exitFailed)
		}
	}
}

func TestIsOfThisMachine(t *testing.T) {
	tests := map[string]bool{
		"127.0.0.1:3667": true, "[::1]:3667": true, "0.0.0.0:3667": true, ":3667": true, "localhost:3667": true,
		"unix:/run/admin": true, "192.0.2.1:3667": false, "[2001:db8::1]:3667": false,
	}
	own, _ := net.InterfaceAddrs()
	for _, a := range own {
		if ip, _, err := net.ParseCIDR(a.String()); err == nil && !ip.IsLinkLocalUnicast() {
			tests[net.JoinHostPort(ip.String(), "3667")] = true
		}
	}
	c := defaultConfig()
	for address, want := range tests {
		to, err := c.target(address, false)
		if got := isOfThisMachine(to); got != want || err != nil {
			t.Errorf("%s: of this machine = %v, %v, want %v", address, got, err, want)
		}
	}
}
