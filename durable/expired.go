package durable

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"tokenserver/token"
)

const (
	// keepExpired is how long keys stay if all sessions have expired at a start.
	keepExpired = time.Hour
	// maxExpiredKeys is how many keys are remembered while it is not known whether
	// all have expired.
	maxExpiredKeys = 4096
	// sweepPause is the time between two batches of keys that are deleted in the
	// background.
	sweepPause = 5 * time.Millisecond
	// sweepWait is how long is waited at a time: a timer does not see that the
	// machine sleeps.
	sweepWait = time.Minute
)

// expiredKeys are the keys of sessions that have expired when they were to be
// loaded. None is deleted before a session was found that has not: if all have, the
// clock is to blame, most likely.
type expiredKeys struct {
	n    atomic.Int64 // how many there are
	kept atomic.Int64 // that an earlier epoch wants to be kept

	mu   sync.Mutex
	ids  []token.ID // up to maxExpiredKeys, before the first session that lives
	more bool       // there are others, not remembered
}

// expire deletes the key of a session of an epoch, or keeps it for the time being.
func (l *loader) expire(id token.ID, of *relation) {
	l.expired.n.Add(1)
	switch {
	case of.keep > l.timeline.current().Start:
		l.expired.kept.Add(1)
	case l.loaded.Load() > 0:
		l.store.journal.Expired(id)
	default:
		l.expired.remember(id)
	}
}

func (e *expiredKeys) remember(id token.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.ids) == maxExpiredKeys {
		e.more = true
		return
	}
	e.ids = append(e.ids, id)
}

// finishExpired deletes the keys that were remembered, or has all be kept for a
// while. What can't be deleted at once is swept later.
func (l *loader) finishExpired() {
	e, current := &l.expired, l.timeline.current()
	sweep, at := e.more, current.Start
	if e.kept.Load() > 0 {
		sweep, at = true, l.timeline[0].keep // that of all epochs
	}
	if n := e.n.Load(); n > 0 && l.loaded.Load() == 0 {
		if e.kept.Load() < n {
			current.KeepUntil = current.Start.Add(keepExpired)
			at = max(at, current.KeepUntil)
		}
		sweep, e.ids = true, nil
		l.store.log.Warn("all sessions have expired: if the clock is wrong, set it and start again before their keys are deleted",
			"sessions", n, "clock", l.store.clock.Time(current.Start).UTC(), "deleted_at", l.store.clock.Time(at).UTC())
	}
	for _, id := range e.ids {
		l.store.journal.Expired(id)
	}
	if sweep {
		l.store.sweepAt = at
	}
}

// sweep deletes, at Store.sweepAt, the keys that no session has.
func (s *Store) sweep() {
	defer s.failure.recoverPanic()
	if s.sweepAt == 0 {
		return
	}
	for left := s.sweepAt.Sub(s.clock.Now()); left > 0; left = s.sweepAt.Sub(s.clock.Now()) {
		if !s.pause(min(left, sweepWait)) {
			return
		}
	}
	for i := range keyRanges {
		if err := s.sweepRange(rangeBounds(i)); err != nil {
			s.log.Warn("keys of expired sessions are left", "error", err)
			return
		}
		if s.isClosing() {
			return
		}
	}
}

func (s *Store) sweepRange(bounds *pebble.IterOptions) error {
	iter, err := s.db.NewIter(bounds)
	if err != nil {
		return err
	}
	defer iter.Close()
	ids := make([]token.ID, 0, deleteBatch)
	for iter.First(); iter.Valid() && !s.isClosing(); iter.Next() {
		if id := token.ID(iter.Key()); !s.restored.Holds(id) {
			ids = append(ids, id)
		}
		if len(ids) == deleteBatch {
			s.deleteSwept(ids)
			ids = ids[:0]
		}
	}
	s.deleteSwept(ids)
	return iter.Error()
}

func (s *Store) deleteSwept(ids []token.ID) {
	if len(ids) == 0 {
		return
	}
	s.journal.deleteKeys(ids)
	s.journal.expectTick()
	s.pause(sweepPause)
}

// pause waits, and returns false if the Store is being closed.
func (s *Store) pause(d time.Duration) bool {
	select {
	case <-s.closing:
		return false
	case <-time.After(d):
		return true
	}
}

func (s *Store) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}
