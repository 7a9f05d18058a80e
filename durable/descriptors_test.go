package durable

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"tokenserver/internal/clock"
	"tokenserver/shard"
	"tokenserver/token"
)

// withoutDescriptors fails all that opens a file once it is told to.
type withoutDescriptors struct {
	on    atomic.Bool
	after int64 // operations that go well
	errno syscall.Errno
	count atomic.Int64
}

func (w *withoutDescriptors) String() string { return "withoutDescriptors" }

func (w *withoutDescriptors) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpCreate, errorfs.OpOpen, errorfs.OpOpenDir, errorfs.OpReuseForWrite, errorfs.OpList, errorfs.OpLock:
		if w.on.Load() && w.count.Add(1) > w.after {
			return fmt.Errorf("%v of %s: %w", op.Kind, op.Path, w.errno)
		}
	}
	return nil
}

// TestShortageOfDescriptors: while there are none, changes wait and are refused
// then. Fatal is not called, and all goes on when there are some.
func TestShortageOfDescriptors(t *testing.T) {
	for _, fsync := range []Fsync{Always, EverySecond} {
		t.Run(fsync.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log strings.Builder
				none := &withoutDescriptors{errno: syscall.EMFILE}
				cfg := memConfig(errorfs.Wrap(vfs.NewMem(), none))
				cfg.tune, cfg.Fsync, cfg.MemTableBytes = withoutTicks, fsync, 16<<10
				s := mustOpen(t, cfg)
				s.dataDir.retries.log = textLogger(&log)
				tok := mustCreate(t, s, `{}`)
				none.on.Store(true)
				s.wantShortage(t, tok)
				time.Sleep(outageLimit + time.Minute)
				none.on.Store(false)
				time.Sleep(time.Second)
				if err := s.Ready(); err != nil {
					t.Errorf("Ready = error %v after all", err)
				}
				tok = mustCreate(t, s, `{}`)
				mustClose(t, s)
				s = mustOpen(t, cfg)
				mustExchange(t, s, tok, "")
				mustClose(t, s)
				if got, most := strings.Count(log.String(), "waiting for a file descriptor"), int((outageLimit+2*time.Minute)/retryLogInterval); got == 0 || got > most {
					t.Errorf("the log has %d records, want some, %d at most", got, most)
				}
			})
		})
	}
}

// wantShortage writes until another file is needed.
func (s *Store) wantShortage(t *testing.T, tok token.Token) {
	t.Helper()
	meta := fmt.Appendf(nil, `{"a":"%0*d"}`, 1000, 0)
	state := shard.State{ID: token.ID{1}, Meta: meta, Expires: clock.Timestamp(time.Hour)}
	go func() {
		for range 100 {
			s.journal.Save(&state)
		}
	}()
	time.Sleep(tickInterval + 2*hangAfter)
	synctest.Wait()
	_, err := s.Exchange(t.Context(), tok, token.Patch{}, nil)
	var refused *token.UnavailableError
	if !errors.As(err, &refused) || refused.Reason != tooManyFiles {
		t.Errorf("Exchange = error %v, want one that says %q", err, tooManyFiles)
	}
	if err := s.Ready(); err == nil || !strings.Contains(err.Error(), tooManyFiles) {
		t.Errorf("Ready = error %v, want %q", err, tooManyFiles)
	}
}

// TestShortageAtTheStart fails an Open at each file: the disk and the files are well.
func TestShortageAtTheStart(t *testing.T) {
	errnos := []syscall.Errno{syscall.EMFILE, syscall.ENFILE}
	from := newDamaged(t, Always, false).fs
	for after := int64(0); ; after++ {
		none := &withoutDescriptors{after: after, errno: errnos[after%2]}
		none.on.Store(true)
		cfg := memConfig(errorfs.Wrap(crashed(from, 100), none))
		cfg.retryLimit, cfg.Fatal = time.Nanosecond, func(error) {}
		s, err := Open(cfg)
		none.on.Store(false) // what Pebble has left under way tries for ever
		if err == nil {
			mustClose(t, s)
			t.Logf("Open opens %d files", after)
			return
		}
		if !errors.Is(err, none.errno) || !errors.Is(err, ErrNoDescriptors) || errors.Is(err, ErrFailed) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion) {
			t.Errorf("after %d files Open = error %v, want %v alone", after, err, none.errno)
		}
	}
}

// TestRetries: Open waits for a while, and an open store for as long as it takes.
func TestRetries(t *testing.T) {
	for name, forever := range map[string]bool{"opening": false, "open": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const lasts = 3 * outageLimit
				f := newFailure(func(error) {})
				f.reportEnabled.Store(forever)
				r := newRetries(&Config{Logger: testLogger(t), retryLimit: outageLimit}, newWatchdog(testLogger(t)), f)
				start := time.Now()
				err := r.open("file", func() error {
					if time.Since(start) < lasts {
						return syscall.EMFILE
					}
					return nil
				})
				least, want := outageLimit, error(syscall.EMFILE)
				if forever {
					least, want = lasts, nil
				}
				if took := time.Since(start); err != want || took < least || took > least+maxRetry {
					t.Errorf("open = error %v after %v, want %v after %v", err, took, want, least)
				}
			})
		})
	}
}

// TestCloseWithoutDescriptors: it is not the disk that fails.
func TestCloseWithoutDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		none := &withoutDescriptors{errno: syscall.EMFILE}
		cfg := memConfig(errorfs.Wrap(vfs.NewMem(), none))
		told := false
		cfg.tune, cfg.Fatal = withoutTicks, func(error) { time.Sleep(time.Second); told = true }
		s := mustOpen(t, cfg)
		mustCreate(t, s, `{}`)
		none.on.Store(true)
		if err := s.Close(); !errors.Is(err, ErrNoDescriptors) || errors.Is(err, ErrFailed) {
			t.Errorf("Close = error %v, want %v alone", err, ErrNoDescriptors)
		}
		if !told {
			t.Errorf("Close has returned before Fatal, which says how the process ends")
		}
		none.on.Store(false)
		time.Sleep(time.Minute)
	})
}

const limitedVariable = "DURABLE_LIMITED"

// fewDescriptors is as little as a process may have.
const fewDescriptors = 64

// TestLimitedHelper is run by TestFewDescriptors, in a process of its own.
func TestLimitedHelper(t *testing.T) {
	dir := os.Getenv(limitedVariable)
	if dir == "" {
		t.Skip("run by TestFewDescriptors")
	}
	limit := syscall.Rlimit{Cur: fewDescriptors, Max: fewDescriptors}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	cfg := memConfig(nil)
	cfg.Dir, cfg.MemTableBytes, cfg.MaxOpenFiles, cfg.Logger = dir, 16<<10, MinOpenFiles, testLogger(t)
	cfg.tune = manySmallTables
	s := mustOpen(t, cfg)
	const sessions = 1200
	meta := fmt.Sprintf(`{"a":"%0*d"}`, 500, 0)
	last := fillStore(t, s, sessions, meta)
	useUpDescriptors(t, s, last)
	mustClose(t, s)
	s = mustOpen(t, cfg)
	if got := s.Stats().Sessions; got != sessions {
		t.Errorf("there are %d sessions, want %d", got, sessions)
	}
	mustClose(t, s)
}

// manySmallTables makes more tables than there are descriptors.
func manySmallTables(o *pebble.Options) {
	for i := range o.TargetFileSizes {
		o.TargetFileSizes[i] = 8 << 10
	}
}

func fillStore(t *testing.T, s *Store, sessions int, meta string) (last token.Token) {
	for range sessions {
		last = mustCreate(t, s, meta)
	}
	return last
}

// useUpDescriptors takes all that are left, as connections do, until the store wants
// one, and gives them back.
func useUpDescriptors(t *testing.T, s *Store, tok token.Token) {
	taken := takeDescriptors(t)
	t.Logf("%d descriptors of %d were left", len(taken), fewDescriptors)
	var done atomic.Bool
	var client sync.WaitGroup
	client.Go(func() {
		for !done.Load() {
			got, err := s.Exchange(t.Context(), tok, token.Patch{}, nil)
			if refused := (*token.UnavailableError)(nil); errors.As(err, &refused) {
				time.Sleep(maxRetry)
			} else if err != nil {
				t.Errorf("Exchange = error %v", err)
				return
			} else {
				tok = got.Token
			}
		}
	})
	waitFor(t, func() bool {
		taken = append(taken, takeDescriptors(t)...) // what the store has closed meanwhile
		err := s.Ready()
		return err != nil && strings.Contains(err.Error(), tooManyFiles)
	})
	for _, file := range taken {
		file.Close()
	}
	waitFor(t, func() bool { return s.Ready() == nil })
	done.Store(true)
	client.Wait()
	mustExchange(t, s, tok, "")
}

func takeDescriptors(t *testing.T) (taken []*os.File) {
	for {
		file, err := os.Open(os.DevNull)
		if isShortage(err) {
			return taken
		}
		must(t, err)
		taken = append(taken, file)
	}
}

func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for start := time.Now(); !condition(); time.Sleep(maxRetry) {
		if time.Since(start) > patience {
			t.Fatal("it takes too long")
		}
	}
}

// TestMaxOpenFiles: no more tables are kept open than that, once all have been read.
func TestMaxOpenFiles(t *testing.T) {
	const sessions = 1000
	cfg := memConfig(vfs.NewMem())
	cfg.MemTableBytes, cfg.tune = 16<<10, manySmallTables
	s := mustOpen(t, cfg)
	fillStore(t, s, sessions, fmt.Sprintf(`{"a":"%0*d"}`, 500, 0))
	mustClose(t, s)
	for _, test := range []struct{ files, least, most int }{
		{0, 2 * MinOpenFiles, DefaultMaxOpenFiles},
		{MinOpenFiles + 2, 1, MinOpenFiles + 2 - otherFiles},
		{1, 1, MinOpenFiles - otherFiles},
	} {
		cfg.MaxOpenFiles = test.files
		s := mustOpen(t, cfg)
		kept := func() int { return int(s.db.Metrics().FileCache.TableCount) }
		waitFor(t, func() bool { return kept() <= test.most }) // they are closed one by one
		if got := kept(); got < test.least {
			t.Errorf("with MaxOpenFiles %d there are %d tables open, want %d at least", test.files, got, test.least)
		}
		if got := s.Stats().Sessions; got != sessions {
			t.Errorf("there are %d sessions, want %d", got, sessions)
		}
		mustClose(t, s)
	}
}

// TestFewDescriptors runs a store with hardly any descriptors, and takes those that
// are left away from it for a while.
func TestFewDescriptors(t *testing.T) {
	cfg := diskConfig(t)
	limited := exec.Command(os.Args[0], "-test.run=^TestLimitedHelper$", "-test.v")
	limited.Env = append(os.Environ(), limitedVariable+"="+cfg.Dir)
	out, err := limited.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "PASS: TestLimitedHelper") {
		t.Errorf("with %d descriptors: error %v\n%s", fewDescriptors, err, out)
	}
}
