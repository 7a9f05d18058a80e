package main

import (
	"context"
	"math"
	"time"

	"tokenserver/internal/sleep"
)

// stopCheck bounds every pause, so that a signal is seen.
const stopCheck = 100 * time.Millisecond

// preload creates count sessions as fast as it can. The first fault ends it.
func (w *worker) preload(ctx context.Context, count int) {
	size := len(w.load.requests.appendCreate(nil, 0))
	depth := min(max(directWrite/size, 1), 64)
	if c := w.load.config; c.Batch > 1 || c.Client {
		depth = c.Batch
	}
	for left := count; left > 0 && !w.load.stopped.Load(); {
		if w.connected(ctx) {
			n := min(depth, left)
			for range n {
				w.add(opCreate, 0)
			}
			w.roundTrip()
			w.load.recorder.created.Add(int64(n))
			left -= n
		}
		if len(w.faults) > 0 {
			w.load.stopped.Store(true)
		}
	}
}

// closedLoop sends a batch as soon as the one before it is answered.
func (w *worker) closedLoop(ctx context.Context) {
	c := w.load.config
	for w.load.now() < w.load.end && !w.load.stopped.Load() {
		if !w.connected(ctx) {
			continue
		}
		for range c.atOnce() {
			w.add(c.Mix.pick(w.rng), 0)
		}
		start := w.load.now()
		for i := range w.batch {
			w.batch[i].intended = start
		}
		w.roundTrip()
	}
}

// openLoop sends its share of a fixed schedule, every request as soon as its time has come and
// the connection is free. What is late stays due: it is worked off, as many at a time as the
// pipeline allows, until the timeout after the end. Only the warm-up leaves its backlog behind:
// above the server's capacity the measurement would otherwise never begin.
func (w *worker) openLoop(ctx context.Context, s *sleep.Sleeper) {
	c := w.load.config
	next, measured := w.index, w.firstMeasured()
	for !w.load.stopped.Load() {
		now := w.load.now()
		if now >= w.load.measureFrom {
			next = max(next, measured)
		}
		due := w.load.intendedStart(next)
		if due >= w.load.end || now > w.load.end+int64(c.Timeout) {
			break
		}
		if due > now {
			s.Sleep(min(time.Duration(due-now), stopCheck))
			continue
		}
		if !w.connected(ctx) {
			continue
		}
		for ; due <= now && due < w.load.end && len(w.batch) < c.atOnce(); due = w.load.intendedStart(next) {
			w.add(c.Mix.pick(w.rng), due)
			next += c.Connections
		}
		if first := w.batch[0].intended; first >= w.load.measureFrom {
			w.behind = max(w.behind, w.load.now()-first)
		}
		w.roundTrip()
	}
	w.countNeverSent(max(next, measured))
}

// firstMeasured returns the number of the connection's first request of the measurement.
func (w *worker) firstMeasured() int {
	connections := w.load.config.Connections
	first := w.load.startsBefore(w.load.measureFrom)
	return first + (w.index-first%connections+connections)%connections
}

// countNeverSent looks at what of the measurement was due, from number next on, when the loop
// ended.
func (w *worker) countNeverSent(next int) {
	now := w.load.now()
	due := w.load.startsBefore(min(now, w.load.end))
	if due <= next {
		return
	}
	connections := w.load.config.Connections
	w.neverSent = int64((due - next + connections - 1) / connections)
	w.behind = max(w.behind, now-w.load.intendedStart(next))
}

// intendedStart returns when request number n of the schedule is due.
func (l *load) intendedStart(n int) int64 {
	return l.begin + int64(float64(n)*1e9/float64(l.config.Rate))
}

// startsBefore returns how many requests of the schedule are due before t.
func (l *load) startsBefore(t int64) int {
	n := int(math.Ceil(float64(t-l.begin) * float64(l.config.Rate) / 1e9))
	for n > 0 && l.intendedStart(n-1) >= t {
		n--
	}
	for l.intendedStart(n) < t {
		n++
	}
	return n
}
