package durable

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sync/errgroup"

	"tokenserver/internal/stack"
	"tokenserver/shard"
	"tokenserver/token"
)

// progressInterval is the time between two log records of a long load.
const progressInterval = 5 * time.Second

// keyRanges is how many parts the keys are loaded in, by their first bits. Ids
// are random, so the parts are of a size.
const keyRanges = 64

// ctxInterval is how many sessions are loaded between two looks at the context.
const ctxInterval = 256

// loading is the state of a Store's load.
type loading struct {
	ranges atomic.Int32  // that are done
	ended  chan struct{} // closed when nothing of it is under way; nil if it has not begun
}

// percent returns how much is done, which is not all while it is asked for.
func (l *loading) percent() int {
	const almostAll = 99
	return min(int(l.ranges.Load())*100/keyRanges, almostAll)
}

// wait waits until nothing of a load is under way.
func (l *loading) wait() {
	if l.ended != nil {
		<-l.ended
	}
}

// loaded returns the sessions, or *[token.UnavailableError] if they are not all
// there yet.
func (s *Store) loaded() (*shard.Store, error) {
	if sessions := s.sessions.Load(); sessions != nil {
		return sessions, nil
	}
	return nil, s.loading.unavailable()
}

// changeable is loaded for a call that changes something: it fails while nothing may
// be decided.
func (s *Store) changeable() (*shard.Store, error) {
	sessions, err := s.loaded()
	if err != nil {
		return nil, err
	}
	return sessions, s.watchdog.check()
}

func (l *loading) unavailable() error {
	return &token.UnavailableError{Reason: fmt.Sprintf("loading: %d %%", l.percent())}
}

// Load loads the sessions. It is called once; until it has returned nil, every
// method that needs them returns *[token.UnavailableError]. If ctx ends first, Load
// returns its error, within abandonTime. Where Load fails, Close is all that is left.
func (s *Store) Load(ctx context.Context) error {
	s.loading.ended = make(chan struct{})
	var err error
	go func() {
		defer close(s.loading.ended)
		err = s.failure.runUntilFailure(func() error { return s.load(ctx) })
	}()
	if !s.loading.endsWith(ctx) {
		return wrap(ctx.Err())
	}
	if err != nil {
		return wrap(err)
	}
	s.sessions.Store(s.restored)
	s.failure.enableReport()
	s.background.Go(s.watchWallClock)
	s.background.Go(s.sweep)
	return nil
}

// endsWith waits for the end of the load, but not long after that of ctx. It
// returns whether the load has ended.
func (l *loading) endsWith(ctx context.Context) bool {
	select {
	case <-l.ended:
		return true
	case <-ctx.Done():
	}
	select {
	case <-l.ended:
		return true
	case <-time.After(abandonTime):
		return false
	}
}

func (s *Store) load(ctx context.Context) error {
	if err := s.openDB(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	cfg := s.cfg.Store
	lifetime := cmp.Or(cfg.Lifetime, token.DefaultIdleLifetime)
	current := newEpoch(s.epochs.list, s.clock, lifetime, cfg.MaxLifetime)
	s.journal = newJournal(s.db, current.Number, &s.cfg, s.failure, s.watchdog)
	cfg.Journal, cfg.Clock = s.journal, s.clock
	s.restored = shard.New(cfg)
	return s.restore(ctx, newTimeline(append(s.epochs.list, current)))
}

// loader loads the sessions of a data directory.
type loader struct {
	store    *Store
	ctx      context.Context
	now      time.Time
	timeline timeline
	next     atomic.Int32 // the next range
	loaded   atomic.Int64
	expired  expiredKeys
}

// restore puts what has not expired into the shards, and then writes the epoch that
// all changes from now on are of.
func (s *Store) restore(ctx context.Context, t timeline) error {
	l := &loader{store: s, ctx: ctx, now: time.Now(), timeline: t}
	done := make(chan struct{})
	var progress sync.WaitGroup
	progress.Go(func() { l.report(done) })
	err := l.run()
	if err == nil {
		err = s.restored.Restored(ctx)
	}
	close(done)
	progress.Wait()
	if err != nil {
		return err
	}
	l.finishExpired()
	s.epochs.list = t.needed()
	if err := s.dataDir.writeEpochs(s.epochs.list); err != nil {
		return err
	}
	s.log.Info("loaded", "sessions", l.loaded.Load(), "expired", l.expired.n.Load(), "seconds", seconds(l.now))
	return nil
}

func (l *loader) report(done <-chan struct{}) {
	ticker := time.NewTicker(progressInterval)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			l.store.log.Info("loading", "sessions", l.loaded.Load(), "seconds", seconds(l.now))
		}
	}
}

// run loads all ranges, as many at once as there are processors. After an error no
// more ranges are begun.
func (l *loader) run() error {
	var workers errgroup.Group
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() (err error) {
			defer recoverTo(&err)
			if err = l.loadRanges(); err != nil {
				l.next.Store(keyRanges)
			}
			return err
		})
	}
	return workers.Wait()
}

// recoverTo makes an error of a panic.
func recoverTo(err *error) {
	if p := recover(); p != nil {
		*err = stack.PanicError(p)
	}
}

// worker is one of those that load ranges.
type worker struct {
	*loader
	decoder decoder
	epoch   *relation // of the last value
}

func (l *loader) loadRanges() error {
	w := worker{loader: l, epoch: &l.timeline[0]}
	for {
		i := int(l.next.Add(1)) - 1
		if i >= keyRanges {
			return nil
		}
		if err := w.loadRange(rangeBounds(i)); err != nil {
			return err
		}
		l.store.loading.ranges.Add(1)
	}
}

// rangeBounds returns the keys of a range. The first has all that is less, and
// the last all that is greater, whatever it is.
func rangeBounds(i int) *pebble.IterOptions {
	bounds := new(pebble.IterOptions)
	if i > 0 {
		bounds.LowerBound = []byte{byte(i * (256 / keyRanges))}
	}
	if i < keyRanges-1 {
		bounds.UpperBound = []byte{byte((i + 1) * (256 / keyRanges))}
	}
	return bounds
}

func (w *worker) loadRange(bounds *pebble.IterOptions) error {
	iter, err := w.store.db.NewIter(bounds)
	if err != nil {
		return w.readError(err)
	}
	defer iter.Close()
	n := 0
	for iter.First(); iter.Valid(); iter.Next() {
		if n++; n%ctxInterval == 1 && w.ctx.Err() != nil {
			return w.ctx.Err()
		}
		value, err := iter.ValueAndErr()
		if err != nil {
			return w.readError(err)
		}
		if err := w.restore(iter.Key(), value); err != nil {
			return err
		}
	}
	if err := iter.Error(); err != nil {
		return w.readError(err)
	}
	return nil
}

func (w *worker) restore(key, value []byte) error {
	state, err := w.decoder.decode(key, value)
	if err == nil {
		err = w.enterEpoch(w.decoder.epoch)
	}
	if err != nil {
		return fmt.Errorf("%w in %s: %w", ErrCorrupt, w.store.dataDir.path, err)
	}
	w.epoch.bringHere(state)
	if state.Expires <= w.timeline.current().Start {
		w.expire(token.ID(key), w.epoch)
		return nil
	}
	if err := w.store.restored.Restore(state); err != nil {
		return fmt.Errorf("data directory %s: %w", w.store.dataDir.path, err)
	}
	w.loaded.Add(1)
	return nil
}

// enterEpoch finds the epoch of a value, which is mostly that of the one before.
func (w *worker) enterEpoch(number uint32) error {
	if w.epoch.Number != number {
		r := w.timeline.find(number)
		if r == nil || &r.epoch == w.timeline.current() { // which has no value yet
			return fmt.Errorf("%s does not have the epoch of a value", epochsFile)
		}
		w.epoch = r
	}
	if !w.epoch.used.Load() {
		w.epoch.used.Store(true)
	}
	return nil
}

// readError names the damaged file, which Pebble tells apart from the error.
func (l *loader) readError(err error) error { return l.store.openError(err) }
