package sampler

import (
	"math"

	"tokenserver/internal/stats"
)

// delta is what has happened between two samples.
type delta struct {
	seconds      float64
	store        stats.Store // counters alone
	batches      uint64
	batchItems   uint64
	requests     uint64
	unauthorized uint64
	first        bool // there was no sample before
}

// per returns how many a second n are.
func (d *delta) per(n uint64) float64 {
	if d.first || d.seconds <= 0 {
		return 0
	}
	return float64(n) / d.seconds
}

// less returns a difference of counters, which a store that starts anew may set back.
func less(now, before uint64) uint64 { return now - min(before, now) }

func sumOf[T any](list []T, count func(T) uint64) (n uint64) {
	for _, x := range list {
		n += count(x)
	}
	return n
}

func requestsOf(st stats.Server) uint64 {
	return sumOf(st.Requests, func(r stats.RequestCount) uint64 { return r.Count })
}

func batchesOf(st stats.Server) uint64 {
	return sumOf(st.BatchSizes.Counts, func(n uint64) uint64 { return n })
}

func (d *delta) rates() Rates {
	c := &d.store.Counters
	return Rates{
		Exchanged: d.per(c.Exchanged), Replayed: d.per(c.Replayed), Invalid: d.per(c.Invalid),
		Created: d.per(c.Created), Deleted: d.per(c.Deleted),
		Batches: d.per(d.batches), BatchItems: d.per(d.batchItems), Requests: d.per(d.requests),
	}
}

func (d *delta) security(store stats.Store, requests stats.Server) Security {
	c := &d.store.Counters
	return Security{
		Invalid:      Count{d.per(c.Invalid), store.Invalid},
		Replayed:     Count{d.per(c.Replayed), store.Replayed},
		Reused:       Count{d.per(c.Reused), store.Reused},
		Revoked:      Count{d.per(c.Revoked), store.Revoked},
		Unauthorized: Count{d.per(d.unauthorized), requests.Refused},
	}
}

// capacity returns how full the server is, without the times. A store that loads does not
// know of its sessions, nor what they take of the disk.
func (s *Sampler) capacity(store stats.Store, requests stats.Server) Capacity {
	c := Capacity{Connections: Gauge{Used: int64(requests.Connections), Limit: int64(requests.MaxConnections)}}
	if !s.hasLoaded() {
		return c
	}
	c.Sessions = &Gauge{Used: store.Sessions, Limit: store.MaxSessions}
	c.Memory = &Gauge{Used: store.Reserved, Limit: store.MaxReserved}
	if d := store.Disk; d != nil {
		c.Disk = &Gauge{Used: d.Bytes}
		if d.Free >= 0 {
			c.Disk.Limit = d.Bytes + d.Free
		}
	}
	return c
}

// hasLoaded says whether the store has its sessions in shards of this process, all of them.
func (s *Sampler) hasLoaded() bool { return len(s.detail.Shards) > 0 }

// meanOfSyncs remembers a mean through times in which nothing happens, and smoothes it.
type meanOfSyncs struct{ time, group float64 }

// smoothing is the share of a new value in a mean: that of ten samples or so.
const smoothing = 0.1

func smooth(mean *float64, v float64) float64 {
	if *mean == 0 {
		*mean = v
	}
	*mean += smoothing * (v - *mean)
	return *mean
}

func (s *Sampler) diskOf(now *stats.Disk, d delta) *Disk {
	disk := &Disk{Bytes: now.Bytes, Free: now.Free}
	if before := s.seen.store.Disk; before != nil {
		syncs := less(now.Syncs, before.Syncs)
		disk.Syncs = d.per(syncs)
		if syncs > 0 {
			smooth(&s.disk.time, (now.SyncTime-before.SyncTime).Seconds()/float64(syncs))
		}
		if groups := less(now.Groups, before.Groups); groups > 0 {
			smooth(&s.disk.group, float64(less(now.Changes, before.Changes))/float64(groups))
		}
	}
	disk.SyncTime, disk.Group = s.disk.time, s.disk.group
	return disk
}

func (s *Sampler) engineOf(now *stats.Engine, d delta) *Engine {
	e := &Engine{
		Up: now.Up, Version: now.Version, Mode: now.Mode, Role: now.Role,
		Memory: now.Memory, MaxMemory: now.MaxMemory, Eviction: now.Eviction,
	}
	if before := s.seen.store.Engine; before != nil {
		counts := func(h stats.Histogram) uint64 { return sumOf(h.Counts, func(n uint64) uint64 { return n }) }
		commands := less(counts(now.Durations), counts(before.Durations))
		e.Commands = d.per(commands)
		errors := func(e *stats.Engine) uint64 {
			return sumOf(e.Errors, func(k stats.KindCount) uint64 { return k.Count })
		}
		e.Errors = d.per(less(errors(now), errors(before)))
		if commands > 0 {
			smooth(&s.engine.time, (now.Durations.Sum-before.Durations.Sum).Seconds()/float64(commands))
		}
	}
	e.Latency = s.engine.time
	return e
}

// expiryEstimate smoothes what is estimated from some of the sessions.
type expiryEstimate struct {
	sum stats.Expiring
	n   int
}

// expiryMean is how many estimates the mean is of.
const expiryMean = 30

// scale is what makes the estimates add up to as many sessions as there are: the mean of
// the last ones lags behind.
func (e *expiryEstimate) scale(shards []stats.Shard) float64 {
	estimated, sessions := e.sum.Later, int64(0)
	for _, n := range e.sum.Steps {
		estimated += n
	}
	for i := range shards {
		sessions += shards[i].Sessions
	}
	if e.n == 0 || estimated == 0 {
		return 1
	}
	return float64(sessions) / estimated
}

func (e *expiryEstimate) take(d *stats.Detail) *Expiring {
	now := &d.Expiring
	if now.Exact {
		e.sum, e.n = *now, 0
	} else {
		e.n = min(e.n+1, expiryMean)
		for i := range now.Steps {
			e.sum.Steps[i] += (now.Steps[i] - e.sum.Steps[i]) / float64(e.n)
		}
		e.sum.Later += (now.Later - e.sum.Later) / float64(e.n)
	}
	scale := e.scale(d.Shards)
	out := &Expiring{
		Step: stats.ExpiryStep.Seconds(), Sessions: make([]float64, len(now.Steps)), Later: math.Round(scale * e.sum.Later),
		Exact: now.Exact, Purges: []Purge{},
	}
	for i, n := range e.sum.Steps {
		out.Sessions[i] = math.Round(scale * n)
	}
	for _, p := range d.Purges {
		out.Purges = append(out.Purges, Purge{Ended: p.Ended.UTC().Round(0), Took: p.Took.Seconds(), Sessions: p.Sessions})
	}
	return out
}
