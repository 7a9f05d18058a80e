package valkey

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"tokenserver/internal/stats"
)

// counters count since the start of the process, each what this server has done.
type counters struct {
	created, exchanged, invalid, deleted atomic.Int64
	replayed, reused, revoked, ended     atomic.Int64
	retries                              atomic.Int64 // commands that were sent again
	late                                 atomic.Int64 // calls that the engine refused since they came too late
}

// durationBounds are the bounds of the histogram of commands.
var durationBounds = []time.Duration{
	100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second,
}

// durations counts how long commands, or pipelines of them, took.
type durations struct {
	counts [14]atomic.Uint64 // between the bounds; the last is over all
	sum    atomic.Int64      // nanoseconds
}

var _ = [1]struct{}{}[len(durations{}.counts)-1-13]

func (d *durations) add(took time.Duration) {
	at, _ := slices.BinarySearch(durationBounds, took)
	d.counts[at].Add(1)
	d.sum.Add(int64(took))
}

func (d *durations) histogram() stats.Histogram {
	h := stats.Histogram{Bounds: durationBounds, Counts: make([]uint64, len(d.counts)), Sum: time.Duration(d.sum.Load())}
	for i := range d.counts {
		h.Counts[i] = d.counts[i].Load()
	}
	return h
}

// Stats returns what this store has done, and how the engine does. How many sessions there are
// it does not know.
func (s *Store) Stats() stats.Store {
	c := &s.counters
	return stats.Store{
		Counters: stats.Counters{
			Created: uint64(c.created.Load()), Exchanged: uint64(c.exchanged.Load()),
			Invalid: uint64(c.invalid.Load()), Deleted: uint64(c.deleted.Load()),
			Replayed: uint64(c.replayed.Load()), Reused: uint64(c.reused.Load()),
			Revoked: uint64(c.revoked.Load()), Ended: uint64(c.ended.Load()),
		},
		Engine: s.engineStats(),
	}
}

func (s *Store) engineStats() *stats.Engine {
	e := &stats.Engine{
		Up: s.Ready() == nil, Version: s.version(), InFlight: s.bulkheads.inFlight(),
		Durations: s.durations.histogram(), Errors: s.health.counts(),
		Retries: uint64(s.counters.retries.Load()), Late: uint64(s.counters.late.Load()), MetaBytes: s.metaSize.bytes.Load(),
	}
	e.Role, e.Connections, e.SessionBytes = s.role(), int(s.connections.Load()), s.memory.bytes.Load()
	if usage := s.usage.Load(); usage != nil {
		e.Memory, e.MaxMemory, e.Eviction = usage.memory, usage.limit, usage.eviction
	}
	if c := s.client(); c != nil {
		e.Mode = string(c.Mode())
	}
	return e
}

// role returns what the engine is: one that refuses what a replica refuses is a replica.
func (s *Store) role() string {
	switch f := s.health.failure.Load(); {
	case s.id.Load() == nil:
		return "unknown"
	case f != nil && f.kind == "readonly":
		return "replica"
	}
	return "primary"
}

// counts returns how many errors there were.
func (h *health) counts() (list []stats.KindCount) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, kind := range slices.Sorted(maps.Keys(h.errors)) {
		list = append(list, stats.KindCount{Kind: kind, Count: h.errors[kind]})
	}
	return list
}
