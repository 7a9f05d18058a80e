package main

import (
	"crypto/rand"
	"errors"
	"io"

	"tokenserver/durable"
	"tokenserver/internal/stats"
	"tokenserver/server"
	"tokenserver/shard"
	"tokenserver/valkey"
)

// What a store may be able to do beside keeping sessions.
type (
	// statsKeeper has statistics for the admin listener.
	statsKeeper interface{ Stats() stats.Store }
	// detailKeeper has more of them for the console.
	detailKeeper interface {
		StatsInDetail(*stats.Detail) stats.Store
	}
	// readyChecker says why the store can't be relied on.
	readyChecker interface{ Ready() error }
	// identified has an identity that outlives the process.
	identified interface{ ID() string }
)

// What our stores can do: a method whose signature changed would be missed silently.
var (
	_ statsKeeper  = (*shard.Store)(nil)
	_ detailKeeper = (*shard.Store)(nil)
	_ io.Closer    = (*shard.Store)(nil)
	_ statsKeeper  = (*durable.Store)(nil)
	_ detailKeeper = (*durable.Store)(nil)
	_ readyChecker = (*durable.Store)(nil)
	_ identified   = (*durable.Store)(nil)
	_ loader       = (*durable.Store)(nil)
	_ io.Closer    = (*durable.Store)(nil)
	_ statsKeeper  = (*valkey.Store)(nil)
	_ readyChecker = (*valkey.Store)(nil)
	_ loader       = (*valkey.Store)(nil)
	_ io.Closer    = (*valkey.Store)(nil)
)

// storeStats returns what reads the statistics of a store, and none for one that
// keeps none.
func storeStats(s server.Store) func() stats.Store {
	if keeper, ok := s.(statsKeeper); ok {
		return keeper.Stats
	}
	return func() stats.Store { return stats.Store{} }
}

// storeDetail is storeStats for the console.
func storeDetail(s server.Store) func(*stats.Detail) stats.Store {
	if keeper, ok := s.(detailKeeper); ok {
		return keeper.StatsInDetail
	}
	read := storeStats(s)
	return func(d *stats.Detail) stats.Store {
		d.Reset()
		return read()
	}
}

// readiness returns what tells why a store can't be relied on, or nil for one that
// always can.
func readiness(s server.Store) func() error {
	if checker, ok := s.(readyChecker); ok {
		return checker.Ready
	}
	return nil
}

// storeID returns what tells clients stores apart: the store's identity, which may not
// be known before it is loaded, or one of this process.
func storeID(s server.Store) func() string {
	if named, ok := s.(identified); ok {
		return named.ID
	}
	id := rand.Text()
	return func() string { return id }
}

// closeStore closes a store that has to be closed.
func closeStore(s server.Store) error {
	if closer, ok := s.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

// openStore makes the store that was chosen. A durable one has memtables of so many
// bytes, and may keep so many files open.
func (m *Main) openStore(memTable int64, maxFiles int) error {
	if m.store != nil { // a test's
		return nil
	}
	if m.Config.Valkey != "" {
		return m.openShared()
	}
	if m.Config.DataDir == "" {
		m.store = shard.New(m.shardConfig())
		return nil
	}
	cfg := durable.Config{
		Dir: m.Config.DataDir, Store: m.shardConfig(), Logger: m.logger, Fatal: m.storeFailed,
		MemTableBytes: memTable, MaxOpenFiles: maxFiles,
	}
	if m.Config.Fsync == durable.EverySecond.String() {
		cfg.Fsync = durable.EverySecond
	}
	s, err := durable.Open(cfg)
	if err != nil {
		return err
	}
	m.store = s
	if cfg.Fsync == durable.Always {
		addProcessor(m.getenv)
	}
	return nil
}

func (m *Main) shardConfig() shard.Config {
	c := &m.Config
	return shard.Config{
		Shards:        c.Shards,
		Lifetime:      c.TokenLifetime,
		PurgeInterval: c.PurgeInterval,
		MaxSessions:   c.MaxTokens,
		MaxBytes:      c.MaxMemory,
		MaxMeta:       c.MaxMeta,
		Grace:         c.Grace,
		RevokeOnReuse: c.OnReuse == onReuseRevoke,
		MaxLifetime:   c.MaxLifetime,
		Secret:        m.secret,
		Logger:        m.logger,
	}
}

// storeFailed ends the process: what was answered is safe, and what was not must
// not be answered any more.
func (m *Main) storeFailed(err error) {
	m.storeFailure.Do(func() {
		m.logOut.hurry()
		m.logger.Error(whatFailed(err)+": no more answers can be kept", "error", err)
		m.Exit(exitDisk)
	})
}

// whatFailed says what a failure of the store means to an operator.
func whatFailed(err error) string {
	switch {
	case errors.Is(err, durable.ErrGone):
		return "the data directory is gone"
	case errors.Is(err, durable.ErrNoDescriptors):
		return "there are no file descriptors left"
	case errors.Is(err, durable.ErrCorrupt):
		return "the data directory is damaged"
	case errors.Is(err, durable.ErrFailed):
		return "the disk has failed"
	}
	return "the store has failed"
}

// isDiskFailure says whether the disk is the reason, or what has become of the data
// directory, and not a file that is damaged.
func isDiskFailure(err error) bool {
	if errors.Is(err, durable.ErrCorrupt) {
		return false
	}
	return errors.Is(err, durable.ErrFailed) || errors.Is(err, durable.ErrGone)
}

// exitCode returns the exit code for an error at run time.
func exitCode(err error) int {
	if errors.Is(err, durable.ErrNoSpace) || isDiskFailure(err) {
		return exitDisk
	}
	if errors.Is(err, valkey.ErrAddress) {
		return exitUsage
	}
	return exitFailed
}
