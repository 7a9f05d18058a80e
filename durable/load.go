package durable

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

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
		err = s.load(ctx)
	}()
	if !s.loading.endsWith(ctx) {
		return wrap(ctx.Err())
	}
	if err != nil {
		return wrap(err)
	}
	s.sessions.Store(s.restored)
	s.failure.enableReport()
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
	s.journal = newJournal(s.db, &s.cfg, s.failure, s.watchdog)
	cfg.Journal = s.journal
	s.restored = shard.New(cfg)
	return s.restore(ctx)
}

// loader loads the sessions of a data directory.
type loader struct {
	store   *Store
	ctx     context.Context
	now     time.Time
	next    atomic.Int32 // the next range
	loaded  atomic.Int64
	expired atomic.Int64
}

// restore puts what has not expired into the shards, and deletes what has.
func (s *Store) restore(ctx context.Context) error {
	l := &loader{store: s, ctx: ctx, now: time.Now()}
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
	s.log.Info("loaded", "sessions", l.loaded.Load(), "expired", l.expired.Load(), "seconds", seconds(l.now))
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

// run loads all ranges, as many at once as there are processors.
func (l *loader) run() error {
	errs := make(chan error, runtime.GOMAXPROCS(0))
	for range cap(errs) {
		go func() { errs <- l.loadRanges() }()
	}
	var first error
	for range cap(errs) {
		if err := <-errs; err != nil && first == nil {
			first = err
			l.next.Store(keyRanges)
		}
	}
	return first
}

func (l *loader) loadRanges() error {
	var d decoder
	for {
		i := int(l.next.Add(1)) - 1
		if i >= keyRanges {
			return nil
		}
		if err := l.loadRange(&d, rangeBounds(i)); err != nil {
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

func (l *loader) loadRange(d *decoder, bounds *pebble.IterOptions) error {
	iter, err := l.store.db.NewIter(bounds)
	if err != nil {
		return l.readError(err)
	}
	defer iter.Close()
	n := 0
	for iter.First(); iter.Valid(); iter.Next() {
		if n++; n%ctxInterval == 1 && l.ctx.Err() != nil {
			return l.ctx.Err()
		}
		value, err := iter.ValueAndErr()
		if err != nil {
			return l.readError(err)
		}
		if err := l.restore(d, iter.Key(), value); err != nil {
			return err
		}
	}
	if err := iter.Error(); err != nil {
		return l.readError(err)
	}
	return nil
}

func (l *loader) restore(d *decoder, key, value []byte) error {
	state, err := d.decode(key, value)
	if err != nil {
		return fmt.Errorf("%w in %s: %w", ErrCorrupt, l.store.dataDir.path, err)
	}
	if !state.Expires.After(l.now) {
		l.store.journal.Expired(token.ID(key))
		l.expired.Add(1)
		return nil
	}
	if err := l.store.restored.Restore(state); err != nil {
		return fmt.Errorf("data directory %s has more sessions than the limits allow: %w", l.store.dataDir.path, err)
	}
	l.loaded.Add(1)
	return nil
}

// readError names the damaged file, which Pebble tells apart from the error.
func (l *loader) readError(err error) error { return l.store.openError(err) }
