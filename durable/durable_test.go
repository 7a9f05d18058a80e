package durable

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"tokenserver/internal/storetest"
	"tokenserver/server"
	"tokenserver/shard"
)

var _ server.Store = (*Store)(nil)

const testDir = "sessions"

// memConfig is a store on a file system in memory.
func memConfig(fs vfs.FS) Config {
	return Config{Dir: testDir, FS: fs, Store: shard.Config{Shards: 4}, MemTableBytes: 1 << 20}
}

// mustOpen opens a store that must not fail, and leaves its end to the caller.
func mustOpen(t testing.TB, cfg Config) *Store {
	t.Helper()
	if cfg.Fatal == nil {
		cfg.Fatal = func(err error) { t.Errorf("Fatal(%v)", err) }
	}
	s, err := openAndLoad(cfg)
	if err != nil {
		t.Fatalf("Open and Load = error %v", err)
	}
	return s
}

// openAndLoad makes one step of both, for tests to which it is all the same.
func openAndLoad(cfg Config) (*Store, error) {
	s, err := Open(cfg)
	if err != nil {
		return nil, err
	}
	if err := s.Load(context.Background()); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func mustClose(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("Close = error %v", err)
	}
}

// abandonForTest ends what a process would end with itself.
func (s *Store) abandonForTest(t *testing.T) {
	s.sessions.Load().Close()
	s.journal.stop()
	if err := s.db.Close(); err != nil {
		t.Errorf("closing Pebble: %v", err)
	}
	s.dataDir.close()
}

func TestSuite(t *testing.T) {
	for _, fsync := range []Fsync{Always, EverySecond} {
		t.Run(fsync.String(), func(t *testing.T) {
			storetest.Run(t, storetest.Harness{
				Open: func(t testing.TB, cfg storetest.Config) storetest.Store { return openForSuite(t, fsync, cfg) },
			})
		})
	}
}

func openForSuite(t testing.TB, fsync Fsync, sc storetest.Config) *Store {
	cfg := memConfig(vfs.NewMem())
	cfg.Fsync, cfg.tune = fsync, withoutTicks
	cfg.Store = shard.Config{
		Shards: 4, Lifetime: sc.Lifetime, MaxLifetime: sc.MaxLifetime,
		MaxSessions: sc.MaxSessions, MaxBytes: sc.MaxBytes, MaxMeta: sc.MaxMeta,
		Grace: sc.Grace, RevokeOnReuse: sc.RevokeOnReuse,
	}
	s := mustOpen(t, cfg)
	t.Cleanup(func() { mustClose(t, s) })
	return s
}

// withoutTicks spares a bubble with a fake clock Pebble's ticks: ten a second,
// and hours pass.
func withoutTicks(o *pebble.Options) {
	o.Experimental.CompactionScheduler = pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func textLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}
