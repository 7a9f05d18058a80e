package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// TestMain looks for leaks, but not for two goroutines of fasthttp: its clock,
// and the cleaner of a server's workers, which ends within 10 s after it.
func TestMain(m *testing.M) {
	if os.Getenv(endlessLoadDir) != "" {
		runEndlessLoad()
	}
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.Cleanup(func(code int) {
			removeBinary()
			os.Exit(code)
		}),
	)
}

// buffer is a bytes.Buffer for a log that is read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// newMain returns a program with parsed flags, on free ports unless args say otherwise.
func newMain(t *testing.T, args ...string) (*Main, *buffer) {
	t.Helper()
	keepMemoryLimit(t)
	log := new(buffer)
	m := &Main{Stdout: io.Discard, Stderr: log}
	if err := m.ParseFlags(append([]string{"--port=0", "--admin-address=127.0.0.1:0"}, args...)); err != nil {
		t.Fatal(err)
	}
	return m, log
}

// run runs a program until the test ends. Its store is loaded.
func run(t *testing.T, args ...string) (*Main, *buffer) {
	t.Helper()
	m, log := newMain(t, args...)
	if err := m.Run(); err != nil {
		t.Fatal(err)
	}
	if <-m.load.ended; m.load.err != nil {
		t.Fatal(m.load.err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("Close() = %v, want nil", err)
		}
	})
	return m, log
}

func (m *Main) url(path string) string { return "http://" + m.listeners[0].Addr().String() + path }

func (m *Main) adminURL(path string) string {
	return "http://" + m.adminListener.Addr().String() + path
}

// do sends one request on a connection of its own.
func do(t *testing.T, method, url, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// create makes a session and returns its token.
func create(t *testing.T, base string) string {
	t.Helper()
	status, tok := do(t, "POST", base+"/token", `{"meta":{"user":1}}`)
	if status != 200 || len(tok) != 32 {
		t.Fatalf("POST /token = %d %q, want a token", status, tok)
	}
	return tok
}

func TestRunServesTokens(t *testing.T) {
	m, _ := run(t)
	tok := create(t, m.url(""))
	status, answer := do(t, "PUT", m.url("/token"), `{"token":"`+tok+`","meta":{"page":2}}`)
	if status != 200 || !strings.Contains(answer, `"meta":{"user":1,"page":2}`) {
		t.Errorf("PUT /token = %d %s, want the merged metadata", status, answer)
	}
	if status, answer = do(t, "PUT", m.url("/token"), `{"token":"`+tok+`"}`); answer != `{"Err":"InvalidToken"}` {
		t.Errorf("PUT /token with a spent token = %d %s, want InvalidToken", status, answer)
	}
	if status, _ = do(t, "HEAD", m.url("/dump"), ""); status != 404 {
		t.Errorf("HEAD /dump without --dump = %d, want 404", status)
	}
}

func TestRunAppliesItsLimits(t *testing.T) {
	m, _ := run(t, "--max-tokens=1", "--max-meta=1KiB", "--max-body=2KiB", "--dump", "--shards=2")
	meta := func(size int) string { return `{"meta":{"a":"` + strings.Repeat("x", size) + `"}}` }
	tests := []struct {
		method, path, body string
		want               int
	}{
		{"POST", "/token", meta(3000), 413},
		{"POST", "/token", meta(1500), 413},
		{"POST", "/token", meta(1), 200},
		{"POST", "/token", meta(1), 507},
		{"HEAD", "/dump", "", 202},
	}
	for _, tt := range tests {
		if got, answer := do(t, tt.method, m.url(tt.path), tt.body); got != tt.want {
			t.Errorf("%s %s with %d bytes = %d %s, want %d", tt.method, tt.path, len(tt.body), got, answer, tt.want)
		}
	}
	if got := storeStats(m.store)().Shards; got != 2 {
		t.Errorf("shards = %d, want 2", got)
	}
}

func TestMetrics(t *testing.T) {
	m, _ := run(t, "--shards=8")
	tok := create(t, m.url(""))
	do(t, "PUT", m.url("/token"), `{"token":"`+tok+`"}`)
	do(t, "PUT", m.url("/token"), `{"token":"`+tok+`"}`)
	create(t, m.url(""))
	_, metrics := do(t, "GET", m.adminURL("/metrics"), "")
	for _, want := range []string{
		`token_server_requests_total{code="200",method="POST"} 2`,
		`token_server_requests_total{code="200",method="PUT"} 2`,
		`token_server_request_duration_seconds_count 4`,
		`token_server_exchanges_total{result="ok"} 1`,
		`token_server_exchanges_total{result="invalid"} 1`,
		`token_server_sessions 2`,
		`token_server_sessions_created_total 2`,
		`token_server_shards 8`,
	} {
		if !strings.Contains(metrics, "\n"+want+"\n") {
			t.Errorf("no %q in the metrics:\n%s", want, metrics)
		}
	}
	if strings.Contains(metrics, "store_disk") || strings.Contains(metrics, "store_sync") {
		t.Errorf("metrics of memory mode tell of a disk:\n%s", metrics)
	}
	if status, _ := do(t, "GET", m.adminURL("/debug/pprof/"), ""); status != 200 {
		t.Errorf("GET /debug/pprof/ = %d, want 200", status)
	}
}

func TestStartUpLog(t *testing.T) {
	m, log := run(t, "--token-lifetime=90min", "--purge-interval=5s", "--shards=8", "--max-tokens=99", "--max-memory=1MiB")
	got := log.String()
	for _, want := range []string{
		`level=INFO msg=starting `, ` shards=8 `, ` token_lifetime=90min `, ` purge_interval=5s `,
		` max_body=64KiB `, ` max_meta=64KiB `, ` max_tokens=99 `, ` max_memory=1MiB `,
		`level=INFO msg="memory mode: all sessions are forgotten when this process ends"`,
		` msg=listening address=` + m.listeners[0].Addr().String() + "\n",
		` msg="admin listening" address=` + m.adminListener.Addr().String() + "\n",
		" msg=ready\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("log has no %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "WARN") {
		t.Errorf("log has a warning, want none on loopback:\n%s", got)
	}
}

func TestJSONLog(t *testing.T) {
	m, log := run(t, "--log-format=json")
	var last, ready struct{ Msg, Address, Level string }
	for line := range strings.Lines(log.String()) {
		last = ready
		if err := json.Unmarshal([]byte(line), &ready); err != nil {
			t.Errorf("log line %q: %v, want JSON", line, err)
		}
	}
	if ready.Msg != "ready" || ready.Level != "INFO" {
		t.Errorf("last log line = %+v, want that the server is ready", ready)
	}
	if last.Msg != "admin listening" || last.Address != m.adminListener.Addr().String() || last.Level != "INFO" {
		t.Errorf("log line before = %+v, want the admin listener's", last)
	}
}

func TestLogLevel(t *testing.T) {
	_, log := run(t, "--log-level=warn", "--address=0.0.0.0")
	if got := log.String(); strings.Contains(got, "INFO") || !strings.Contains(got, "level=WARN") {
		t.Errorf("log at level warn = %q, want the warning alone", got)
	}
}

// TestWarningOfOpenAddresses: where anybody may call who is not on this machine, one line
// says so.
func TestWarningOfOpenAddresses(t *testing.T) {
	secrets := authFile(t, "web")
	tests := []struct {
		args        []string
		ours, admin bool
	}{
		{[]string{"--address=127.0.0.1"}, false, false},
		{[]string{"--address=localhost"}, false, false},
		{[]string{"--address=0.0.0.0"}, true, false},
		{[]string{"--address=0.0.0.0", "--address=127.0.0.1"}, true, false},
		{[]string{"--address=::", "--admin-address=off"}, true, false},
		{[]string{"--address=[::1]"}, false, false},
		{[]string{"--admin-address=0.0.0.0:0"}, false, true},
		{[]string{"--admin-address=:0"}, false, true},
		{[]string{"--address=0.0.0.0", "--admin-address=0.0.0.0:0"}, true, true},
		{[]string{"--admin-address=[::1]:0"}, false, false},
		{[]string{"--address=unix:" + filepath.Join(t.TempDir(), "a")}, false, false},
		{[]string{"--address=0.0.0.0", "--insecure"}, false, false},
		{[]string{"--address=0.0.0.0", "--admin-address=0.0.0.0:0", "--auth-file=" + secrets.file}, false, false},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			if strings.Contains(tt.args[0], "::") && !hasIPv6() {
				t.Skip("this machine has no IPv6")
			}
			_, log := run(t, tt.args...)
			warnings := linesWith("WARN", log.String())
			if want := tt.ours || tt.admin; (len(warnings) == 1) != want || len(warnings) > 1 {
				t.Fatalf("warnings = %q, want one: %v", warnings, want)
			}
			text := strings.Join(warnings, "")
			if got := strings.Contains(text, " address="); got != tt.ours {
				t.Errorf("warning of the address = %v, want %v:\n%s", got, tt.ours, text)
			}
			if got := strings.Contains(text, " admin_address="); got != tt.admin {
				t.Errorf("warning of the admin address = %v, want %v:\n%s", got, tt.admin, text)
			}
		})
	}
}

func TestFsyncWarning(t *testing.T) {
	const warning = "fsync is not used"
	for _, tt := range []struct {
		args []string
		want bool
	}{
		{[]string{"--fsync=everysec"}, true},
		{[]string{"--fsync=always"}, false},
		{[]string{"--fsync=everysec", "--data-dir=" + t.TempDir()}, false},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			if _, log := run(t, tt.args...); strings.Contains(log.String(), warning) != tt.want {
				t.Errorf("log = %q, want that it has %q: %v", log, warning, tt.want)
			}
		})
	}
}

func hasIPv6() bool {
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		return false
	}
	ln.Close()
	return true
}

func TestServiceLinkWarning(t *testing.T) {
	m, log := newMain(t)
	m.ignored = []string{"TOKEN_SERVER_PORT"}
	if err := m.Run(); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Errorf("Close() = %v, want nil", err)
	}
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "name=TOKEN_SERVER_PORT") {
		t.Errorf("log = %q, want a warning of the ignored variable", log)
	}
}

func TestAdminOff(t *testing.T) {
	m, log := run(t, "--admin-address=off")
	if m.adminListener != nil || strings.Contains(log.String(), "admin") {
		t.Errorf("admin listener = %v, want none; log:\n%s", m.adminListener, log)
	}
}

func TestAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	for flag, arg := range map[string]string{
		"--port":          "--port=" + port,
		"--admin-address": "--admin-address=" + taken.Addr().String(),
	} {
		m, log := newMain(t, arg)
		if err := m.Run(); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), flag) {
			t.Errorf("Run() with %s = %v, want EADDRINUSE and the flag", arg, err)
		}
		if log.String() != "" {
			t.Errorf("Run() with %s logged %q, want nothing", arg, log)
		}
	}
}

func TestExecuteFailsInOneLine(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	log := new(buffer)
	m := &Main{Stdout: io.Discard, Stderr: log}
	if got := m.Execute(context.Background(), []string{"--admin-address=off", "--port=" + port}); got != exitFailed {
		t.Errorf("Execute() on a taken port = %d, want %d", got, exitFailed)
	}
	line := regexp.MustCompile(`^time=\S+ level=ERROR msg="cannot listen .*:` + port + `: .*address already in use"\n$`)
	if !line.MatchString(log.String()) {
		t.Errorf("log = %q, want one line that matches %v", log, line)
	}
}

func TestTakenDefaultAdminAddress(t *testing.T) {
	taken, err := net.Listen("tcp", defaultAdminAddress)
	if err == nil {
		defer taken.Close()
	} // else something else has it, which serves as well
	m, log := run(t, "--admin-address="+defaultAdminAddress)
	if m.adminListener != nil || !strings.Contains(log.String(), `ask whoever has this one`) {
		t.Errorf("admin listener = %v, want none and a warning; log:\n%s", m.adminListener, log)
	}
	if status, _ := do(t, "GET", m.url("/healthz"), ""); status != 200 {
		t.Errorf("GET /healthz = %d, want 200", status)
	}
}
