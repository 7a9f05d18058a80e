// Package durable is the embedded store made to last: sessions live in a
// [shard.Store], and a Pebble database in a data directory remembers them.
//
// # Basics
//
// [Open] locks and checks a data directory and returns a [Store], whose Load loads
// what the directory holds. Each change of a session is enqueued in Pebble's log while
// its shard is locked, so that the log has the changes in the order in which they
// were decided, and waited for once the lock is released, so that concurrent requests
// share a sync: group commit. Nothing that answers rest on is ever read back once the
// Store is loaded.
//
// Times on disk are those of the process that wrote them, an epoch. The list of epochs
// tells what they mean to the next one, whatever happened to the wall clock.
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
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"tokenserver/internal/clock"
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
	// no Secret, the data directory's is used, which is made at the first need. With
	// no Clock, the real one is used.
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
	// to a table; there may be two of that size. MemTableFor finds what suits a
	// process. 0 means MaxMemTableBytes.
	MemTableBytes int64
	// MaxOpenFiles is how many files the store keeps open, MinOpenFiles at least; a
	// merge of tables has more of them open for a moment, and waits where there are
	// no descriptors. 0 means 1000.
	MaxOpenFiles int
	// MinFree is how many bytes have to be free on the disk. 0 means 256 MiB.
	MinFree int64

	tune       func(*pebble.Options)             // of tests
	retryLimit time.Duration                     // of tests: how long Open waits for descriptors
	stat       func(string) (os.FileInfo, error) // of tests: looks where Dir leads
}

// Defaults of Config.
const (
	DefaultMinFree      = 256 << 20
	DefaultMaxOpenFiles = 1000
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
	if cfg.stat == nil {
		cfg.stat = os.Stat
	}
	if cfg.retryLimit == 0 {
		cfg.retryLimit = outageLimit
	}
	if cfg.MemTableBytes == 0 {
		cfg.MemTableBytes = MaxMemTableBytes
	}
	if cfg.MaxOpenFiles == 0 {
		cfg.MaxOpenFiles = DefaultMaxOpenFiles
	}
	if cfg.MinFree == 0 {
		cfg.MinFree = DefaultMinFree
	}
	return cfg
}

// Store is a store of sessions that lasts. It implements [tokenserver/server.Store]. Besides the
// answers documented at [shard.Store], its methods return an error when the disk
// fails, and *[token.UnavailableError] until Load has returned.
type Store struct {
	cfg      Config
	dataDir  *dataDir
	id       string
	db       *pebble.DB
	journal  *journal
	failure  *failure
	watchdog *watchdog
	log      *slog.Logger
	minFree  int64
	clock    *clock.Clock
	epochs   epochKeeper
	loading  loading
	restored *shard.Store // which Load fills
	// sessions is restored, once all of it is there: it makes what Load has written
	// visible to the other methods.
	sessions atomic.Pointer[shard.Store]

	space       spaceLook // of StatsInDetail
	askingUsage semaphore // held while the disk is asked for its free space
	backingUp   semaphore // held while a backup is made, and from Close on

	closing    chan struct{}   // of what goes on in the background
	background sync.WaitGroup  // which begins at the end of Load
	sweepAt    clock.Timestamp // when the keys of expired sessions are to be deleted; 0 for not at all
}

// Open makes, locks and checks a data directory. The Store must be closed, and is of
// no use before Load. Its errors, and those of Load, match ErrLocked, ErrVersion,
// ErrCorrupt, ErrNoSpace, ErrFailed, ErrGone or ErrNoDescriptors where those are the
// reason.
func Open(cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	s := &Store{
		cfg: cfg, log: cfg.Logger, minFree: cfg.MinFree, failure: newFailure(cfg.Fatal), watchdog: newWatchdog(cfg.Logger),
		clock: cfg.Store.Clock, closing: make(chan struct{}), askingUsage: make(semaphore, 1), backingUp: make(semaphore, 1),
	}
	if s.clock == nil {
		s.clock = clock.New(nil)
	}
	if err := s.open(); err != nil {
		s.abandon()
		return nil, wrap(err)
	}
	return s, nil
}

func (s *Store) open() (err error) {
	if s.dataDir, err = openDataDir(&s.cfg, s.watchdog, s.failure); err != nil {
		return err
	}
	s.dataDir.watch(s.watchdog, s.failure)
	if err := s.checkSpace(outageLimit); err != nil {
		return err
	}
	if err := s.dataDir.checkFiles(); err != nil {
		return err
	}
	if err := s.dataDir.removeCheckpoint(); err != nil {
		s.log.Warn("what is left of a backup can't be removed", "dir", s.dataDir.file(checkpointDir), "error", err)
	}
	s.epochs = epochKeeper{dataDir: s.dataDir, clock: s.clock, writing: s.watchdog.write("a write of " + epochsFile)}
	if s.id, err = openID(s.dataDir); err != nil {
		return err
	}
	if s.epochs.list, err = s.dataDir.readEpochs(); err != nil {
		return err
	}
	if s.cfg.Store.Grace != 0 && s.cfg.Store.Secret == nil {
		s.cfg.Store.Secret, err = openSecret(s.dataDir)
	}
	return err
}

func wrap(err error) error { return fmt.Errorf("durable: %w", diskError(err)) }

// openDB opens Pebble, which replays its log.
func (s *Store) openDB() error {
	start := time.Now()
	o := s.options(&s.cfg)
	if err := s.dataDir.checkOptions(o); err != nil {
		return err
	}
	if err := s.dataDir.opening(); err != nil {
		return err
	}
	o.WithFSDefaults() // where a file operation hangs, the log says which
	err := s.failure.runUntilFailure(func() (err error) {
		o.FileCache = fileCache(s.cfg.MaxOpenFiles)
		defer o.FileCache.Unref() // the database has it
		if s.db, err = pebble.Open(s.cfg.Dir, o); err != nil {
			// Not before it has ended: until then it may delete the logs.
			s.dataDir.notOpened()
		}
		return err
	})
	if err != nil {
		return s.openError(err)
	}
	if err := s.dataDir.opened(); err != nil {
		return err
	}
	s.log.Info("data directory opened", "dir", s.cfg.Dir, "fsync", s.cfg.Fsync.String(), "seconds", seconds(start))
	return nil
}

// abandonTime is how long Load, and then Close, wait for what is under way when a
// load is given up: Pebble can't be interrupted while it replays its log. What
// has not ended by then goes on, with the lock, until the process ends.
const abandonTime = 400 * time.Millisecond

// abandon closes what there is of a Store that is not loaded. It writes nothing.
// After a failed write that might never come to an end.
func (s *Store) abandon() error {
	if failed := s.failure.get(); failed != nil && !errors.Is(failed, ErrCorrupt) {
		return failed
	}
	closed := make(chan error, 1)
	go func() {
		closed <- s.failure.runUntilFailure(func() error {
			s.loading.wait()
			return s.closeUnloaded()
		})
	}()
	select {
	case err := <-closed:
		return err
	case <-time.After(abandonTime):
		return nil
	}
}

func (s *Store) closeUnloaded() (err error) {
	if s.restored != nil {
		s.restored.Close()
	}
	if s.journal != nil {
		s.journal.stop()
	}
	if s.db != nil {
		err = s.db.Close()
	}
	if s.dataDir != nil {
		err = errors.Join(err, s.dataDir.close())
	}
	s.closeClock()
	return err
}

// closeClock closes the clock, unless it is somebody else's.
func (s *Store) closeClock() {
	if s.clock != s.cfg.Store.Clock {
		s.clock.Close()
	}
}

// Close writes all that is only in the log to tables, so that the next start has
// no log to replay, and closes the data directory. Changes that begin afterwards fail.
// After a failed write it closes nothing and returns that failure, and so it does
// if the disk does not answer for ten seconds. It must not be called while Load is
// under way; if that has not loaded all, Close writes nothing.
func (s *Store) Close() error {
	sessions := s.sessions.Load()
	if sessions == nil {
		return s.abandon()
	}
	if err := s.failure.get(); err != nil {
		return s.failure.delayUntilReported(err)
	}
	defer s.boundClose()()
	return s.failure.delayUntilReported(s.failure.runUntilFailure(func() error {
		if err := s.dataDir.checkPresence(s.watchdog, s.failure); err != nil {
			return err // before anything is written
		}
		close(s.closing)
		if err := s.awaitBackground(); err != nil {
			return s.failure.set(err)
		}
		sessions.Close()
		s.journal.close()
		if err := s.closeFiles(); err != nil {
			return s.failure.set(err)
		}
		if err := s.dataDir.checkPresence(s.watchdog, s.failure); err != nil {
			return err // all was written, but not where the next start looks for it
		}
		s.closeClock()
		return s.dataDir.close()
	}))
}

// awaitBackground waits for the goroutines in the background, which a disk that does
// not answer may hold up, for outageLimit.
func (s *Store) awaitBackground() error {
	ended := make(chan struct{})
	go func() {
		s.background.Wait()
		s.backingUp.Lock()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-time.After(outageLimit):
		return errors.New("the disk does not answer: work in the background did not end")
	}
}

// closeFiles leaves all that there is in tables and in the list of epochs.
func (s *Store) closeFiles() error {
	start := time.Now()
	if err := s.db.Flush(); err != nil {
		return err
	}
	s.log.Info("flushed", "seconds", seconds(start))
	if err := s.epochs.update(); err != nil {
		return err
	}
	return s.db.Close()
}

// Ready returns why the Store can't be relied on: a write has failed, it is not
// loaded yet, the disk does not answer, or there is less free space than
// Config.MinFree. It takes a second at most. Its error matches ErrNoSpace for that.
func (s *Store) Ready() error {
	if err := s.failure.get(); err != nil {
		return err
	}
	if _, err := s.changeable(); err != nil {
		return err
	}
	return s.checkSpace(hangAfter)
}

func seconds(start time.Time) float64 { return time.Since(start).Round(time.Millisecond).Seconds() }
