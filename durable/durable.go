// Package durable is the embedded store made to last: sessions live in a
// [shard.Store], and a Pebble database in a data directory remembers them.
//
// # Basics
//
// [Open] loads what a data directory holds and returns a [Store]. Each change of a
// session is enqueued in Pebble's log while its shard is locked, so that the log has
// the changes in the order in which they were decided, and waited for once the
// lock is released, so that concurrent requests share a sync: group commit. Nothing
// is ever read back while the Store is open.
//
// # Caveats
//
// The store is fail-stop. A write that fails is the end: Fatal of [Config] is
// called, and no call that changes or rests on a change succeeds any more. Nor does
// such a call return before Fatal has.
package durable

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"tokenserver/shard"
)

// Fsync says when a change is on disk.
type Fsync int

const (
	// Always has every answer wait until what it rests on is on disk.
	Always Fsync = iota
	// EverySecond has no answer wait: a crash may lose the last second.
	EverySecond
)

// String returns the setting as it is written on the command line.
func (f Fsync) String() string {
	if f == EverySecond {
		return "everysec"
	}
	return "always"
}

// Config describes a Store. Its zero value, with a Dir, has the documented defaults.
type Config struct {
	// Dir is the data directory, which is made if it is not there.
	Dir string
	// Fsync says when a change is on disk.
	Fsync Fsync
	// Store describes the sessions. Its Journal is overwritten. With a Grace and
	// no Secret, the data directory's is used, which is made at the first need.
	Store shard.Config
	// Logger gets what happens at the start and at the end. Nil means nobody.
	Logger *slog.Logger
	// Fatal is called once, in a goroutine of its own, when a write has failed.
	// It should end the process and must not wait for calls that are under way:
	// those that fail wait for it. Nil means that only the calls fail.
	Fatal func(error)
	// FS is where Dir is. Nil means the disk.
	FS vfs.FS

	// MemTableBytes is how much of the log may be in memory before it is written
	// to a table; there may be two of that size. 0 means 64 MiB.
	MemTableBytes int64
	// MaxOpenFiles is how many files the store keeps open, MinOpenFiles at least; a
	// merge of tables has more of them open for a moment, and waits where there are
	// no descriptors. 0 means 1000.
	MaxOpenFiles int
	// MinFree is how many bytes have to be free on the disk. 0 means 256 MiB.
	MinFree int64

	tune       func(*pebble.Options) // of tests
	retryLimit time.Duration         // of tests: how long Open waits for descriptors
}

// Defaults of Config.
const (
	DefaultMemTableBytes = 64 << 20
	DefaultMinFree       = 256 << 20
	DefaultMaxOpenFiles  = 1000
)

func (cfg Config) withDefaults() Config {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Fatal == nil {
		cfg.Fatal = func(error) {}
	}
	if cfg.tune == nil {
		cfg.tune = func(*pebble.Options) {}
	}
	if cfg.retryLimit == 0 {
		cfg.retryLimit = outageLimit
	}
	if cfg.MemTableBytes == 0 {
		cfg.MemTableBytes = DefaultMemTableBytes
	}
	if cfg.MaxOpenFiles == 0 {
		cfg.MaxOpenFiles = DefaultMaxOpenFiles
	}
	if cfg.MinFree == 0 {
		cfg.MinFree = DefaultMinFree
	}
	return cfg
}

// Store is a store of sessions that lasts. It implements [server.Store]. Besides the
// answers documented at [shard.Store], its methods return an error when the disk
// fails.
type Store struct {
	sessions *shard.Store
	dataDir  *dataDir
	db       *pebble.DB
	journal  *journal
	failure  *failure
	watchdog *watchdog
	log      *slog.Logger
	minFree  int64
}

// Open loads the sessions of a data directory. It must be closed. Its errors match
// ErrLocked, ErrVersion, ErrCorrupt, ErrNoSpace or ErrFailed where those are the
// reason, and [token.ErrFull] if the sessions do not fit into the limits of cfg.Store.
func Open(cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	s := &Store{log: cfg.Logger, minFree: cfg.MinFree, failure: newFailure(cfg.Fatal), watchdog: newWatchdog(cfg.Logger)}
	if err := s.open(cfg); err != nil {
		s.abandon()
		return nil, fmt.Errorf("durable: %w", diskError(err))
	}
	s.failure.enableReport()
	return s, nil
}

func (s *Store) open(cfg Config) (err error) {
	if s.dataDir, err = openDataDir(&cfg, s.watchdog, s.failure); err != nil {
		return err
	}
	s.dataDir.watch(s.watchdog, s.failure)
	if err := s.checkSpace(); err != nil {
		return err
	}
	if err := s.dataDir.checkFiles(); err != nil {
		return err
	}
	if err := s.openDB(&cfg); err != nil {
		return err
	}
	if cfg.Store.Grace != 0 && cfg.Store.Secret == nil {
		if cfg.Store.Secret, err = openSecret(s.dataDir); err != nil {
			return err
		}
	}
	s.journal = newJournal(s.db, &cfg, s.failure, s.watchdog)
	cfg.Store.Journal = s.journal
	s.sessions = shard.New(cfg.Store)
	return s.failure.runUntilFailure(s.load)
}

// openDB opens Pebble, which replays its log.
func (s *Store) openDB(cfg *Config) error {
	start := time.Now()
	o := s.options(cfg)
	if err := s.dataDir.checkOptions(o); err != nil {
		return err
	}
	if err := s.dataDir.opening(); err != nil {
		return err
	}
	o.WithFSDefaults() // where a file operation hangs, the log says which
	err := s.failure.runUntilFailure(func() (err error) {
		o.FileCache = fileCache(cfg.MaxOpenFiles)
		defer o.FileCache.Unref() // the database has it
		s.db, err = pebble.Open(cfg.Dir, o)
		return err
	})
	if err != nil {
		s.dataDir.notOpened()
		return s.openError(err)
	}
	if err := s.dataDir.opened(); err != nil {
		return err
	}
	s.log.Info("data directory opened", "dir", cfg.Dir, "fsync", cfg.Fsync.String(), "seconds", seconds(start))
	return nil
}

// abandon closes what a failed Open has opened. After a failed write that might
// never come to an end.
func (s *Store) abandon() {
	if failed := s.failure.get(); failed != nil && !errors.Is(failed, ErrCorrupt) {
		return
	}
	_ = s.failure.runUntilFailure(func() error {
		if s.sessions != nil {
			s.sessions.Close()
		}
		if s.journal != nil {
			s.journal.stop()
		}
		if s.db != nil {
			s.db.Close()
		}
		if s.dataDir != nil {
			s.dataDir.close()
		}
		return nil
	})
}

// Close writes all that is only in the log to tables, so that the next Open has
// no log to replay, and closes the data directory. Changes that begin afterwards fail.
// After a failed write it closes nothing and returns that failure, and so it does
// if the disk does not answer for ten seconds.
func (s *Store) Close() error {
	if err := s.failure.get(); err != nil {
		return err
	}
	if err := s.dataDir.checkPresence(s.watchdog, s.failure); err != nil {
		return err // before anything is written
	}
	defer s.boundClose()()
	return s.failure.runUntilFailure(func() error {
		s.sessions.Close()
		s.journal.close()
		start := time.Now()
		if err := s.db.Flush(); err != nil {
			return s.failure.set(err)
		}
		s.log.Info("flushed", "seconds", seconds(start))
		if err := s.db.Close(); err != nil {
			return s.failure.set(err)
		}
		if err := s.dataDir.checkPresence(s.watchdog, s.failure); err != nil {
			return err // all was written, but not where the next start looks for it
		}
		return s.dataDir.close()
	})
}

// Ready returns why the Store can't be relied on: a write has failed, the disk does
// not answer, or there is less free space than Config.MinFree. Its error matches
// ErrNoSpace for that.
func (s *Store) Ready() error {
	if err := s.failure.get(); err != nil {
		return err
	}
	if err := s.watchdog.check(); err != nil {
		return err
	}
	return s.checkSpace()
}

func seconds(start time.Time) float64 { return time.Since(start).Round(time.Millisecond).Seconds() }
