package durable

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"tokenserver/internal/storetest"
	"tokenserver/shard"
	"tokenserver/token"
)

// failingFS fails all operations of some kinds on some files once it is told to.
type failingFS struct {
	on     atomic.Bool
	prefix string // of the file's name
	suffix string
	kinds  []errorfs.OpKind
}

func (f *failingFS) MaybeError(op errorfs.Op) error {
	name := path.Base(op.Path)
	if !f.on.Load() || !strings.HasPrefix(name, f.prefix) || !strings.HasSuffix(name, f.suffix) {
		return nil
	}
	for _, kind := range f.kinds {
		if op.Kind == kind {
			return syscall.ENOSPC
		}
	}
	return nil
}

func (f *failingFS) String() string { return "failingFS" }

// reusingFS lets the writes to a reused file fail too, which errorfs forgets.
type reusingFS struct {
	*errorfs.FS
	fails *failingFS
}

// ReuseForWrite implements vfs.FS.
func (r reusingFS) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := r.fails.MaybeError(errorfs.Op{Kind: errorfs.OpReuseForWrite, Path: name}); err != nil {
		return nil, err
	}
	if err := r.Rename(old, name); err != nil {
		return nil, err
	}
	return r.OpenReadWrite(name, category)
}

var (
	createOps = []errorfs.OpKind{errorfs.OpCreate, errorfs.OpReuseForWrite}
	writeOps  = []errorfs.OpKind{errorfs.OpFileWrite}
	syncOps   = []errorfs.OpKind{errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo}
)

// failures are what can fail while a store is open.
var failures = map[string]*failingFS{
	"log/create":     {suffix: ".log", kinds: createOps},
	"log/write":      {suffix: ".log", kinds: writeOps},
	"log/sync":       {suffix: ".log", kinds: syncOps},
	"table/create":   {suffix: ".sst", kinds: createOps},
	"table/write":    {suffix: ".sst", kinds: writeOps},
	"table/sync":     {suffix: ".sst", kinds: syncOps},
	"manifest/write": {prefix: "MANIFEST", kinds: writeOps},
	"manifest/sync":  {prefix: "MANIFEST", kinds: syncOps},
	"directory/sync": {prefix: testDir, kinds: syncOps},
}

// TestFailures lets the disk fail under load: Fatal is called once, and what was
// answered, before or after, is on disk.
func TestFailures(t *testing.T) {
	for name, fails := range failures {
		for policy, set := range policies() {
			t.Run(name+"/"+policy, func(t *testing.T) {
				t.Parallel()
				fails := &failingFS{prefix: fails.prefix, suffix: fails.suffix, kinds: fails.kinds}
				f := &failureTest{fails: fails, fs: vfs.NewCrashableMem(), fatal: make(chan error, 10)}
				f.cfg = memConfig(reusingFS{errorfs.Wrap(f.fs, fails), fails})
				f.cfg.MemTableBytes = 16 << 10
				f.cfg.Fatal = func(err error) { f.fatal <- err }
				set(&f.cfg)
				f.run(t)
			})
		}
	}
}

type failureTest struct {
	fails *failingFS
	fs    *vfs.MemFS
	cfg   Config
	fatal chan error
}

const patience = 30 * time.Second

func (f *failureTest) run(t *testing.T) {
	l := newLedger(mustOpen(t, f.cfg), &f.cfg, storetest.NewRand(storetest.Seed(t)))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.driveUntil(ctx, 4, func() { f.fails.on.CompareAndSwap(false, l.clock.Load() > 200) })
	}()
	f.wantFatal(t)
	stop()
	// Calls that Pebble holds up for ever may be left.
	select {
	case <-done:
	case <-time.After(time.Second):
	}
	f.wantNoSuccess(t, l.store)
	until := l.binding()
	left := f.fs.CrashClone(vfs.CrashCloneCfg{})
	l.mu.Lock()
	defer l.mu.Unlock()
	settled := make([]history, len(l.accounts))
	for i, a := range l.accounts {
		a.mu.Lock()
		defer a.mu.Unlock()
		settled[i] = l.settle(t, a)
		settled[i].ended = true // a call without an answer may have done it
	}
	cfg := f.cfg
	cfg.FS = left
	after := mustOpen(t, cfg)
	defer mustClose(t, after)
	l.verify(t, after, settled, until)
}

func (f *failureTest) wantFatal(t *testing.T) {
	t.Helper()
	select {
	case err := <-f.fatal:
		if !errors.Is(err, syscall.ENOSPC) && !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
			t.Errorf("Fatal(%v), want %v", err, syscall.ENOSPC)
		}
		t.Log(err)
	case <-time.After(patience):
		t.Fatalf("Fatal was not called")
	}
}

// wantNoSuccess expects that nothing is kept any more.
func (f *failureTest) wantNoSuccess(t *testing.T, s *Store) {
	t.Helper()
	created := make(chan error, 1)
	go func() {
		_, err := s.Create(t.Context(), token.NewSession{Meta: []byte(`{}`)})
		created <- err
	}()
	select {
	case err := <-created:
		if err == nil || errors.Is(err, token.ErrInvalid) || errors.Is(err, token.ErrFull) {
			t.Errorf("Create after Fatal = error %v, want that of the disk", err)
		}
	case <-time.After(time.Second): // held up for ever, which is no success
	}
	if err := s.Ready(); err == nil {
		t.Errorf("Ready after Fatal = no error")
	}
	if err := s.Close(); err == nil {
		t.Errorf("Close after Fatal = no error")
	}
	if n := len(f.fatal); n != 0 {
		t.Errorf("Fatal was called %d times more", n)
	}
}

// driveUntil is drive without an end but that of ctx.
func (l *ledger) driveUntil(ctx context.Context, clients int, step func()) {
	l.drive(context.WithoutCancel(ctx), clients, 1<<30, func() bool { step(); return ctx.Err() == nil })
}

// TestFailuresAtTheStart fails each write of an Open in its turn, of a new data directory
// and of one with sessions. The next Open goes well.
func TestFailuresAtTheStart(t *testing.T) {
	for _, sessions := range []int{0, 20} {
		fs := vfs.NewCrashableMem()
		if sessions > 0 {
			fs = newDamaged(t, Always, false).fs
		}
		for n := int64(1); ; n++ {
			failing := &nthWrite{n: n}
			copied := crashed(fs, 100)
			err := openAndClose(t, errorfs.Wrap(copied, failing))
			if failing.n > 0 {
				t.Logf("Open and Close make %d writes with %d sessions", n, sessions)
				break
			}
			if err == nil {
				t.Errorf("write %d fails, which is %v, and Open and Close don't", n, failing.kind)
			}
			for _, percent := range []int{0, 50, 100} {
				s := mustOpen(t, memConfig(crashed(copied, percent)))
				if got := s.Stats().Sessions; got != int64(sessions) {
					t.Errorf("after a failure of write %d there are %d sessions, want %d", n, got, sessions)
				}
				mustClose(t, s)
			}
		}
	}
}

// nthWrite fails one operation that writes.
type nthWrite struct {
	mu   sync.Mutex
	n    int64 // left
	kind errorfs.OpKind
}

func (w *nthWrite) String() string { return "nthWrite" }

func (w *nthWrite) MaybeError(op errorfs.Op) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead || w.n == 0 {
		return nil
	}
	if w.n--; w.n > 0 {
		return nil
	}
	w.kind = op.Kind
	return syscall.EIO
}

// crashed returns what a crash leaves of a file system, with a part of what was
// not synced.
func crashed(fs *vfs.MemFS, percent int) *vfs.MemFS {
	return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: storetest.NewRand(uint64(percent))})
}

func openAndClose(t *testing.T, fs vfs.FS) error {
	cfg := memConfig(fs)
	cfg.Fatal = func(error) {}
	s, err := openAndLoad(cfg)
	if err != nil {
		return err
	}
	return s.Close()
}

func TestFatalfDoesNotReturn(t *testing.T) {
	told := make(chan error, 10)
	logger := &pebbleLogger{log: testLogger(t), failure: newFailure(func(err error) { told <- err })}
	logger.failure.enableReport()
	returned := make(chan struct{})
	for i := range 2 {
		go func() {
			logger.Fatalf("disk %d", i)
			close(returned)
		}()
	}
	err := <-told
	if got := logger.failure.get(); got != err {
		t.Errorf("failure is %v, Fatal was told of %v", got, err)
	}
	select {
	case <-returned:
		t.Errorf("Fatalf returned")
	case err := <-told:
		t.Errorf("Fatal was called again, with %v", err)
	default:
	}
}

// TestWaitAfterAFailure: what was enqueued before is not answered after it.
func TestWaitAfterAFailure(t *testing.T) {
	cfg := memConfig(vfs.NewMem())
	cfg.Fatal = func(error) {}
	s := mustOpen(t, cfg)
	before := s.journal.Save(&shard.State{ID: token.ID{1}, Meta: []byte(`{}`)})
	want := s.failure.set(errors.New("disk"))
	for name, w := range map[string]shard.Write{
		"before": before,
		"saved":  s.journal.Save(&shard.State{ID: token.ID{2}, Meta: []byte(`{}`)}),
		"ended":  s.journal.Forget(token.ID{1}),
	} {
		if got := w.Wait(); got != want {
			t.Errorf("%s: Wait = error %v, want %v", name, got, want)
		}
	}
}

// TestNobodyIsAnsweredBeforeFatal: a process that ends in Fatal tells no
// request of the failure.
func TestNobodyIsAnsweredBeforeFatal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var returned atomic.Bool
		f := newFailure(func(error) {
			time.Sleep(time.Second)
			returned.Store(true)
		})
		if err := f.delayUntilReported(errClosed); err != errClosed {
			t.Errorf("hold before a failure = %v, want %v at once", err, errClosed)
		}
		first := f.set(errors.New("while Open runs"))
		if err := f.delayUntilReported(first); err != first || returned.Load() {
			t.Errorf("hold while Open runs = %v, want %v at once", err, first)
		}
		f.enableReport()
		if err := f.delayUntilReported(nil); err != nil || returned.Load() {
			t.Errorf("hold of a success = %v, want nil at once", err)
		}
		if err := (failed{f, first}).Wait(); err != first || !returned.Load() {
			t.Errorf("Wait = %v, Fatal has returned: %v, want %v after Fatal", err, returned.Load(), first)
		}
	})
}

func TestDiskError(t *testing.T) {
	tests := []struct {
		err  error
		want bool
	}{
		{&os.PathError{Op: "write", Path: "x", Err: syscall.EFBIG}, true},
		{fmt.Errorf("reading: %w", syscall.EIO), true},
		{&os.PathError{Op: "mkdir", Path: "x", Err: syscall.EACCES}, false},
		{&os.PathError{Op: "open", Path: "x", Err: syscall.EROFS}, false},
		{fmt.Errorf("%w: %w", ErrCorrupt, syscall.EIO), false},
		{ErrNoSpace, false},
		{ErrLocked, false},
		{nil, false},
	}
	for _, tt := range tests {
		got := diskError(tt.err)
		if errors.Is(got, ErrFailed) != tt.want || !errors.Is(got, tt.err) {
			t.Errorf("diskError(%v) = %v, want that it matches %v: %v", tt.err, got, ErrFailed, tt.want)
		}
	}
}
