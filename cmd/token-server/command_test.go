package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tokenserver/access"
	"tokenserver/internal/testcert"
	"tokenserver/internal/testneeds"
)

func TestSecretCommand(t *testing.T) {
	var stdout, stderr bytes.Buffer
	m := &Main{Stdout: &stdout, Stderr: &stderr}
	if got := m.Execute(t.Context(), []string{"secret", "web"}); got != exitOK || stderr.Len() > 0 {
		t.Fatalf("Execute(secret web) = %d, stderr %q, want 0", got, stderr.String())
	}
	secret, line, _ := strings.Cut(strings.TrimSuffix(stdout.String(), "\n"), "\n")
	parsed, err := access.ParseSecrets([]byte(line))
	if err != nil || parsed.Find([]byte(secret)).Name != "web" {
		t.Errorf("secret web = %q, want a secret and its line: %v", stdout.String(), err)
	}
	stdout.Reset()
	m.Execute(t.Context(), []string{"secret"})
	if !strings.Contains(stdout.String(), "\ncaller:") {
		t.Errorf("secret = %q, want a line for caller", stdout.String())
	}
}

func TestArgumentsOfSecret(t *testing.T) {
	tests := []struct {
		args           []string
		code           int
		stdout, stderr string // how they begin
	}{
		{[]string{"--help"}, exitOK, "Usage: token-server secret [name]", ""},
		{[]string{"-h"}, exitOK, "Usage: token-server secret [name]", ""},
		{[]string{"web", "--help"}, exitOK, "Usage: token-server secret [name]", ""},
		{[]string{"--version"}, exitUsage, "", `token-server: unknown flag "--version"`},
		{[]string{"-x"}, exitUsage, "", `token-server: unknown flag "-x"`},
		{[]string{"web", "-x"}, exitUsage, "", `token-server: unknown flag "-x"`},
		{[]string{"--"}, exitUsage, "", `token-server: unknown flag "--"`},
		{[]string{"-"}, exitUsage, "", `token-server: unknown flag "-"`},
		{[]string{"a:b"}, exitUsage, "", `token-server: secret "a:b": a name`},
		{[]string{""}, exitUsage, "", `token-server: secret "": a name`},
		{[]string{"web", "ops"}, exitUsage, "", `token-server: unexpected argument "ops"`},
	}
	for _, tt := range tests {
		var stdout, stderr bytes.Buffer
		m := &Main{Stdout: &stdout, Stderr: &stderr}
		code := m.Execute(t.Context(), append([]string{"secret"}, tt.args...))
		if code != tt.code {
			t.Errorf("secret %q: exit code %d, want %d", tt.args, code, tt.code)
		}
		checkStream(t, fmt.Sprintf("secret %q: standard output", tt.args), stdout.String(), tt.stdout)
		checkStream(t, fmt.Sprintf("secret %q: standard error", tt.args), stderr.String(), tt.stderr)
	}
}

func TestCheckCommand(t *testing.T) {
	c, s := newCerts(t), authFile(t, "web")
	expired := c.authority.Issue("server", testcert.Expired)
	old := t.TempDir()
	oldCert, oldKey := expired.Write(t, old)
	strange := t.TempDir()
	testcert.WriteFile(t, filepath.Join(strange, "data"), []byte("x"))
	broken := filepath.Join(t.TempDir(), "broken")
	testcert.WriteFile(t, broken, []byte("nonsense\n"))
	lines, open := filepath.Join(old, "lines"), filepath.Join(old, "open")
	testcert.WriteFile(t, lines, []byte("web:secret\n# web\nops\n"))
	testcert.WriteFile(t, oldCert+".twice", append(expired.Cert, expired.Cert...))
	testcert.WriteFile(t, open, expired.Key)
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		want []string // how each line begins; none for no problem
	}{
		{"nothing", nil, nil},
		{"all is good", append(c.args, c.clientCA, "--auth-file="+s.file, "--data-dir="+filepath.Join(t.TempDir(), "a", "b")), nil},
		{"help", []string{"--help"}, nil},
		{"flags", []string{"--port=x", "--nothing", "stray", "--shards=3"}, []string{`--port "x"`, `unknown flag "--nothing"`, `unexpected argument "stray"`, `--shards "3"`}},
		{"what flags say together", []string{"--on-reuse=revoke", "--tls-cert=c", "--tls-admin=a"}, []string{"--tls-cert and --tls-key", "--tls-admin", "--on-reuse"}},
		{"files", []string{"--auth-file=" + broken, "--secret-file=no-file", "--log-level=@" + broken}, []string{"--auth-file", "--log-level", "--secret-file"}},
		{"certificates", []string{"--tls-cert=" + oldCert, "--tls-key=" + oldKey}, []string{`--tls-cert "` + oldCert + `", --tls-key`}},
		{"each of the certificates' files", []string{"--tls-cert=" + oldCert, "--tls-key=" + oldKey, "--tls-client-ca=" + broken}, []string{"--tls-cert", "--tls-client-ca"}},
		{"files that are not there", []string{"--tls-cert=none", "--tls-key=none", "--tls-client-ca=none"}, []string{"--tls-cert", "--tls-key", "--tls-client-ca"}},
		{"data directory", []string{"--data-dir=" + strange}, []string{`--data-dir "` + strange + `"`}},
		{"each bad secret file", []string{"--grace=1s", "--secret-file=no-file", "--secret-file=" + broken}, []string{`--secret-file "no-file"`, `--secret-file "` + broken}},
		{"each bad line of an auth file", []string{"--auth-file=" + lines}, []string{`--auth-file "` + lines + `": line 1 must`, `--auth-file "` + lines + `": line 3 must`}},
		{"each bad authority", append(c.args, "--tls-client-ca="+oldCert+".twice"), []string{"--tls-client-ca", "--tls-client-ca"}},
		{"all of an engine", []string{"--valkey=http://x", "--data-dir=" + t.TempDir(), "--grace=1s"}, []string{"--valkey", "--valkey", "--grace"}},
		{"a data directory that is a file", []string{"--data-dir=" + broken}, []string{`--data-dir "` + broken + `": durable: ` + broken + " is no directory"}},
		{"a key that others may read", []string{c.args[0], "--tls-key=" + open}, []string{`--tls-key "` + open + `": must be a file owned by`}},
		{"one socket for both", []string{"--admin-address=127.0.0.1:3666"}, []string{"--admin-address"}},
		{"each address that is given twice", []string{"--address=::1", "--address=::1", "--address=::1"}, []string{"--address", "--address"}},
		{"sockets", []string{"--address=unix:" + broken, "--admin-address=unix:" + filepath.Join(strange, "none", "a")}, []string{"unix:" + broken, "unix:" + strange}},
		{"all at once", []string{"--port=x", "--auth-file=" + broken, "--tls-cert=" + oldCert, "--tls-key=" + oldKey, "--data-dir=" + strange},
			[]string{"--port", "--auth-file", "--tls-cert", "--data-dir"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			m := &Main{Stdout: &stdout, Stderr: &stderr}
			code := m.Execute(t.Context(), append([]string{"check"}, tt.args...))
			if want := map[bool]int{true: exitOK, false: exitUsage}[tt.want == nil]; code != want {
				t.Errorf("exit code %d, want %d:\n%s", code, want, stderr.String())
			}
			lines := strings.Split(strings.TrimSuffix(stderr.String(), "\n"), "\n")
			if tt.want == nil && stderr.Len() == 0 && stdout.Len() > 0 {
				return
			}
			if len(lines) != len(tt.want) {
				t.Fatalf("problems:\n%swant %q", stderr.String(), tt.want)
			}
			for i, want := range tt.want {
				if !strings.HasPrefix(lines[i], "token-server: "+want) {
					t.Errorf("line %d = %q, want %q", i, lines[i], want)
				}
			}
		})
	}
}

// TestCheckWaitsForNoPipe: nor does a start, or a server that rereads its files.
func TestCheckWaitsForNoPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	err := syscall.Mkfifo(pipe, 0o600)
	testneeds.That(t, err == nil, fmt.Sprintf("a pipe can't be made: %v", err))
	for _, args := range [][]string{
		{"--log-level=@" + pipe}, {"--auth-file=" + pipe},
		{"--tls-cert=" + pipe, "--tls-key=" + pipe}, {"--tls-cert=none", "--tls-key=none", "--tls-client-ca=" + pipe},
	} {
		if _, _, err := parse(args, nil); err == nil {
			t.Errorf("%q: no error, want that it is no regular file", args)
		}
	}
}
