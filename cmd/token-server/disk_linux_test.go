package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"tokenserver/internal/flags"
	"tokenserver/internal/testneeds"
)

// disk is a small file system of our own.
type disk struct {
	t   *testing.T
	dir string
}

// mountDisk mounts a file system in memory, where that is allowed.
func mountDisk(t *testing.T, size int64) *disk {
	t.Helper()
	d := &disk{t, t.TempDir()}
	err := syscall.Mount("tmpfs", d.dir, "tmpfs", 0, fmt.Sprintf("size=%d", size))
	testneeds.That(t, err == nil, fmt.Sprintf("a file system of a chosen size can't be mounted: %v", err))
	t.Cleanup(func() { syscall.Unmount(d.dir, syscall.MNT_DETACH) })
	return d
}

func (d *disk) resize(size int64) {
	d.t.Helper()
	if err := d.tryResize(size); err != nil {
		d.t.Fatal(err)
	}
}

func (d *disk) tryResize(size int64) error {
	return syscall.Mount("tmpfs", d.dir, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", size))
}

// shrink leaves so many bytes free, more or less, while somebody writes.
func (d *disk) shrink(free int64) {
	for d.tryResize(d.used()+free) != nil { // more was written in between
	}
}

// used returns the bytes in use.
func (d *disk) used() int64 {
	var st syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &st); err != nil {
		d.t.Error(err)
	}
	return int64(st.Blocks-st.Bfree) * st.Bsize
}

func TestStartOnAFullDisk(t *testing.T) {
	d := mountDisk(t, 100*flags.MiB)
	wantRefused(t, exitDisk, []string{d.dir, "not enough free space"}, "--data-dir="+d.dir)
}

func TestReadyzTellsThatSpaceIsLow(t *testing.T) {
	d := mountDisk(t, flags.GiB)
	p := startProcess(t, "--data-dir="+d.dir)
	url := "http://" + p.address
	if status, answer := do(t, "GET", url+"/readyz", ""); status != 200 {
		t.Errorf("GET /readyz = %d %s, want 200", status, answer)
	}
	d.resize(d.used() + 100*flags.MiB)
	status, answer := do(t, "GET", url+"/readyz", "")
	if status != 503 || !strings.Contains(answer, "not enough free space") || !strings.Contains(answer, d.dir) {
		t.Errorf("GET /readyz on a nearly full disk = %d %s, want 503 and the reason", status, answer)
	}
	p.exchange(create(t, url)) // there is enough for that
	d.resize(flags.GiB)
	if status, answer = do(t, "GET", url+"/readyz", ""); status != 200 {
		t.Errorf("GET /readyz with space again = %d %s, want 200", status, answer)
	}
}

// wantDiskFailure checks that the process ends because of the disk, and that
// one line says so, whatever was asked of it at that moment.
func (p *process) wantDiskFailure(reason string) {
	p.t.Helper()
	if got := p.wait(); got != exitDisk {
		p.t.Errorf("exit code when the disk fails = %d, want %d", got, exitDisk)
	}
	lines := linesWith("level=ERROR", p.log.String())
	if len(lines) != 1 || !strings.Contains(lines[0], "the disk has failed") || !strings.Contains(lines[0], reason) {
		p.t.Errorf("%d errors in the log, want one, with %q:\n%.3000q", len(lines), reason, lines)
	}
	if rest := linesWith("goroutine ", p.log.String()); len(rest) > 0 {
		p.t.Errorf("log has a stack, want none:\n%.3000s", p.log)
	}
}

const diskIsFull = "no space left on device"

// A disk that is full ends the server, and nothing is lost that it has told.
func TestDiskFull(t *testing.T) {
	for _, fsync := range []string{"always", "everysec"} {
		t.Run(fsync, func(t *testing.T) {
			d := mountDisk(t, 4*flags.GiB) // of which little is used
			tor := newDiskTorture(t, fsync, startProcess, "--data-dir="+d.dir)
			time.AfterFunc(100*time.Millisecond, func() { d.shrink(2 * flags.MiB) })
			tor.each((*worker).load)
			tor.server.wantDiskFailure(diskIsFull)
			failed := time.Now()
			d.resize(4 * flags.GiB)
			tor.restart(failed)
		})
	}
}

// A file that may not grow any more ends the server in the same way, and not
// with the signal that the system sends.
func TestFileSizeLimit(t *testing.T) {
	for _, fsync := range []string{"always", "everysec"} {
		t.Run(fsync, func(t *testing.T) {
			tor := newDiskTorture(t, fsync, startWithSmallFiles, "--data-dir="+t.TempDir())
			tor.each((*worker).load)
			tor.server.wantDiskFailure("file too large")
			tor.restart(time.Now())
		})
	}
}

// smallFiles runs a command that can't make a file of more than n blocks of 512 bytes.
func smallFiles(cmd *exec.Cmd, n int) *exec.Cmd {
	limited := exec.Command("/bin/sh", append([]string{"-c", fmt.Sprintf(`ulimit -f %d && exec "$@"`, n), "sh"}, cmd.Args...)...)
	limited.Env = cmd.Env
	return limited
}

func startWithSmallFiles(t *testing.T, args ...string) *process {
	t.Helper()
	return startCommand(t, smallFiles(command(t, append([]string{"--port=0", "--admin-address=off"}, args...)...), 10_000))
}

// newDiskTorture is newTorture with large metadata, of a server that start starts.
func newDiskTorture(t *testing.T, fsync string, start func(*testing.T, ...string) *process, args ...string) *torture {
	l := &ledger{t: t}
	if fsync == "everysec" {
		// A second, and as long as a sync takes on a busy machine, to a disk that is full.
		l.window = 4 * time.Second
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("-torture.seed=%d", seed)
	tor := &torture{t: t, ledger: l, args: append(args, "--dump", "--fsync="+fsync)}
	tor.addWorkers(seed)
	for _, w := range tor.workers {
		w.pad = 40 * flags.KiB
	}
	tor.server = start(t, tor.args...)
	return tor
}

// restart starts the server again after the disk has failed, and checks all that it has told.
// A crash takes back what was told shortly before it. The end of a process is seen later, on
// a busy machine by a second: nothing was told after the disk had failed.
func (tor *torture) restart(failed time.Time) {
	if last := tor.ledger.lastChange(); !last.IsZero() {
		failed = last
	}
	tor.server = startProcess(tor.t, tor.args...)
	tor.recover(failed, false)
	tor.each((*worker).check)
	tor.ledger.compare(tor.server.dump())
	if n := tor.ledger.requests; n < 2*connections {
		tor.t.Errorf("%d requests, want more of them before the end", n)
	}
}

// A start that can't write ends like a server that can't.
func TestStartWithoutRoomForAFile(t *testing.T) {
	for _, blocks := range []int{0, 1} {
		dir := t.TempDir()
		var out bytes.Buffer
		cmd := smallFiles(command(t, "--port=0", "--admin-address=off", "--data-dir="+dir), blocks)
		cmd.Stderr = &out // a pipe
		cmd.Run()
		lines := linesWith("level=ERROR", out.String())
		if got := cmd.ProcessState.ExitCode(); got != exitDisk || len(lines) != 1 || !strings.Contains(lines[0], "file too large") {
			t.Errorf("with files of %d blocks: exit code %d, errors %q, want %d and one line", blocks, got, lines, exitDisk)
		}
		startProcess(t, "--data-dir="+dir)
	}
}

func TestDiskFullAtTheStop(t *testing.T) {
	d := mountDisk(t, flags.GiB)
	p := startProcess(t, "--data-dir="+d.dir)
	tok := create(t, "http://"+p.address)
	d.resize(d.used())
	p.signal(syscall.SIGTERM)
	p.wantDiskFailure(diskIsFull)
	d.resize(flags.GiB)
	startProcess(t, "--data-dir="+d.dir).exchange(tok)
}
