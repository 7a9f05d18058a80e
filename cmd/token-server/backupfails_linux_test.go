package main

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tokenserver/internal/flags"
)

// wantNoBackup checks that a backup failed for a reason, and that nothing is left of it.
func wantNoBackup(t *testing.T, dir string, code int, text, reason string) {
	t.Helper()
	if code != exitFailed || !strings.HasPrefix(text, "token-server: backup: ") || !strings.Contains(text, reason) {
		t.Errorf("backup = %d %q, want %d with %q", code, text, exitFailed, reason)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is there (%v), want that nothing is left", err)
	}
}

// runProcess runs a command to its end.
func runProcess(cmd *exec.Cmd) (code int, text string) {
	out, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(out)
}

// Whoever interrupts a backup waits for no server.
func TestBackupIsInterrupted(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	dir := filepath.Join(t.TempDir(), "backup")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		archive := tar.NewWriter(w)
		archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "000004.log", Size: 1 << 20})
		archive.Write(make([]byte, 1000))
		http.NewResponseController(w).Flush()
		for { // until the command has begun
			if _, err := os.Stat(filepath.Join(dir, "000004.log")); err == nil {
				break
			}
		}
		interrupt()
		select {
		case <-r.Context().Done():
		case <-time.After(backupTimeout / 2):
			t.Error("the command waits for the server, want that it ends")
		}
	}))
	defer s.Close()
	out := new(buffer)
	m := &Main{Stdout: out, Stderr: out}
	code := m.Execute(ctx, []string{"backup", dir, "--admin-address=" + s.Listener.Addr().String()})
	wantNoBackup(t, dir, code, out.String(), "interrupted")
}

// onceThrough is a listener for one connection, of which begun is called when some of the
// answer of the server has gone through.
func onceThrough(t *testing.T, server string, begun func()) (address string) {
	t.Helper()
	address = filepath.Join(filepath.Dir(server), "through")
	ln, err := net.Listen("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		client, err := ln.Accept()
		if err != nil {
			return
		}
		defer client.Close()
		c, err := net.Dial("unix", server)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		go io.Copy(c, client)
		io.CopyN(client, c, 100_000)
		begun()
		io.Copy(client, c)
	}()
	return address
}

// A server that is killed while it sends a backup leaves none, and begins anew without what
// it has made for it.
func TestBackupOfAServerThatIsKilled(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	fillDataDir(t, data, 20_000)
	socket := filepath.Join(socketDir(t), "admin")
	p := startCommand(t, command(t, "--port=0", "--admin-address=unix:"+socket, "--data-dir="+data))
	through := onceThrough(t, socket, func() {
		p.cmd.Process.Kill()
		p.wait()
	})
	dir := filepath.Join(t.TempDir(), "backup")
	code, text := runCommand(t, "backup", dir, "--admin-address=unix:"+through)
	wantNoBackup(t, dir, code, text, "not whole")
	startProcess(t, "--data-dir="+data)
	wantNoCheckpoint(t, data)
}

func wantNoCheckpoint(t *testing.T, data string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(data, "checkpoint.tmp")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the checkpoint is there (%v), want that it was removed", err)
	}
}

// What a backup is written to may be full, and so may be what it is made on.
func TestBackupWithoutRoom(t *testing.T) {
	data := mountDisk(t, flags.GiB)
	fillDataDir(t, data.dir, 20_000)
	m, _ := run(t, "--data-dir="+data.dir)
	backup := func(dir string) *exec.Cmd {
		return command(t, "backup", dir, "--admin-address="+addressOf(m.adminListener))
	}
	t.Run("on its disk", func(t *testing.T) {
		dir := filepath.Join(mountDisk(t, flags.MiB).dir, "backup")
		code, text := runProcess(backup(dir))
		wantNoBackup(t, dir, code, text, diskIsFull)
	})
	t.Run("in its files", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "backup")
		code, text := runProcess(smallFiles(backup(dir), 1000))
		wantNoBackup(t, dir, code, text, "file too large")
	})
	t.Run("on the disk of the server", func(t *testing.T) {
		data.resize(data.used() + 100*flags.MiB)
		defer data.resize(flags.GiB)
		dir := filepath.Join(t.TempDir(), "backup")
		code, text := runProcess(backup(dir))
		wantNoBackup(t, dir, code, text, "not enough free space")
		wantNoCheckpoint(t, data.dir)
	})
	wantNoCheckpoint(t, data.dir)
	if code, text := runProcess(backup(filepath.Join(t.TempDir(), "backup"))); code != exitOK {
		t.Errorf("backup with room = %d %q, want 0", code, text)
	}
}
