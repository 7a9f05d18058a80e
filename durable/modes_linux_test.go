package durable

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"tokenserver/token"
)

// TestLoosenedModes opens a directory as Kubernetes leaves it at each mount of a
// volume with a group of its own: the second start is as good as the first.
func TestLoosenedModes(t *testing.T) {
	var log strings.Builder
	cfg := diskConfig(t)
	cfg.Store.Grace = time.Second
	s := mustOpen(t, cfg)
	tok := mustCreate(t, s, `{}`)
	mustClose(t, s)
	must(t, filepath.WalkDir(cfg.Dir, func(path string, d os.DirEntry, err error) error {
		must(t, err)
		if d.IsDir() {
			return os.Chmod(path, os.ModeSetgid|0o770)
		}
		return os.Chmod(path, 0o660)
	}))
	must(t, os.Mkdir(filepath.Join(cfg.Dir, ".snapshot"), 0o755))
	cfg.Logger = textLogger(&log)
	s = mustOpen(t, cfg)
	must(t, os.Remove(filepath.Join(cfg.Dir, ".snapshot"))) // which was left alone
	checkModes(t, cfg.Dir)
	mustExchange(t, s, tok, "")
	mustClose(t, s)
	for _, want := range []string{"mode=-rwxrwx---", `msg="files in the data directory were open to others"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log says %q, want %q", log.String(), want)
		}
	}
}

// asNobody calls do as a user who owns nothing. The thread ends with it.
func asNobody(t *testing.T, do func()) {
	const nobody, same = 65534, ^uintptr(0)
	if os.Geteuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	done := make(chan syscall.Errno)
	go func() {
		runtime.LockOSThread() // and never unlocked
		_, _, err := syscall.RawSyscall(syscall.SYS_SETRESUID, same, nobody, same)
		if err == 0 {
			do()
		}
		done <- err
	}()
	if err := <-done; err != 0 {
		t.Fatal(err)
	}
}

// openOf opens a directory of somebody else's with a file.
func openOf(t *testing.T, mode, fileMode os.FileMode, owner int, name string) *openDir {
	path := t.TempDir()
	file := filepath.Join(path, name)
	must(t, os.WriteFile(file, make([]byte, token.MinSecret), 0o600))
	must(t, os.Chown(file, owner, -1))
	must(t, os.Chmod(file, fileMode))
	must(t, os.Chmod(path, mode))
	d, err := openDirectory(path, &Config{Logger: testLogger(t)})
	must(t, err)
	t.Cleanup(func() { d.close() })
	return d
}

// TestDirectoryOfOthers: what can't be tightened is refused, with what is needed.
func TestDirectoryOfOthers(t *testing.T) {
	for _, test := range []struct {
		mode   os.FileMode
		file   string
		advice bool
	}{
		{0o777, ".gitkeep", true},
		{0o755, ".gitkeep", false}, // nothing can be made inside
		{0o777, formatFile, false}, // its sessions would be left behind
	} {
		d := openOf(t, test.mode, fileMode, 0, test.file)
		asNobody(t, func() {
			err := d.tighten(testLogger(t))
			if !errors.Is(err, syscall.EPERM) {
				t.Errorf("tighten = error %v, want %v", err, syscall.EPERM)
				return
			}
			for _, want := range []string{d.path, "owner 0", "user 65534", "needs mode 0700"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("tighten = error %v, want %q in it", err, want)
				}
			}
			if got := strings.Contains(err.Error(), "one inside"); got != test.advice || strings.Contains(err.Error(), "\n") {
				t.Errorf("mode %#o with %s: error %q, want that it advises: %v", test.mode, test.file, err, test.advice)
			}
		})
	}
}

// TestSecretOfOthers: one that root has mounted for us is good.
func TestSecretOfOthers(t *testing.T) {
	for _, test := range []struct {
		mode  os.FileMode
		owner int
		want  bool
	}{
		{0o600, 0, true},
		{0o400, 0, true},
		{0o440, 0, true},
		{0o640, 0, true},
		{0o660, 0, false},
		{0o644, 0, false},
		{0o604, 0, false},
		{0o440, 1, false},
		{0o640, 1, false},
		{0o600, 1, true},
	} {
		d := openOf(t, 0o777, test.mode, test.owner, secretFile)
		asNobody(t, func() {
			d.tightenFiles([]string{secretFile}, testLogger(t))
			err := d.checkSecretMode()
			if (err == nil) != test.want {
				t.Errorf("mode %#o, owner %d: error %v, want none: %v", test.mode, test.owner, err, test.want)
			}
			if err != nil && (!strings.Contains(err.Error(), "owner") || !strings.Contains(err.Error(), "needs mode 0600")) {
				t.Errorf("error %q, want the owner and what is needed", err)
			}
		})
	}
}
