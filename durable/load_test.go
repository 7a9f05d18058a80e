package durable

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"tokenserver/internal/stats"
	"tokenserver/token"
)

// calls are all methods of a store that need its sessions.
var calls = map[string]func(context.Context, *Store) error{
	"Create": func(ctx context.Context, s *Store) error {
		_, err := s.Create(ctx, token.NewSession{Meta: []byte(`{}`)})
		return err
	},
	"Exchange": func(ctx context.Context, s *Store) error {
		_, err := s.Exchange(ctx, token.Token{}, token.Patch{}, nil)
		return err
	},
	"Validate": func(ctx context.Context, s *Store) error {
		_, _, err := s.Validate(ctx, token.Token{}, nil)
		return err
	},
	"Delete": func(ctx context.Context, s *Store) error { return s.Delete(ctx, token.Token{}) },
	"EndSubject": func(ctx context.Context, s *Store) error {
		_, err := s.EndSubject(ctx, []byte("bob"))
		return err
	},
	"EndOthers": func(ctx context.Context, s *Store) error {
		_, err := s.EndOthers(ctx, []byte("bob"), token.Token{})
		return err
	},
	"EndSession": func(ctx context.Context, s *Store) error {
		_, err := s.EndSession(ctx, []byte("bob"), token.ID{}.Name())
		return err
	},
	"SubjectSessions": func(ctx context.Context, s *Store) error {
		_, _, err := s.SubjectSessions(ctx, []byte("bob"), token.Page{Limit: 1})
		return err
	},
	"Sessions": func(ctx context.Context, s *Store) error {
		for _, err := range s.Sessions(ctx) {
			return err
		}
		return nil
	},
	"Ready": func(_ context.Context, s *Store) error { return s.Ready() },
}

func unavailable(err error) (reason string) {
	if refused := new(token.UnavailableError); errors.As(err, &refused) {
		return refused.Reason
	}
	return ""
}

func TestUnavailableUntilLoaded(t *testing.T) {
	cfg := memConfig(vfs.NewMem())
	cfg.Store.MaxSessions, cfg.Store.MaxBytes = 10, 64<<20
	s := mustOpen(t, cfg)
	mustCreate(t, s, `{}`)
	mustClose(t, s)

	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { mustClose(t, s) }()
	for name, call := range calls {
		if got, want := unavailable(call(t.Context(), s)), "loading: 0 %"; got != want {
			t.Errorf("%s before Load: reason %q, want %q", name, got, want)
		}
	}
	s.loading.ranges.Store(keyRanges * 7 / 16)
	if got, want := unavailable(s.Ready()), "loading: 43 %"; got != want {
		t.Errorf("Ready in the midst of Load: reason %q, want %q", got, want)
	}
	s.loading.ranges.Store(0)
	if got := s.Stats(); got.Disk == nil || got.Sessions != 0 {
		t.Errorf("Stats before Load = %d sessions, disk %v, want 0 and what is known of the disk", got.Sessions, got.Disk)
	}
	for name, got := range map[string]stats.Store{"Stats": s.Stats(), "StatsInDetail": s.StatsInDetail(new(stats.Detail))} {
		if got.MaxSessions != 10 || got.MaxReserved != 64<<20 {
			t.Errorf("%s before Load: limits %d, %d, want those of the configuration", name, got.MaxSessions, got.MaxReserved)
		}
	}
	if err := s.Load(t.Context()); err != nil {
		t.Fatalf("Load = error %v", err)
	}
	for name, call := range calls {
		if got := unavailable(call(t.Context(), s)); got != "" {
			t.Errorf("%s after Load: reason %q, want none", name, got)
		}
	}
	if got := s.Stats().Sessions; got != 2 { // one of the calls has made one
		t.Errorf("there are %d sessions, want 2", got)
	}
}

func TestPercent(t *testing.T) {
	for ranges, want := range map[int32]int{0: 0, 1: 1, 32: 50, 63: 98, 64: 99} {
		var l loading
		l.ranges.Store(ranges)
		if got := l.percent(); got != want {
			t.Errorf("with %d of %d ranges done: %d %%, want %d", ranges, keyRanges, got, want)
		}
	}
}

// TestCallsWhileLoading calls all methods, and Stats, while Load runs: they are
// refused, or carried out, and the progress does not go back.
func TestCallsWhileLoading(t *testing.T) {
	cfg := memConfig(vfs.NewMem())
	s := mustOpen(t, cfg)
	for range 2000 {
		mustCreate(t, s, `{}`)
	}
	mustClose(t, s)
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var loaded atomic.Bool
	var callers sync.WaitGroup
	for name, call := range calls {
		callers.Go(func() {
			for last := -1; !loaded.Load(); {
				err := call(t.Context(), s)
				if err != nil && !errors.Is(err, token.ErrInvalid) && unavailable(err) == "" {
					t.Errorf("%s = error %v", name, err)
				}
				s.Stats()
				if got := s.loading.percent(); got < last {
					t.Errorf("progress went from %d to %d %%", last, got)
				} else {
					last = got
				}
			}
		})
	}
	if err := s.Load(t.Context()); err != nil {
		t.Errorf("Load = error %v", err)
	}
	loaded.Store(true)
	callers.Wait()
	mustClose(t, s)
}

// endingContext is done after so many looks.
type endingContext struct {
	context.Context
	looks atomic.Int64
}

func (c *endingContext) Err() error {
	if c.looks.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// TestLoadEndsWithContext lets the context of a load end at each of its looks: all
// is closed, and the next start loads all.
func TestLoadEndsWithContext(t *testing.T) {
	cfg := memConfig(vfs.NewMem())
	cfg.Fsync = EverySecond
	const sessions = 2 * keyRanges * ctxInterval // more than one look a range
	s := mustOpen(t, cfg)
	for range sessions {
		mustCreate(t, s, `{}`)
	}
	mustClose(t, s)
	for _, looks := range []int64{0, 1, 2, 10, keyRanges + 5, 2*keyRanges + 1} {
		s, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx := &endingContext{Context: t.Context()}
		ctx.looks.Store(looks)
		if err := s.Load(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Load with a context that ends after %d looks = error %v, want %v", looks, err, context.Canceled)
		}
		if s.restored != nil {
			if got, limit := s.restored.Stats().Sessions, looks*ctxInterval; got > limit {
				t.Errorf("after %d looks %d sessions are loaded, want %d at most", looks, got, limit)
			}
		}
		if got := unavailable(s.Ready()); !strings.HasPrefix(got, "loading: ") {
			t.Errorf("Ready after the load was given up: reason %q", got)
		}
		mustClose(t, s)
	}
	s = mustOpen(t, cfg)
	defer mustClose(t, s)
	if got := s.Stats().Sessions; got != sessions {
		t.Errorf("there are %d sessions, want %d", got, sessions)
	}
}

// holdingFS holds up what opens a file with some suffix, while it is told to.
type holdingFS struct {
	suffix  string
	on      atomic.Bool
	reached chan struct{}
	release chan struct{}
}

func newHoldingFS(suffix string) *holdingFS {
	return &holdingFS{suffix: suffix, reached: make(chan struct{}, 1), release: make(chan struct{})}
}

func (h *holdingFS) MaybeError(op errorfs.Op) error {
	if op.Kind == errorfs.OpOpen && path.Ext(op.Path) == h.suffix && h.on.Load() {
		wake(h.reached)
		<-h.release
	}
	return nil
}

func (h *holdingFS) String() string { return "holdingFS" }

// TestLoadIsGivenUp ends a load that hangs: neither it nor Close waits for long. The
// lock is held as long as anything may still write to the data directory.
func TestLoadIsGivenUp(t *testing.T) {
	for _, suffix := range []string{".log", ".sst"} { // Pebble reads its log, and we the tables
		t.Run(suffix, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testLoadIsGivenUp(t, suffix) })
		})
	}
}

func testLoadIsGivenUp(t *testing.T, suffix string) {
	held, mem := newHoldingFS(suffix), vfs.NewCrashableMem()
	cfg := memConfig(mem)
	cfg.tune = withoutTicks
	s := mustOpen(t, cfg)
	mustCreate(t, s, `{}`)
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	tok := mustCreate(t, s, `{}`)
	killed := mem.CrashClone(vfs.CrashCloneCfg{})
	mustClose(t, s)

	cfg.FS = errorfs.Wrap(killed, held)
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	held.on.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-held.reached
		cancel()
	}()
	start := time.Now()
	if err := s.Load(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Load = error %v, want %v", err, context.Canceled)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close = error %v", err)
	}
	if got := time.Since(start); got > time.Second {
		t.Errorf("Load and Close took %v, want a second at most", got)
	}
	if _, err := Open(cfg); !errors.Is(err, ErrLocked) {
		t.Errorf("Open while the load hangs = error %v, want %v", err, ErrLocked)
	}
	held.on.Store(false)
	close(held.release)
	synctest.Wait()
	s = mustOpen(t, cfg)
	defer mustClose(t, s)
	mustExchange(t, s, tok, "")
	if got := s.Stats().Sessions; got != 2 {
		t.Errorf("there are %d sessions, want 2", got)
	}
}

// TestCloseBeforeLoad leaves a data directory as it was, and unlocked.
func TestCloseBeforeLoad(t *testing.T) {
	for _, clean := range []bool{true, false} {
		d := newDamaged(t, Always, clean)
		cfg := d.cfg
		cfg.FS = d.fs
		before := slices.Sorted(slices.Values(d.files(t)))
		contents := make(map[string]string)
		for _, name := range before {
			contents[name] = string(d.read(t, name))
		}
		s, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		mustClose(t, s)
		if after := slices.Sorted(slices.Values(d.files(t))); !slices.Equal(after, before) {
			t.Errorf("clean=%v: the files are %q, want %q", clean, after, before)
		}
		for name, want := range contents {
			if got := string(d.read(t, name)); got != want {
				t.Errorf("clean=%v: %s has changed", clean, name)
			}
		}
		s = mustOpen(t, cfg)
		if !d.intact(t, s) {
			t.Errorf("clean=%v: sessions are lost or undone", clean)
		}
		mustClose(t, s)
	}
}

// TestOpenChecks: what can be known before the load is an error of Open.
func TestOpenChecks(t *testing.T) {
	d := newDamaged(t, Always, false)
	files := d.files(t) // in any order
	manifest := slices.IndexFunc(files, func(name string) bool { return strings.HasPrefix(name, "MANIFEST") })
	for name, want := range map[string]error{
		formatFile:      ErrVersion,
		files[manifest]: ErrCorrupt,
		d.lastLog(t):    ErrCorrupt,
	} {
		data := d.read(t, name)
		data[0]++
		fs := vfs.NewMem()
		if _, err := vfs.Clone(d.fs, fs, testDir, testDir); err != nil {
			t.Fatal(err)
		}
		cfg := d.cfg
		cfg.FS = fs
		file, err := fs.Create(path.Join(testDir, name), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		file.Write(data)
		file.Close()
		if _, err := Open(cfg); !errors.Is(err, want) {
			t.Errorf("Open with damaged %s = error %v, want %v", name, err, want)
		}
	}
}
