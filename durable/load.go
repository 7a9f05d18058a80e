package durable

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"tokenserver/token"
)

// progressInterval is the time between two log records of a long load.
const progressInterval = 5 * time.Second

// keyRanges is how many parts the keys are loaded in, by their first bits. Ids
// are random, so the parts are of a size.
const keyRanges = 64

// loader loads the sessions of a data directory.
type loader struct {
	store   *Store
	now     time.Time
	next    atomic.Int32 // the next range
	loaded  atomic.Int64
	expired atomic.Int64
}

// load puts what has not expired into the shards, and deletes what has.
func (s *Store) load() error {
	l := &loader{store: s, now: time.Now()}
	done := make(chan struct{})
	var progress sync.WaitGroup
	progress.Go(func() { l.report(done) })
	err := l.run()
	close(done)
	progress.Wait()
	if err != nil {
		return err
	}
	s.sessions.Restored()
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
	for iter.First(); iter.Valid(); iter.Next() {
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
	if err := l.store.sessions.Restore(state); err != nil {
		return fmt.Errorf("data directory %s has more sessions than the limits allow: %w", l.store.dataDir.path, err)
	}
	l.loaded.Add(1)
	return nil
}

// readError names the damaged file, which Pebble tells apart from the error.
func (l *loader) readError(err error) error { return l.store.openError(err) }
