package main

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"
)

// load is one run: what all connections share. Times are nanoseconds since started.
type load struct {
	config      *Config
	meta        *metadata
	workers     []*worker
	started     time.Time
	stopped     atomic.Bool
	begun       int64 // the sessions are there
	measureFrom int64
	end         int64

	mu        sync.Mutex
	latencies *hdrhistogram.Histogram // guarded by mu
}

// run makes the load. When ctx ends before the load, so does the load, with ctx's error.
func run(ctx context.Context, c *Config) (*report, error) {
	l := newLoad(c)
	defer context.AfterFunc(ctx, func() { l.stopped.Store(true) })()
	defer l.disconnect()
	if err := l.each((*worker).connect); err != nil {
		return nil, err
	}
	if err := l.each((*worker).preload); err != nil {
		return nil, err
	}
	l.begun = l.now()
	if c.Duration > 0 {
		l.measureFrom = l.begun + int64(c.WarmUp)
		l.end = l.measureFrom + int64(c.Duration)
		if err := l.each((*worker).closedLoop); err != nil {
			return nil, err
		}
	}
	return l.report(), ctx.Err()
}

func newLoad(c *Config) *load {
	l := &load{
		config:      c,
		meta:        newMetadata(c.MetaSize),
		started:     time.Now(),
		measureFrom: math.MaxInt64,
		latencies:   hdrhistogram.New(1, int64(time.Minute), 3),
	}
	for i := range c.Connections {
		l.workers = append(l.workers, newWorker(l, i))
	}
	return l
}

func (l *load) now() int64 { return int64(time.Since(l.started)) }

// each lets all workers do something. The first error stops them all.
func (l *load) each(do func(*worker) error) error {
	var group errgroup.Group
	for _, w := range l.workers {
		group.Go(func() error {
			err := do(w)
			if err != nil {
				l.stopped.Store(true)
			}
			return err
		})
	}
	return group.Wait()
}

func (l *load) disconnect() {
	for _, w := range l.workers {
		w.disconnect()
	}
}

func (l *load) recordLatencies(nanoseconds []int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range nanoseconds {
		// It only fails above the greatest value, which is over the time-out.
		_ = l.latencies.RecordValue(n)
	}
}

// report counts what was sent within the measurement, up to its last answer.
func (l *load) report() *report {
	c := l.config
	r := &report{
		Connections: c.Connections, Pipeline: c.Pipeline, Sessions: c.Sessions, MetaSize: c.MetaSize,
		PreloadSeconds: time.Duration(l.begun).Seconds(),
	}
	if c.Duration == 0 {
		return r
	}
	finished := l.end
	for _, w := range l.workers {
		r.Requests += w.requests
		finished = max(finished, w.latest)
	}
	r.WarmUpSeconds = c.WarmUp.Seconds()
	r.Seconds = time.Duration(finished - l.measureFrom).Seconds()
	r.Throughput = float64(r.Requests) / r.Seconds
	at := func(percentile float64) float64 { return float64(l.latencies.ValueAtPercentile(percentile)) / 1e3 }
	r.Latency = latency{at(50), at(75), at(90), at(99), at(99.9), at(99.99)}
	return r
}
