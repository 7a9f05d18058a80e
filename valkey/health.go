package valkey

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// health is whether the engine answers, all of it. It turns with the first call that fails, and
// back with the first one that does not; but in a cluster, where that one may have come to another
// primary, with the next look at all of them.
type health struct {
	log     *slog.Logger
	failure atomic.Pointer[failure] // nil while the engine answers
	turned  chan struct{}           // gets something when it stops to answer

	mu       sync.Mutex
	logged   time.Time // when a change was logged last
	loggedUp bool      // what it said
	errors   map[string]uint64
}

func (h *health) init(log *slog.Logger) {
	h.log, h.loggedUp, h.errors = log, true, make(map[string]uint64)
	h.turned = make(chan struct{}, 1)
}

func (h *health) failing() bool { return h.failure.Load() != nil }

// reason says why the engine can't be relied on.
func (h *health) reason() string {
	if f := h.failure.Load(); f != nil {
		return f.err.Error()
	}
	return "not connected yet"
}

// failed takes in that a command has failed.
func (h *health) failed(f failure) {
	if f.isEngines() {
		if h.failure.Swap(&f) == nil {
			h.wake()
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.errors[f.kind]++
	h.logLocked()
}

// wake has the engine looked at soon.
func (h *health) wake() {
	select {
	case h.turned <- struct{}{}:
	default:
	}
}

// answered takes in that the engine answers, unless something has failed since it was found to
// fail in the way that was.
func (h *health) answered(was *failure) {
	if was == nil || !h.failure.CompareAndSwap(was, nil) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.logLocked()
}

// check logs a change that came too soon after another to be logged at once.
func (h *health) check() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.logLocked()
}

// logLocked logs a change, at most one a second. It requires mu.
func (h *health) logLocked() {
	f := h.failure.Load()
	if up := f == nil; up == h.loggedUp || time.Since(h.logged) < time.Second {
		return
	}
	h.logged, h.loggedUp = time.Now(), f == nil
	if f == nil {
		h.log.Info("the engine answers again")
		return
	}
	h.log.Error("the engine fails: requests are answered 503", "reason", f.err.Error(), "kind", f.kind)
}

// Ready says why the store can't be relied on at present: the reason why a command has failed, of
// whichever primary. It is nil once all primaries answer again, and they are tried several times a
// second.
func (s *Store) Ready() error {
	if s.client() == nil || s.health.failing() {
		return errors.New(s.health.reason())
	}
	return nil
}
