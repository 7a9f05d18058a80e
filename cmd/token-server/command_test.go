package main

import (
	"bytes"
	"fmt"
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

func TestCheckCommand(t *testing.T) {
	c, s := newCerts(t), authFile(t, "web")
	expired := c.authority.Issue("server", testcert.Expired)
	old := t.TempDir()
	oldCert, oldKey := expired.Write(t, old)
	strange := t.TempDir()
	testcert.WriteFile(t, filepath.Join(strange, "data"), []byte("x"))
	broken := filepath.Join(t.TempDir(), "broken")
	testcert.WriteFile(t, broken, []byte("nonsense\n"))
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
