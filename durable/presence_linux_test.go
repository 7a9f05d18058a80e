package durable

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"tokenserver/token"
)

// replacements are what may happen to a data directory in use.
var replacements = map[string]func(t *testing.T, dir string){
	"removed": func(t *testing.T, dir string) { must(t, os.RemoveAll(dir)) },
	"renamed": func(t *testing.T, dir string) { must(t, os.Rename(dir, dir+".old")) },
	"replaced by a copy": func(t *testing.T, dir string) {
		copyDir(t, dir, dir+".new")
		must(t, os.Rename(dir, dir+".old"))
		must(t, os.Rename(dir+".new", dir))
	},
	"replaced by a file": func(t *testing.T, dir string) {
		must(t, os.Rename(dir, dir+".old"))
		must(t, os.WriteFile(dir, nil, fileMode))
	},
	"replaced by a link": func(t *testing.T, dir string) {
		must(t, os.Rename(dir, dir+".old"))
		must(t, os.Mkdir(dir+".new", dirMode))
		must(t, os.Symlink(dir+".new", dir))
	},
}

// presenceTest is a store whose directory is replaced under it.
type presenceTest struct {
	*testing.T
	*Store
	dir   string
	fatal chan error
	tok   token.Token
}

func newPresenceTest(t *testing.T, set func(*Config)) *presenceTest {
	p := &presenceTest{T: t, fatal: make(chan error, 10)}
	cfg := diskConfig(t)
	cfg.tune = withoutTicks
	cfg.MemTableBytes = 16 << 10 // so that files come and go
	cfg.Fatal = func(err error) { p.fatal <- err }
	set(&cfg)
	p.dir = cfg.Dir
	p.Store = mustOpen(t, cfg)
	p.tok = mustCreate(t, p.Store, `{"a":1}`)
	return p
}

// work has the store write, merge and delete files.
func (p *presenceTest) work() {
	patch := fmt.Appendf(nil, `{"a":"%0*d"}`, 1000, 0)
	for range 100 {
		got, err := p.Exchange(p.Context(), p.tok, token.Patch{Meta: patch}, nil)
		if err != nil {
			return
		}
		p.tok = got.Token
	}
}

func (p *presenceTest) wantGone(what string, err error) {
	p.Helper()
	if !errors.Is(err, ErrGone) || errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), p.dir+" was ") {
		p.Errorf("%s = error %v, want %v and what became of the data directory", what, err, ErrGone)
	}
}

// snapshot returns all files at a path with their contents.
func snapshot(t *testing.T, dir string) map[string]string {
	files := make(map[string]string)
	if target, err := filepath.EvalSymlinks(dir); err == nil {
		dir = target
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) || err == nil && d.IsDir() {
			return nil
		}
		must(t, err)
		data, err := os.ReadFile(path)
		files[path] = string(data)
		return err
	})
	must(t, err)
	return files
}

// TestReplacedDirectory: it is noticed, also when nobody asks for anything, and what
// is at the path stays as it is.
func TestReplacedDirectory(t *testing.T) {
	for name, replace := range replacements {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPresenceTest(t, func(*Config) {})
			p.work()
			replace(t, p.dir)
			before := snapshot(t, p.dir)
			p.work() // before it is noticed
			select {
			case err := <-p.fatal:
				p.wantGone("Fatal", err)
			case <-time.After(patience):
				t.Fatalf("Fatal was not called")
			}
			p.wantGone("Ready", p.Ready())
			_, err := p.Exchange(t.Context(), p.tok, token.Patch{}, nil)
			if refused := (*token.UnavailableError)(nil); !errors.As(err, &refused) {
				t.Errorf("Exchange = error %v, want an UnavailableError", err)
			}
			p.wantGone("Close", p.Close())
			p.wantUntouched(before)
		})
	}
}

// TestReplacedAndClosed: a stop that comes before it is noticed says so.
func TestReplacedAndClosed(t *testing.T) {
	for name, replace := range replacements {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPresenceTest(t, func(*Config) {})
			p.work()
			replace(t, p.dir)
			before := snapshot(t, p.dir)
			p.wantGone("Close", p.Close())
			p.wantGone("Fatal", <-p.fatal)
			p.wantUntouched(before)
		})
	}
}

// TestReplacementIsNoticedInTime has a look every second, which is within two.
func TestReplacementIsNoticedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPresenceTest(t, func(*Config) {})
		time.Sleep(time.Minute)
		replacements["renamed"](t, p.dir)
		start := time.Now()
		p.wantGone("Fatal", <-p.fatal)
		if got := time.Since(start); got > presenceInterval {
			t.Errorf("it was noticed after %v, want %v at most", got, presenceInterval)
		}
		p.abandonForTest(t)
	})
}

// TestCloseOfAHangingLook: a look at the path, which hangs with a network's file system,
// holds up no Close.
func TestCloseOfAHangingLook(t *testing.T) {
	for _, before := range []time.Duration{0, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			disk := new(hangingFS)
			p := newPresenceTest(t, func(cfg *Config) {
				cfg.stat = func(path string) (os.FileInfo, error) {
					disk.wait()
					return os.Stat(path)
				}
			})
			disk.hang()
			time.Sleep(before)
			wantBoundClose(t, p.Store)
			disk.goOn()
			time.Sleep(time.Minute) // all is closed in the end
		})
	}
}

// wantUntouched expects that what is at the path is as it was before, also after all
// that the store may still do.
func (p *presenceTest) wantUntouched(before map[string]string) {
	p.Helper()
	if _, err := os.Stat(p.dir); err == nil { // else Pebble is stopped for good
		p.abandonForTest(p.T)
	}
	if after := snapshot(p.T, p.dir); !maps.Equal(before, after) {
		p.Errorf("what is at the path was changed")
	}
}

// TestReplacedDuringClose: all was written, but the next start does not find it.
func TestReplacedDuringClose(t *testing.T) {
	var p *presenceTest
	p = newPresenceTest(t, func(cfg *Config) {
		cfg.MemTableBytes = 0
		cfg.tune = func(o *pebble.Options) {
			o.EventListener.FlushBegin = func(pebble.FlushInfo) { replacements["renamed"](t, p.dir) }
		}
	})
	p.wantGone("Close", p.Close())
	p.dataDir.close()
}

// TestTwoStoresInOnePlace: the new directory's store is not disturbed.
func TestTwoStoresInOnePlace(t *testing.T) {
	p := newPresenceTest(t, func(*Config) {})
	must(t, os.Rename(p.dir, p.dir+".old"))
	cfg := memConfig(nil)
	cfg.Dir = p.dir
	s := mustOpen(t, cfg)
	tok := mustCreate(t, s, `{}`)
	p.work()
	p.wantGone("Close", p.Close())
	p.abandonForTest(p.T)
	tok = mustExchange(t, s, tok, "")
	mustClose(t, s)
	s = mustOpen(t, cfg)
	mustExchange(t, s, tok, "")
	mustClose(t, s)
}

// TestLockIsOnTheDirectory: without its LOCK file it is locked all the same.
func TestLockIsOnTheDirectory(t *testing.T) {
	cfg := diskConfig(t)
	s := mustOpen(t, cfg)
	must(t, os.Remove(filepath.Join(cfg.Dir, "LOCK")))
	if _, err := Open(cfg); !errors.Is(err, ErrLocked) {
		t.Errorf("Open = error %v, want %v", err, ErrLocked)
	}
	mustClose(t, s)
	mustClose(t, mustOpen(t, cfg))
}

func TestLockDirectory(t *testing.T) {
	for _, test := range []struct {
		fails  syscall.Errno
		want   error
		warned bool
	}{
		{0, nil, false},
		{syscall.EWOULDBLOCK, ErrLocked, false},
		{syscall.ENOLCK, nil, true},
		{syscall.EINVAL, nil, true},
		{syscall.ENOTSUP, nil, true},
		{syscall.EBADF, nil, true}, // NFS, where the lock is one for writing
	} {
		dir, err := os.Open(t.TempDir())
		must(t, err)
		var log strings.Builder
		got := lockDirectory(dir, func(int, int) error {
			if test.fails == 0 {
				return nil
			}
			return test.fails
		}, textLogger(&log))
		if !errors.Is(got, test.want) || (log.Len() > 0) != test.warned {
			t.Errorf("%v: lockDirectory = error %v, want %v; the log says %q, want something: %v",
				test.fails, got, test.want, log.String(), test.warned)
		}
		dir.Close()
	}
}

// TestErrorsHaveThePath: nobody knows a file by a number of a descriptor.
func TestErrorsHaveThePath(t *testing.T) {
	dir, err := openDirectory(t.TempDir(), &Config{Logger: testLogger(t)})
	must(t, err)
	defer dir.close()
	fsys := dir.fs(vfs.Default)
	missing := filepath.Join(dir.path, "missing")
	for name, do := range map[string]func() error{
		"open":   func() error { _, err := fsys.Open(missing); return err },
		"rename": func() error { return fsys.Rename(missing, missing+"2") },
		"list":   func() error { _, err := fsys.List(missing); return err },
	} {
		if err := do(); err == nil || !strings.Contains(err.Error(), missing) || strings.Contains(err.Error(), "/proc/") {
			t.Errorf("%s = error %v, want one with the path", name, err)
		}
	}
}

func TestDirFSNames(t *testing.T) {
	for _, test := range []struct{ path, name, want string }{
		{"/data", "/data", "/proc/self/fd/7"},
		{"/data/", "/data/", "/proc/self/fd/7"},
		{"/data/", "/data/LOCK", "/proc/self/fd/7/LOCK"},
		{"data", "data/LOCK", "/proc/self/fd/7/LOCK"},
		{".", "LOCK", "/proc/self/fd/7/LOCK"},
		{"/data", "/data2/LOCK", "/data2/LOCK"},
		{"/data", "/", "/"},
		{"/data", "relative", "relative"},
	} {
		d := dirFS{path: test.path, descriptor: "/proc/self/fd/7"}
		if got := d.at(test.name); got != test.want {
			t.Errorf("in %s %s is reached by %s, want %s", test.path, test.name, got, test.want)
		}
	}
}

const lockHolderVariable = "DURABLE_HOLD_LOCK"

// TestLockHolder is run by TestLockFileCounts, in a process of its own: it holds a
// LOCK file alone, as earlier versions do, until its input ends.
func TestLockHolder(t *testing.T) {
	file := os.Getenv(lockHolderVariable)
	if file == "" {
		t.Skip("run by TestLockFileCounts")
	}
	lock, err := vfs.Default.Lock(file)
	must(t, err)
	os.Stdout.WriteString("\nheld\n")
	io.Copy(io.Discard, os.Stdin)
	lock.Close()
}

// TestLockFileCounts: whoever holds the LOCK file alone has the directory.
func TestLockFileCounts(t *testing.T) {
	cfg := diskConfig(t)
	mustClose(t, mustOpen(t, cfg))
	release := startHolder(t, "TestLockHolder", lockHolderVariable+"="+filepath.Join(cfg.Dir, "LOCK"))
	if _, err := Open(cfg); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), cfg.Dir) {
		t.Errorf("Open = error %v, want %v and the data directory", err, ErrLocked)
	}
	release()
	mustClose(t, mustOpen(t, cfg))
}
