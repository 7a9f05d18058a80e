package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tokenserver/internal/testneeds"
)

// shellBlocks returns the shell commands of a section of docs/operating.md.
func shellBlocks(t *testing.T, section string) (blocks []string) {
	t.Helper()
	page := string(readFile(t, filepath.Join("..", "..", "docs", "operating.md")))
	_, rest, ok := strings.Cut(page, "\n## "+section+"\n")
	if !ok {
		t.Fatalf("docs/operating.md has no section %q", section)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	for _, match := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(rest, -1) {
		blocks = append(blocks, match[1])
	}
	return blocks
}

// TestExampleOfMTLS does what the example says, but on free ports and with a data directory
// of its own.
func TestExampleOfMTLS(t *testing.T) {
	testneeds.Program(t, "openssl")
	testneeds.Program(t, "curl")
	blocks := shellBlocks(t, "An example: mTLS between web tier and token server")
	if len(blocks) != 3 {
		t.Fatalf("the example has %d blocks of commands, want 3: certificates, the server, a look", len(blocks))
	}
	dir := t.TempDir()
	t.Chdir(dir)
	shell(t, blocks[0])
	_, flags, _ := strings.Cut(strings.ReplaceAll(blocks[1], "\\\n", " "), "token-server check")
	flags, _, _ = strings.Cut(flags, "\n")
	args := strings.Fields(strings.NewReplacer(
		"/var/lib/token-server", filepath.Join(dir, "data"), ":3667", ":0").Replace(flags))
	args = append(args, "--port=0")
	m := &Main{Stdout: new(buffer), Stderr: new(buffer)}
	if code := m.Execute(t.Context(), append([]string{"check"}, args...)); code != exitOK {
		t.Fatalf("check %q = %d: %v", args, code, m.Stderr)
	}
	m, _ = run(t, args...)
	port := func(address string) string { return address[strings.LastIndexByte(address, ':'):] }
	look := strings.NewReplacer(
		":3666", port(m.listeners[0].Addr().String()), ":3667", port(m.adminListener.Addr().String()),
		"curl ", "curl -sS --fail ").Replace(blocks[2])
	out := shell(t, look)
	if !regexp.MustCompile(`^[A-Za-z0-9_-]{32}`).MatchString(out) || !strings.Contains(out, "token_server_sessions 1") {
		t.Errorf("a look from outside = %.200q…, want a token and the metrics", out)
	}
	for _, each := range []struct{ name, command string }{
		{"no certificate", "curl -sS --fail --cacert ca.pem https://127.0.0.1" + port(m.listeners[0].Addr().String()) + "/healthz"},
		{"no admin", strings.ReplaceAll(look[strings.LastIndex(look, "curl"):], "ops", "web")},
	} {
		if out, err := exec.Command("sh", "-c", each.command).CombinedOutput(); err == nil {
			t.Errorf("%s: %.200q, want that it is refused", each.name, out)
		}
	}
}

func shell(t *testing.T, commands string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", commands)
	cmd.Stderr = new(buffer)
	cmd.Env = append(os.Environ(), "no_proxy=127.0.0.1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s\n%v: %v", commands, err, cmd.Stderr)
	}
	return string(out)
}
