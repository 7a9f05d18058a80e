package sampler

import (
	"cmp"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"tokenserver/internal/stack"
	"tokenserver/internal/stats"
)

// Config describes a Sampler. Its functions are called by one goroutine.
type Config struct {
	// Store returns the statistics of the store, and sets the detail. Required.
	Store func(*stats.Detail) stats.Store
	// Requests returns the statistics of the server, and Durations sets how long its
	// requests took, finely divided. Required.
	Requests  func() stats.Server
	Durations func(*stats.Histogram)
	// Ready says why the server can't be relied on. nil means that it always can.
	Ready func() error
	// LogLevel returns the level of the log. nil means that there is none.
	LogLevel func() string

	// Mode is memory, durable or shared.
	Mode  string
	Build stats.Build
	// Warnings are what the operator may not have meant.
	Warnings []string
	// Processors is how many processors requests are carried out on. 0 means 1.
	Processors int
	// Logger gets panics of the functions. nil means [slog.Default].
	Logger *slog.Logger
}

// Sampler takes samples. Its methods may be called by any number of goroutines.
type Sampler struct {
	cfg    Config
	latest atomic.Pointer[published]
	clock  struct{ start time.Time }

	// Of the one goroutine.
	seen      seen
	detail    stats.Detail
	latencies latencies
	shards    shardHistory
	expiring  expiryEstimate
	disk      meanOfSyncs
	engine    meanOfSyncs

	mu       sync.Mutex // of what History reads too
	number   uint64
	ended    time.Time // the last sample, by the wall clock, which may be set
	bySecond *ring
	byMinute *ring

	closing chan struct{}
	closed  sync.WaitGroup
}

// published is a sample, and a channel that is closed with the next one.
type published struct {
	sample *Sample
	next   chan struct{}
}

// seen is what the counters were at the last sample.
type seen struct {
	at       time.Time
	store    stats.Store
	requests stats.Server
}

// New starts a Sampler, which has taken its first sample. It must be closed before what
// Config reads.
func New(cfg Config) *Sampler {
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	cfg.Processors = max(cfg.Processors, 1)
	s := &Sampler{cfg: cfg, bySecond: newRing(seconds), byMinute: newRing(minutes), closing: make(chan struct{})}
	s.clock.start = time.Now()
	s.latest.Store(&published{sample: new(Sample), next: make(chan struct{})})
	s.takeOrLog()
	s.closed.Go(s.loop)
	return s
}

// Close ends the samples. Channels of Next are never closed afterwards.
func (s *Sampler) Close() {
	close(s.closing)
	s.closed.Wait()
}

// Latest returns the last sample.
func (s *Sampler) Latest() *Sample { return s.latest.Load().sample }

// Next returns the last sample, and a channel that is closed once there is another one.
func (s *Sampler) Next() (*Sample, <-chan struct{}) {
	p := s.latest.Load()
	return p.sample, p.next
}

func (s *Sampler) loop() {
	ticker := time.NewTicker(second)
	defer ticker.Stop()
	for {
		select {
		case <-s.closing:
			return
		case <-ticker.C:
			s.takeOrLog()
		}
	}
}

// takeOrLog goes on after a panic of what it reads.
func (s *Sampler) takeOrLog() {
	defer func() {
		if p := recover(); p != nil {
			s.cfg.Logger.Error("recovered panic", "panic", fmt.Sprint(p), "stack", string(stack.Current()))
		}
	}()
	s.take()
}

// take takes a sample.
func (s *Sampler) take() {
	var ready error
	if s.cfg.Ready != nil {
		ready = s.cfg.Ready()
	}
	store, requests := s.cfg.Store(&s.detail), s.cfg.Requests()
	s.latencies.read(s.cfg.Durations)
	now := time.Now() // what it reads may take long
	elapsed := now.Sub(s.clock.start)
	s.latencies.keep(elapsed)

	d := s.since(now, store, requests)
	sample := &Sample{Number: s.number + 1, Time: now.UTC().Round(0)}
	sample.Server = s.describe(now, ready)
	sample.Rates, sample.Security = d.rates(), d.security(store, requests)
	sample.Latency = s.latencies.window(elapsed)
	if s.hasLoaded() {
		sample.Shards = s.shards.take(s.detail.Shards, d, s.cfg.Processors)
		sample.Expiring = s.expiring.take(&s.detail)
		if store.Disk != nil {
			sample.Disk = s.diskOf(store.Disk, d)
		}
	}
	if store.Engine != nil {
		sample.Engine = s.engineOf(store.Engine, d)
	}
	sample.Capacity = s.capacity(store, requests)
	p := s.pointOf(sample)
	sample.Last = p.byName()
	s.keep(sample, p, elapsed)
	s.seen = seen{at: now, store: store, requests: requests}
	s.publish(sample)
}

func (s *Sampler) describe(now time.Time, ready error) Server {
	d := Server{
		Mode: s.cfg.Mode, Version: s.cfg.Build.Version, Commit: s.cfg.Build.Commit, GoVersion: s.cfg.Build.GoVersion,
		Started: s.clock.start.UTC().Round(0), Uptime: now.Sub(s.clock.start).Seconds(),
		Ready: ready == nil, Warnings: append([]string{}, s.cfg.Warnings...),
	}
	if ready != nil {
		d.Reason = ready.Error()
	}
	if s.cfg.LogLevel != nil {
		d.LogLevel = s.cfg.LogLevel()
	}
	return d
}

// keep puts a sample into the history.
func (s *Sampler) keep(sample *Sample, p point, elapsed time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	step := int64(elapsed.Round(second) / second)
	before := s.bySecond.last
	s.bySecond.put(step, &p)
	s.number, s.ended = sample.Number, sample.Time
	s.untilFullLocked(&sample.Capacity, step)
	const each = int64(minute / second)
	for m := max((before+1)/each, s.byMinute.last+1); (m+1)*each <= step+1 && m*each > step-seconds; m++ {
		folded := s.bySecond.fold(m*each, (m+1)*each)
		s.byMinute.put(m, &folded)
	}
}

// pointOf returns what the history keeps of a sample.
func (s *Sampler) pointOf(x *Sample) point {
	p := noPoint
	r := &x.Rates
	for series, v := range map[Series]float64{
		Exchanged: r.Exchanged, Replayed: r.Replayed, Invalid: r.Invalid, Created: r.Created, Deleted: r.Deleted,
		Requests: r.Requests, Reused: x.Security.Reused.Rate, Revoked: x.Security.Revoked.Rate,
		Unauthorized: x.Security.Unauthorized.Rate, Connections: float64(x.Capacity.Connections.Used),
	} {
		p[series] = float32(v)
	}
	if n := s.latencies.since(s.latencies.previous); n > 0 {
		for series, q := range map[Series]float64{P50: 0.5, P99: 0.99, P999: 0.999} {
			p[series] = float32(s.latencies.quantile(n, q))
		}
	}
	if x.Capacity.Sessions != nil && x.Capacity.Memory != nil {
		p[Sessions], p[Memory] = float32(x.Capacity.Sessions.Used), float32(x.Capacity.Memory.Used)
	}
	if c := x.Capacity.Disk; c != nil {
		p[DiskBytes] = float32(c.Used)
	}
	if d := x.Disk; d != nil {
		if d.Syncs > 0 {
			p[SyncTime], p[Group] = float32(d.SyncTime), float32(d.Group)
		}
	}
	if e := x.Engine; e != nil {
		p[EngineLatency], p[EngineMemory] = float32(e.Latency), float32(e.Memory)
	}
	return p
}

// since returns what has happened since the last sample.
func (s *Sampler) since(now time.Time, store stats.Store, requests stats.Server) delta {
	before, was := &s.seen.store, &s.seen.requests
	return delta{
		first: s.seen.at.IsZero(), seconds: now.Sub(s.seen.at).Seconds(),
		store: stats.Store{
			Counters: stats.Counters{
				Created: less(store.Created, before.Created), Exchanged: less(store.Exchanged, before.Exchanged),
				Invalid: less(store.Invalid, before.Invalid), Deleted: less(store.Deleted, before.Deleted),
				Replayed: less(store.Replayed, before.Replayed), Reused: less(store.Reused, before.Reused),
				Revoked: less(store.Revoked, before.Revoked),
			},
			Contended: less(store.Contended, before.Contended), LockWait: max(store.LockWait-before.LockWait, 0),
		},
		batches: less(batchesOf(requests), batchesOf(*was)), batchItems: less(requests.BatchSizes.Sum, was.BatchSizes.Sum),
		requests: less(requestsOf(requests), requestsOf(*was)), unauthorized: less(requests.Refused, was.Refused),
	}
}

func (s *Sampler) publish(sample *Sample) {
	old := s.latest.Swap(&published{sample: sample, next: make(chan struct{})})
	close(old.next)
}

// Of the time until something is full.
const (
	growthTime = 10 * 60 // steps over which growth is measured
	growthMin  = 60      // steps that there have to be
	growthMean = 15      // steps whose mean is a value
	farAway    = 7 * 24 * time.Hour
)

// untilFullLocked sets the times until something is full. It requires mu.
func (s *Sampler) untilFullLocked(c *Capacity, step int64) {
	for series, g := range map[Series]*Gauge{Sessions: c.Sessions, Memory: c.Memory, DiskBytes: c.Disk, Connections: &c.Connections} {
		if g == nil || g.Limit == 0 {
			continue
		}
		// A store that loads has no values.
		from := s.bySecond.first(series, step-growthTime)
		if step+1-from < growthMin {
			continue
		}
		g.GrowthTime = float64(step - from)
		was := s.bySecond.mean(series, from, from+growthMean)
		is := s.bySecond.mean(series, step+1-growthMean, step+1)
		growth := (is - was) / float64(step-from+1-growthMean)
		if left := float64(g.Limit-g.Used) / growth; growth > 0 && left < farAway.Seconds() {
			left = max(math.Round(left), 0)
			g.UntilFull = &left
		}
	}
}
