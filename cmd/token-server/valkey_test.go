package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tokenserver/internal/enginetest"
	"tokenserver/token"
	"tokenserver/valkey"
)

// TestSharedMode: what one server has given out another one takes.
func TestSharedMode(t *testing.T) {
	address := enginetest.Start(t).Address()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(strings.Repeat("s", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--valkey=valkey://" + address + "?prefix=x:", "--grace=5s", "--secret-file=" + secret, "--dump"}
	a, b := startProcess(t, args...), startProcess(t, args...)
	tok := create(t, "http://"+a.address)
	next := b.exchange(tok)
	if again := a.exchange(tok); again != next {
		t.Error("a spent token in its grace got another token from the other server")
	}
	a.exchange(b.exchange(next))
	for _, p := range []*process{a, b} {
		p.signal(syscall.SIGTERM)
		if code := p.wait(); code != exitOK || !strings.Contains(p.log.String(), "shared mode") || !strings.Contains(p.log.String(), "keeps nothing on disk") {
			t.Errorf("exit code %d, log %s", code, p.log)
		}
		if strings.Contains(p.log.String(), "not used") {
			t.Errorf("warned of flags that were not given: log %s", p.log)
		}
	}
}

// TestEngineIsRefused with the exit code that fits.
func TestEngineIsRefused(t *testing.T) {
	address := enginetest.Start(t, "--user", "app", "on", ">right", "~*", "+@all").Address()
	other := enginetest.Start(t).Address()
	url := func(user string) string { return "--valkey=valkey://" + user + address }
	wantRefused(t, exitUsage, []string{"several hosts must be those of one cluster"}, "--valkey=valkey://"+address+","+other)
	wantRefused(t, exitFailed, []string{"WRONGPASS"}, url("app:wrong@"))
	for _, args := range [][]string{{url("app:wrong@")}, {url("app:right@"), "--log-level=debug"}} {
		cmd := command(t, append([]string{"--port=0", "--admin-address=off"}, args...)...)
		out := startAndStop(t, cmd)
		if strings.Contains(out, "right") || strings.Contains(out, "wrong@") {
			t.Errorf("the log has the password:\n%s", out)
		}
	}
	p := startCommand(t, withEnv(command(t, "--port=0", "--admin-address=off", url("app@")), passwordVariable+"=right"))
	create(t, "http://"+p.address)
}

func withEnv(cmd *exec.Cmd, variables ...string) *exec.Cmd {
	cmd.Env = append(os.Environ(), variables...)
	return cmd
}

// startAndStop runs a command for a short while and returns what it has logged.
func startAndStop(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(time.Second, func() { cmd.Process.Signal(syscall.SIGTERM) })
	cmd.Wait()
	return out.String()
}

// TestEngineIsAway: a start without the engine fails with one line, or waits for it.
func TestEngineIsAway(t *testing.T) {
	e := enginetest.Start(t)
	e.Kill()
	address := e.Address()
	wantStartFails(t, exitFailed, []string{"no engine at valkey://" + address}, "--valkey=valkey://"+address)

	port := enginetest.FreePort(t)
	server := fmt.Sprintf("http://127.0.0.1:%d", port)
	cmd := command(t, fmt.Sprintf("--port=%d", port), "--admin-address=off", "--valkey-wait", "--valkey=valkey://"+address)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if status, body := awaitAnswer(t, server, 503); status != 503 || !strings.Contains(body, `"done":false`) {
		t.Errorf("POST without an engine = %d %s, want 503 and done false", status, body)
	}
	e.Start()
	if status, body := awaitAnswer(t, server, 200); status != 200 {
		t.Errorf("POST with the engine = %d %s, want 200", status, body)
	}
}

// awaitAnswer creates sessions until one is answered with a status, for some seconds at most,
// and returns the last answer.
func awaitAnswer(t *testing.T, server string, want int) (status int, text string) {
	t.Helper()
	for range 200 {
		res, err := http.Post(server+"/token", "application/json", strings.NewReader(`{"meta":{}}`))
		if err == nil {
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if status, text = res.StatusCode, string(body); status == want {
				return status, text
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return status, text
}

func TestUnusedBesideAnEngine(t *testing.T) {
	tests := []struct {
		args []string
		want []string
	}{
		{[]string{"--valkey=valkey://h"}, nil},
		{[]string{"--valkey=valkey://h", "--shards=2", "--max-memory=1GiB", "--max-tokens=5", "--fsync=everysec"},
			[]string{"shards", "max-memory", "max-tokens", "fsync"}},
		{[]string{"--valkey-timeout=1s"}, []string{"valkey-timeout"}},
		{[]string{"--valkey-wait"}, []string{"valkey-timeout"}},
	}
	for _, test := range tests {
		m, _, err := parse(test.args, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, text := range m.Config.unused() {
			name, _, _ := strings.Cut(text, " ")
			got = append(got, name)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%v: unused %v, want %v", test.args, got, test.want)
		}
	}
}

func TestWithoutPassword(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"valkey://h", "valkey://h"},
		{"valkey://u:p@h", "valkey://…@h"},
		{"valkey://u:p@@h", "valkey://…@h"},
		{"u:p@h", "…@h"},
		{"", ""},
	} {
		if got := withoutPassword(test.text); got != test.want {
			t.Errorf("withoutPassword(%q) = %q, want %q", test.text, got, test.want)
		}
	}
	if got := fmt.Sprint(withoutPassword("valkey://u:p@h/1?prefix=a@b")); strings.Contains(got, ":p") {
		t.Errorf("withoutPassword = %q", got)
	}
}

// TestLaterFormat: a session that a later version has written is no invalid token to this one, which
// says why it can't tell.
func TestLaterFormat(t *testing.T) {
	e := enginetest.Start(t)
	p := startProcess(t, "--valkey=valkey://"+e.Address(), "--valkey-timeout=10s")
	text := create(t, "http://"+p.address)
	tok, err := token.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	id := base64.RawURLEncoding.EncodeToString(tok.ID[:])
	e.Must(fmt.Sprintf(`SETRANGE %s{%s}%s %d "\x07"`, valkey.DefaultPrefix, id[:3], id[3:], token.DigestLen))
	for _, request := range []struct{ method, path, body string }{
		{"PUT", "/token", `{"token":"` + text + `"}`},
		{"PUT", "/token", `{"token":"` + text + `","meta":{"a":1}}`},
		{"POST", "/token/validate", `{"token":"` + text + `"}`},
	} {
		status, body := call(t, request.method, "http://"+p.address+request.path, request.body, nil, "")
		if status != 503 || !strings.Contains(body, `"done":false`) {
			t.Errorf("%s %s = %d %s, want 503 and done false", request.method, request.path, status, body)
		}
	}
	p.signal(syscall.SIGTERM)
	p.wait()
	if log := p.log.String(); !strings.Contains(log, "format 7") {
		t.Errorf("the log does not name the format:\n%s", log)
	}
}
