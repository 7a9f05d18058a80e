package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
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
	if err := syscall.Mount("tmpfs", d.dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("no file system of a chosen size without the right to mount: %v", err)
	}
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
	d := mountDisk(t, 100*mib)
	wantStartFails(t, exitDisk, []string{d.dir, "not enough free space"}, "--data-dir="+d.dir)
}

func TestReadyzTellsThatSpaceIsLow(t *testing.T) {
	d := mountDisk(t, gib)
	p := startProcess(t, "--data-dir="+d.dir)
	url := "http://" + p.address
	if status, answer := do(t, "GET", url+"/readyz", ""); status != 200 {
		t.Errorf("GET /readyz = %d %s, want 200", status, answer)
	}
	d.resize(d.used() + 100*mib)
	status, answer := do(t, "GET", url+"/readyz", "")
	if status != 503 || !strings.Contains(answer, "not enough free space") || !strings.Contains(answer, d.dir) {
		t.Errorf("GET /readyz on a nearly full disk = %d %s, want 503 and the reason", status, answer)
	}
	p.exchange(create(t, url)) // there is enough for that
	d.resize(gib)
	if status, answer = do(t, "GET", url+"/readyz", ""); status != 200 {
		t.Errorf("GET /readyz with space again = %d %s, want 200", status, answer)
	}
}

func (p *process) wantDiskFailure() {
	p.t.Helper()
	if got := p.wait(); got != exitDisk {
		p.t.Errorf("exit code on a full disk = %d, want %d", got, exitDisk)
	}
	lines := linesWith("the disk has failed", p.log.String())
	if len(lines) != 1 || !strings.Contains(lines[0], "no space left on device") {
		p.t.Errorf("%d lines in the log tell of the end, want one with the reason:\n%.3000q", len(lines), lines)
	}
	if rest := linesWith("goroutine ", p.log.String()); len(rest) > 0 {
		p.t.Errorf("log has a stack, want none:\n%.3000s", p.log)
	}
}

// A disk that is full ends the server, and nothing is lost that it has told.
func TestDiskFull(t *testing.T) {
	for _, fsync := range []string{"always", "everysec"} {
		t.Run(fsync, func(t *testing.T) {
			d := mountDisk(t, 4*gib) // of which little is used
			l := &ledger{t: t}
			if fsync == "everysec" {
				l.window = 1200 * time.Millisecond
			}
			tor := newTorture(t, l, uint64(time.Now().UnixNano()), []string{"--data-dir=" + d.dir, "--dump", "--fsync=" + fsync})
			for _, w := range tor.workers {
				w.pad = 40 * kib
			}
			time.AfterFunc(100*time.Millisecond, func() { d.shrink(2 * mib) })
			tor.each((*worker).load)
			tor.server.wantDiskFailure()
			failed := time.Now()
			d.resize(4 * gib)
			tor.server = startProcess(t, tor.args...)
			tor.recover(failed)
			tor.each((*worker).check)
			tor.ledger.compare(tor.server.dump())
			if l.requests < 2*connections {
				t.Errorf("%d requests, want more of them before the end", l.requests)
			}
		})
	}
}

func TestDiskFullAtTheStop(t *testing.T) {
	d := mountDisk(t, gib)
	p := startProcess(t, "--data-dir="+d.dir)
	tok := create(t, "http://"+p.address)
	d.resize(d.used())
	p.signal(syscall.SIGTERM)
	p.wantDiskFailure()
	d.resize(gib)
	startProcess(t, "--data-dir="+d.dir).exchange(tok)
}
