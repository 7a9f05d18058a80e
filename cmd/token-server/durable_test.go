package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"tokenserver/token"
)

// api sends one request about a token on a connection of its own.
func (p *process) api(method, path, token string) string {
	p.t.Helper()
	_, answer := do(p.t, method, "http://"+p.address+path, `{"token":"`+token+`"}`)
	return answer
}

// exchange spends a token and returns the next.
func (p *process) exchange(token string) string {
	p.t.Helper()
	_, rest, ok := strings.Cut(p.api("PUT", "/token", token), `{"Ok":{"token":"`)
	if next, _, more := strings.Cut(rest, `"`); ok && more {
		return next
	}
	p.t.Fatalf("PUT /token: no next token in %q", rest)
	return ""
}

func (p *process) wantLog(want string) {
	p.t.Helper()
	if !strings.Contains(p.log.String(), want) {
		p.t.Errorf("log has no %q:\n%s", want, p.log)
	}
}

const invalidToken = `{"Err":"InvalidToken"}`

func TestSessionsSurvive(t *testing.T) {
	tests := []struct {
		fsync  string
		signal syscall.Signal
		code   int
	}{
		{"always", syscall.SIGTERM, exitOK},
		{"everysec", syscall.SIGTERM, exitOK},
		{"always", syscall.SIGKILL, -1},
	}
	for _, tt := range tests {
		t.Run(tt.fsync+", "+tt.signal.String(), func(t *testing.T) {
			args := []string{"--data-dir=" + filepath.Join(t.TempDir(), "a", "b"), "--fsync=" + tt.fsync}
			p := startProcess(t, args...)
			p.wantLog("msg=loaded sessions=0 expired=0 seconds=")
			base := "http://" + p.address
			spent, deleted, untouched := create(t, base), create(t, base), create(t, base)
			current := p.exchange(spent)
			p.api("DELETE", "/token", deleted)
			p.signal(tt.signal)
			if got := p.wait(); got != tt.code {
				t.Errorf("exit code = %d, want %d:\n%s", got, tt.code, p.log)
			}
			if tt.code == exitOK {
				p.wantLog("msg=flushed seconds=")
			}

			p = startProcess(t, args...)
			p.wantLog("msg=loaded sessions=2 expired=0 seconds=")
			for _, token := range []string{spent, deleted} {
				if got := p.api("PUT", "/token", token); got != invalidToken {
					t.Errorf("PUT /token with a token that was not good any more = %s, want %s", got, invalidToken)
				}
			}
			for _, token := range []string{current, untouched} {
				if got, want := p.api("POST", "/token/validate", token), `{"Ok":{"meta":{"user":1},`; !strings.HasPrefix(got, want) {
					t.Errorf("POST /token/validate = %s, want %s", got, want)
				}
				p.exchange(token)
			}
		})
	}
}

// A grace goes on after a restart: the secret that it needs is in the data directory.
func TestGraceSurvives(t *testing.T) {
	args := []string{"--data-dir=" + t.TempDir(), "--grace=1min"}
	p := startProcess(t, args...)
	spent := create(t, "http://"+p.address)
	current := p.exchange(spent)
	p.signal(syscall.SIGKILL)
	p.wait()
	p = startProcess(t, args...)
	if got := p.exchange(spent); got != current {
		t.Errorf("PUT /token in the grace = token %s, want the current one", got)
	}
}

// The key is changed, from that of the data directory to one in a file and again to
// another one: no replay in the grace is taken for a theft.
func TestKeyIsChanged(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	args := []string{"--data-dir=" + data, "--grace=1min", "--on-reuse=revoke"}
	previous := filepath.Join(data, "SECRET")
	p := startProcess(t, args...)
	spent := create(t, "http://"+p.address)
	current := p.exchange(spent)
	for _, name := range []string{"one", "two"} {
		key := filepath.Join(dir, name)
		if err := os.WriteFile(key, []byte(strings.Repeat(name, token.MinSecret)), 0o600); err != nil {
			t.Fatal(err)
		}
		p.signal(syscall.SIGTERM)
		p.wait()
		p = startProcess(t, append([]string{"--secret-file=" + key, "--secret-file=" + previous}, args...)...)
		for range 2 {
			if got := p.exchange(spent); got != current {
				t.Errorf("PUT /token with a token of the previous key = token %s, want the current one", got)
			}
			spent, current = current, p.exchange(current) // by the new key, from the previous one's
		}
		previous = key
	}
}

func TestDurableModeLog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	cmd := command(t, "--port=0", "--admin-address=off")
	cmd.Env = append(cmd.Environ(), "TOKEN_SERVER_DATA_DIR="+dir, "TOKEN_SERVER_FSYNC=everysec")
	p := startCommand(t, cmd)
	p.wantLog(`level=INFO msg="durable mode: sessions outlive this process" data_dir=` + dir + " fsync=everysec\n")
	p.signal(syscall.SIGTERM)
	p.wait()
	p.wantLog("msg=flushed seconds=")
	for _, unwanted := range []string{"memory mode", "level=WARN", "level=ERROR"} {
		if strings.Contains(p.log.String(), unwanted) {
			t.Errorf("log has %q, want none:\n%s", unwanted, p.log)
		}
	}
}

func TestDiskMetrics(t *testing.T) {
	m, _ := run(t, "--data-dir="+t.TempDir())
	create(t, m.url(""))
	for _, want := range []string{
		"store_disk_bytes [1-9]", "store_disk_free_bytes [1-9]",
		"store_sync_duration_seconds_sum [0-9.e-]*[1-9]", "store_sync_duration_seconds_count [1-9]",
	} {
		m.awaitMetric(t, regexp.MustCompile("\ntoken_server_"+want))
	}
}

// awaitMetric scrapes until a metric is there: Pebble counts a sync only after it
// has let those go who waited for it.
func (m *Main) awaitMetric(t *testing.T, want *regexp.Regexp) {
	t.Helper()
	metrics := ""
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if _, metrics = do(t, "GET", m.adminURL("/metrics"), ""); want.MatchString(metrics) {
			return
		}
	}
	t.Errorf("no %q in the metrics within 10 s:\n%s", want, metrics)
}

func TestModesOfTheDataDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	p := startProcess(t, "--data-dir="+dir, "--grace=1s")
	create(t, "http://"+p.address)
	p.signal(syscall.SIGTERM)
	p.wait()
	modes := map[bool]fs.FileMode{true: fs.ModeDir | 0o700, false: 0o600}
	files := 0
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			t.Fatal(err)
		}
		info, err := d.Info()
		if want := modes[d.IsDir()]; err != nil || info.Mode() != want {
			t.Errorf("%s: mode %v, error %v, want %v", path, info.Mode(), err, want)
		}
		files++
		return nil
	})
	if files < 5 {
		t.Errorf("%d files in %s, want those of a database", files, dir)
	}
}

// startFails runs the command, which must end soon, and returns its exit code
// and its log.
func startFails(t *testing.T, args ...string) (code int, log string) {
	t.Helper()
	path, err := binary() // not within the time that the start may take: a first build takes minutes
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append([]string{"--port=0", "--admin-address=off"}, args...)...)
	out, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(out)
}

func linesWith(part, text string) (lines []string) {
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			lines = append(lines, line)
		}
	}
	return lines
}

// wantStartFails checks that the command ends with a code and one line that has all parts.
func wantStartFails(t *testing.T, code int, parts []string, args ...string) {
	t.Helper()
	got, log := startFails(t, args...)
	lines := linesWith("level=ERROR", log)
	if got != code || len(lines) != 1 {
		t.Errorf("%q: exit code %d, errors %q, want code %d and one line", args, got, lines, code)
	}
	for _, part := range parts {
		if text := strings.Join(lines, ""); !strings.Contains(text, part) {
			t.Errorf("%q: error %q, want %q in it", args, text, part)
		}
	}
}

// wantRefused is wantStartFails for what is found out before the port is opened.
func wantRefused(t *testing.T, code int, parts []string, args ...string) {
	t.Helper()
	wantStartFails(t, code, parts, args...)
	if _, log := startFails(t, args...); strings.Contains(log, "msg=listening") {
		t.Errorf("%q: the port was opened before the start failed:\n%s", args, log)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	p := startProcess(t, "--data-dir="+dir)
	tok := create(t, "http://"+p.address)
	wantRefused(t, exitFailed, []string{dir, "in use by another process"}, "--data-dir="+dir)
	p.exchange(tok)
	p.signal(syscall.SIGKILL)
	p.wait()
	startProcess(t, "--data-dir="+dir)
}

// filled returns a data directory with some sessions that were flushed.
func filled(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	p := startProcess(t, "--data-dir="+dir)
	for range 20 {
		create(t, "http://"+p.address)
	}
	p.signal(syscall.SIGTERM)
	p.wait()
	return dir
}

func TestDamagedFilesAreNamed(t *testing.T) {
	for _, pattern := range []string{"*.sst", "MANIFEST-*", "FORMAT"} {
		t.Run(pattern, func(t *testing.T) {
			dir := filled(t)
			names, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil || len(names) == 0 {
				t.Fatalf("Glob(%q) = %v, %v, want a file", pattern, names, err)
			}
			for _, name := range names {
				damage(t, name)
			}
			wantStartFails(t, exitFailed, []string{filepath.Base(names[0])}, "--data-dir="+dir)
		})
	}
}

// damage flips a bit in the first part of a file.
func damage(t *testing.T, name string) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/8] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDataDirsThatAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("not ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		want []string
	}{
		{"below a file", []string{"--data-dir=" + file + "/data"}, []string{file}},
		{"a file", []string{"--data-dir=" + file}, []string{file}},
		{"of another program", []string{"--data-dir=" + filepath.Dir(file)}, []string{filepath.Dir(file), "not empty"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantStartFails(t, exitFailed, tt.want, tt.args...) })
	}
	if b, err := os.ReadFile(file); err != nil || !bytes.Equal(b, []byte("not ours")) {
		t.Errorf("the file that was there = %q, %v, want it untouched", b, err)
	}
	// More sessions than are allowed are no reason.
	startProcess(t, "--data-dir="+filled(t), "--max-tokens=19").wantLog(fmt.Sprintf("msg=loaded sessions=%d ", 20))
}
