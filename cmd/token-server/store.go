package main

import (
	"errors"
	"time"

	"tokenserver/durable"
	"tokenserver/server"
	"tokenserver/shard"
)

// store is what this program needs of a store.
type store interface {
	server.Store
	Stats() shard.Stats
	ShardCount() int
	LongestPurgeHold() time.Duration
	Close() error
}

// openStore makes the store that was chosen.
func (m *Main) openStore() (err error) {
	if m.Config.DataDir == "" {
		m.store = shard.New(m.shardConfig())
		return nil
	}
	cfg := durable.Config{Dir: m.Config.DataDir, Store: m.shardConfig(), Logger: m.logger, Fatal: m.diskFailed}
	if m.Config.Fsync == durable.EverySecond.String() {
		cfg.Fsync = durable.EverySecond
	}
	if m.store, err = durable.Open(cfg); err == nil && cfg.Fsync == durable.Always {
		addProcessor(m.Getenv)
	}
	return err
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
	}
}

// ready returns what tells why the store can't be relied on.
func (m *Main) ready() func() error {
	if d, ok := m.store.(*durable.Store); ok {
		return d.Ready
	}
	return nil
}

// diskFailed ends the process: what was answered is safe, and what was not must
// not be answered any more.
func (m *Main) diskFailed(err error) {
	m.diskFailure.Do(func() {
		m.logOut.hurry()
		m.logger.Error("the disk has failed: no more answers can be kept", "error", err)
		m.Exit(exitDisk)
	})
}

// isDiskFailure says whether the disk is the reason, and not a file that is damaged.
func isDiskFailure(err error) bool {
	return errors.Is(err, durable.ErrFailed) && !errors.Is(err, durable.ErrCorrupt)
}

// exitCode returns the exit code for an error at run time.
func exitCode(err error) int {
	if errors.Is(err, durable.ErrNoSpace) || isDiskFailure(err) {
		return exitDisk
	}
	return exitFailed
}
