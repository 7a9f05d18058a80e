package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tokenserver/internal/flags"
)

// containerMemory is what a small container may use.
const containerMemory = 256 * flags.MiB

// TestSmallContainer: with the defaults of durable mode a load that fills the store, and
// the start after it, leave a small container alive.
func TestSmallContainer(t *testing.T) {
	for _, size := range []int{6 * flags.KiB, 60 * flags.KiB} {
		t.Run(flags.FormatSize(int64(size)), func(t *testing.T) {
			c := newContainer(t)
			dir := "--data-dir=" + filepath.Join(t.TempDir(), "data")
			p := c.start(dir, "--fsync=everysec")
			full := &filler{t: t, url: "http://" + p.address + "/token", pad: strings.Repeat("x", size)}
			full.run()
			c.check(p)
			p.signal(syscall.SIGTERM)
			if got := p.wait(); got != exitOK {
				t.Fatalf("exit code = %d, want %d:\n%s", got, exitOK, p.log)
			}
			p = c.start(dir)
			c.check(p)
			p.exchange(full.last)
		})
	}
}

// container limits the memory of processes.
type container struct {
	t     *testing.T
	group string // directory of the control group; empty where none can be made
}

// newContainer makes a control group, of version 1 or 2. In one that counts files too,
// the data directory must not be in memory.
func newContainer(t *testing.T) *container {
	c := &container{t: t}
	if isInMemory(t.TempDir()) {
		return c
	}
	name := fmt.Sprintf("token-server-test-%d", time.Now().UnixNano())
	for _, v := range []struct{ root, limit string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
		{"/sys/fs/cgroup", "memory.max"},
	} {
		group := filepath.Join(v.root, name)
		if os.Mkdir(group, 0o700) != nil {
			continue
		}
		t.Cleanup(func() { removeGroup(group) })
		if os.WriteFile(filepath.Join(group, v.limit), []byte(strconv.Itoa(containerMemory)), 0) == nil {
			c.group = group
			break
		}
	}
	t.Logf("control group: %q", c.group)
	return c
}

// removeGroup removes a group that the system takes a moment to find empty.
func removeGroup(group string) {
	for range 100 {
		if os.Remove(group) == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func isInMemory(dir string) bool {
	const tmpfs = 0x01021994 // TMPFS_MAGIC of statfs(2)
	var st syscall.Statfs_t
	return syscall.Statfs(dir, &st) == nil && st.Type == tmpfs
}

// start starts the server in the container, or with a GOMEMLIMIT in its place.
func (c *container) start(args ...string) *process {
	c.t.Helper()
	cmd := command(c.t, append([]string{"--port=0", "--admin-address=off"}, args...)...)
	if c.group == "" {
		cmd.Env = append(os.Environ(), fmt.Sprintf("GOMEMLIMIT=%d", containerMemory))
		return startCommand(c.t, cmd)
	}
	script := `echo $$ > "$0/cgroup.procs" && exec "$@"`
	return startCommand(c.t, exec.Command("/bin/sh", append([]string{"-c", script, c.group}, cmd.Args...)...))
}

// check expects that the server has always been in its limit.
func (c *container) check(p *process) {
	c.t.Helper()
	if c.t.Failed() {
		c.t.Fatalf("the server has ended with %d:\n%s", p.wait(), p.log)
	}
	most := peakMemory(c.t, p.cmd.Process.Pid)
	c.t.Logf("%d MiB in memory at most", most>>20)
	if c.group == "" && most > containerMemory {
		c.t.Errorf("%d bytes in memory, want %d at most", most, int64(containerMemory))
	}
}

// peakMemory returns the most bytes that a process has had in memory.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	text, _, _ := strings.Cut(rest, " kB")
	kib, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib * flags.KiB
}

// filler fills a server with sessions until it takes no more, and has each exchanged
// now and then.
type filler struct {
	t    *testing.T
	url  string
	pad  string
	mu   sync.Mutex
	last string // a token that is valid
}

func (f *filler) run() {
	var clients sync.WaitGroup
	for range 16 {
		clients.Go(f.client)
	}
	clients.Wait()
}

func (f *filler) client() {
	client := http.Client{Transport: new(http.Transport)}
	defer client.CloseIdleConnections()
	meta := `"meta":{"pad":"` + f.pad + `"}}`
	var tokens []string
	for {
		status, tok := f.send(&client, "POST", `{`+meta)
		if status == http.StatusInsufficientStorage {
			break
		}
		if status != 200 {
			f.t.Errorf("POST /token = %d %.100q", status, tok)
			return
		}
		tokens = append(tokens, tok)
	}
	for _, tok := range tokens {
		status, answer := f.send(&client, "PUT", `{"token":"`+tok+`",`+meta)
		if status != 200 {
			f.t.Errorf("PUT /token = %d %.100q", status, answer)
			return
		}
		f.mu.Lock()
		f.last = answer[len(`{"Ok":{"token":"`):][:32]
		f.mu.Unlock()
	}
}

func (f *filler) send(client *http.Client, method, body string) (status int, answer string) {
	req, err := http.NewRequest(method, f.url, bytes.NewReader([]byte(body)))
	if err != nil {
		f.t.Error(err)
		return 0, ""
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(text)
}
