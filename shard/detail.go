package shard

import (
	"math/rand/v2"
	"time"

	"tokenserver/internal/stats"
)

// How many deadlines are looked at for a Detail.
const (
	// deadlineRun is how many that stand side by side are looked at under one hold of a
	// lock: two cache lines.
	deadlineRun = 8
	// deadlineRuns is how many such runs there are over all shards, and at least one a
	// shard.
	deadlineRuns = 64
)

// StatsInDetail is Stats, and sets d. It holds each lock for a moment only (see
// BenchmarkDetailHold), several times if there are few shards.
func (s *Store) StatsInDetail(d *stats.Detail) stats.Store {
	d.Reset()
	d.Expiring.Exact = true
	sum := s.statsOfWhole()
	now := s.now()
	for i := range s.shards {
		st := s.shards[i].stats()
		sum.Add(st)
		d.Shards = append(d.Shards, stats.Shard{Sessions: st.Sessions, LockWait: st.LockWait, Contended: st.Contended})
		s.sampleDeadlines(&s.shards[i], now, uint32(st.Sessions), &d.Expiring)
	}
	if recent := s.purge.recent.Load(); recent != nil {
		d.Purges = *recent
	}
	return sum
}

// sampleDeadlines adds a shard of so many sessions to e. It looks at all their deadlines
// if they are few, and otherwise at runs in random places.
func (s *Store) sampleDeadlines(sh *shard, now timestamp, sessions uint32, e *stats.Expiring) {
	runs := uint32(max(deadlineRuns/len(s.shards), 1))
	all := sessions <= runs*deadlineRun
	e.Exact = e.Exact && all
	var run [deadlineRun]timestamp
	for r := range min(runs, (sessions+deadlineRun-1)/deadlineRun) {
		first, weight := r*deadlineRun, 1.0
		if !all {
			first = rand.Uint32N(sessions - deadlineRun + 1)
			weight = float64(sessions) / float64(runs*deadlineRun)
		}
		for _, deadline := range run[:sh.deadlines(first, &run)] {
			addDeadline(e, deadline.Sub(now), weight)
		}
	}
}

// deadlines returns how many it has put into run, of the sessions from a place of the heap
// on.
func (sh *shard) deadlines(first uint32, run *[deadlineRun]timestamp) (n uint32) {
	sh.rlock()
	defer sh.mu.RUnlock()
	for n < deadlineRun && first+n < sh.heap.n {
		run[n] = sh.heap.at(heapRoot + first + n).deadline
		n++
	}
	return n
}

func addDeadline(e *stats.Expiring, left time.Duration, weight float64) {
	e.Sampled++
	if step := max(left, 0) / stats.ExpiryStep; int(step) < len(e.Steps) {
		e.Steps[step] += weight
	} else {
		e.Later += weight
	}
}
