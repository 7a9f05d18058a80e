package main

import (
	"bufio"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tokenserver/internal/flags"
)

// startUnread starts a command whose log is read until it listens and then no
// more. When it returns, the pipe of the log is full.
func startUnread(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r, w := os.NewFile(uintptr(fds[0]), "log"), os.NewFile(uintptr(fds[1]), "log")
	defer w.Close()
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd, log: new(buffer), exited: make(chan struct{})}
	go func() { cmd.Wait(); close(p.exited) }()
	t.Cleanup(func() { cmd.Process.Kill(); <-p.exited; r.Close() })
	listening := make(chan string, 1)
	lines := bufio.NewScanner(r)
	for len(listening) == 0 && lines.Scan() {
		p.note(lines.Text(), listening)
	}
	p.address = <-listening
	size, err := unix.FcntlInt(r.Fd(), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, size)); err != nil { // there is nothing else in it
		t.Fatal(err)
	}
	return p
}

// A log that nobody reads stops no stop.
func TestStopWithAFullLog(t *testing.T) {
	for _, args := range [][]string{nil, {"--data-dir=" + t.TempDir()}, {"--log-level=debug"}} {
		p := startUnread(t, command(t, append([]string{"--port=0", "--admin-address=off"}, args...)...))
		if args == nil {
			create(t, "http://"+p.address)
		} else { // with debug log entries its answer waits for the log
			dial(t, p.address).send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		p.signal(syscall.SIGTERM)
		if got := p.wait(); got != exitOK {
			t.Errorf("%q: exit code = %d, want %d", args, got, exitOK)
		}
	}
}

// Nor does it keep a server alive whose disk has failed.
func TestDiskFailureWithAFullLog(t *testing.T) {
	cmd := smallFiles(command(t, "--port=0", "--admin-address=off", "--data-dir="+t.TempDir()), 1000)
	p := startUnread(t, cmd)
	c, err := dialClient(p.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 200 { // much more than the limit
		r := &request{kind: kindCreate, patch: meta{pad: 60 * flags.KiB}}
		c.send(r)
		if err := c.receive(r); err != nil {
			break // the end
		}
		if r.answer.token == "" {
			t.Errorf("%v, want a token, or no answer at the end", r)
		}
	}
	if got := p.wait(); got != exitDisk {
		t.Errorf("exit code = %d, want %d", got, exitDisk)
	}
}
