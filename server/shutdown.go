package server

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"time"
)

// Of a stop.
const (
	// StopGrace is how long requests that still come on open connections after the
	// listener has closed are answered, so that clients learn that nothing was
	// carried out.
	StopGrace = time.Second
	// stopTick is how often a stop looks at the connections that are left.
	stopTick = 20 * time.Millisecond
	// stopAnswers is how many times AnswerTimeout a stop takes at most, if the store
	// answers in time: for an answer that is under way, and for one that the store has
	// yet to give.
	stopAnswers = 2
)

// listeners are those that the server answers on.
type listeners struct {
	mu     sync.Mutex // guards what follows
	open   []net.Listener
	closed bool
}

// add returns false if the server has stopped.
func (l *listeners) add(ln net.Listener) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.open = append(l.open, ln)
	}
	return !l.closed
}

func (l *listeners) close() (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, ln := range l.open {
		if e := ln.Close(); e != nil && !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	l.open = nil
	return err
}

// Drain makes /readyz answer 503 from now on, and each answer the last one of its
// connection. All else goes on.
func (s *Server) Drain() { s.draining.Store(true) }

// stopRefusal returns errStopping once the listeners have closed.
func (s *Server) stopRefusal() error {
	if s.reaper.stopping.Load() {
		return errStopping
	}
	return nil
}

// Shutdown closes the listener and returns when all connections have ended, and a
// dump, or with ctx's error; what is left by then is cut off. What was begun to be
// answered is, and the answers arrive. A request that comes later, for StopGrace
// at most, is told that nothing of it was carried out.
func (s *Server) Shutdown(ctx context.Context) error { return s.shutdown(ctx, StopGrace) }

// ShutdownNow is Shutdown without StopGrace: connections that wait for a request
// are closed at once.
func (s *Server) ShutdownNow(ctx context.Context) error { return s.shutdown(ctx, 0) }

func (s *Server) shutdown(ctx context.Context, grace time.Duration) error {
	s.Drain()
	s.dump.stop()
	err := s.listeners.close()
	s.reaper.beginStop()
	defer s.reaper.stop()
	if waited := s.reaper.wait(ctx, grace); waited != nil {
		return waited
	}
	return errors.Join(err, s.dump.wait(ctx))
}

// beginStop lets the time run that is left for all answers together.
func (r *reaper) beginStop() {
	if r.stopping.Load() {
		return
	}
	left := stopAnswers * r.answer
	end := time.Now().Add(left)
	r.writesEnd.Store(&end)
	r.writesDue.Store(r.due(left))
	r.stopping.Store(true)
}

// wait returns when the last connection has gone, or cuts off what is left when
// ctx ends. After the grace, no connection is waited for that waits for a request.
func (r *reaper) wait(ctx context.Context, grace time.Duration) error {
	ticker := time.NewTicker(stopTick)
	defer ticker.Stop()
	for begun := time.Now(); !r.closeIfEmpty(); {
		if time.Since(begun) >= grace {
			r.endReads()
		}
		select {
		case <-r.emptied:
		case <-ticker.C:
		case <-ctx.Done():
			r.cutAll()
			return ctx.Err()
		}
	}
	return nil
}

// closeIfEmpty lets no connection in any more if there is none. One that was
// accepted just before the listener closed may still be to come.
func (r *reaper) closeIfEmpty() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = len(r.conns)+len(r.refused) == 0
	return r.closed
}

// endReads ends all waiting for requests, and for what is missing of one.
func (r *reaper) endReads() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		switch s := c.load(); s.phase() {
		case fresh, handshaking, reading, idle, idleUnknown:
			c.end(s)
		}
	}
}

// cutAll closes all connections at once.
func (r *reaper) cutAll() {
	r.mu.Lock()
	r.closed = true
	left := slices.Collect(maps.Keys(r.refused))
	for _, c := range r.conns {
		c.step.Store(int64(newStep(dead, never)))
		c.wakeUpLocked()
		left = append(left, c.Conn)
	}
	r.mu.Unlock()
	for _, nc := range left { // without the lock: Close waits for who reads
		cut(nc)
	}
}
