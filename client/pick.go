package client

import (
	"context"
	"errors"
	"slices"
	"time"
)

// turn is a request that waits for a server.
type turn struct {
	counted bool          // towards MaxInFlight
	ready   chan struct{} // closed once what follows is set, under mu
	server  *server
	why     error // there is none
}

// pick returns the server that has the fewest requests under way, and of equals the
// one whose turn it is. It waits while there is none, while all have as many as they
// may, or while one has not been looked at yet. Of the counted,
// who has waited longest is first, and each must be released.
func (ss *servers) pick(ctx context.Context, counted bool) (*server, error) {
	ss.mu.Lock()
	t := &turn{counted: counted}
	if counted && len(ss.turns) > 0 || !ss.serveLocked(t) {
		t.ready = make(chan struct{})
		ss.turns = append(ss.turns, t)
	}
	ss.mu.Unlock()
	if t.ready != nil {
		ss.await(ctx, t)
	}
	if err := endOf(ctx); err != nil {
		if t.server != nil && counted {
			ss.release(t.server)
		}
		return nil, notDone(err, t.why)
	}
	return t.server, t.why
}

// await returns when a turn has come, or ctx has ended and the turn is given up.
func (ss *servers) await(ctx context.Context, t *turn) {
	select {
	case <-t.ready:
		return
	case <-ctx.Done():
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if i := slices.Index(ss.turns, t); i >= 0 {
		ss.turns = slices.Delete(ss.turns, i, i+1)
		_, t.why = ss.noneLocked()
	}
}

// release says that a counted request is under way no more.
func (ss *servers) release(s *server) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s.flights--
	ss.serveAllLocked()
}

// serveAllLocked serves those that wait. It requires mu.
func (ss *servers) serveAllLocked() {
	ss.turns = slices.DeleteFunc(ss.turns, func(t *turn) bool {
		served := ss.serveLocked(t)
		if served {
			close(t.ready)
		}
		return served
	})
}

// serveLocked says whether a request need not wait any more. It waits for a store that
// is away for a moment, though there is another one. It requires mu.
func (ss *servers) serveLocked(t *turn) bool {
	t.server, t.why = ss.leastLocked(t.counted)
	if t.server != nil && t.counted {
		t.server.flights++
	}
	return t.server != nil || errors.Is(t.why, ErrStoresDiffer) && !ss.awaitedLocked(time.Now())
}

// leastLocked returns the server for the next request, or why none gets calls. It
// requires mu.
func (ss *servers) leastLocked(counted bool) (least *server, why error) {
	if none, why := ss.noneLocked(); none {
		return nil, why
	}
	first := ss.next
	for i := range ss.all {
		at := (first + i) % len(ss.all)
		s := ss.all[at]
		full := counted && s.flights >= ss.maxFlights
		if ss.usableLocked(s) && !full && (least == nil || s.flights < least.flights) {
			least, ss.next = s, at+1
		}
	}
	return least, nil
}

// noneLocked says whether no server gets calls now, and why, if all were looked at. It
// requires mu.
func (ss *servers) noneLocked() (none bool, why error) {
	none = true
	for _, s := range ss.all {
		if !s.probed {
			return true, nil
		}
		none = none && !ss.usableLocked(s)
	}
	if none {
		why = ss.reasonLocked()
	}
	return none, why
}
