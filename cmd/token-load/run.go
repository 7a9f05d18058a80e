package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"tokenserver/client"
	"tokenserver/internal/sleep"
)

// errFaulty is returned by Run for a complete report that has errors; the report says which.
var errFaulty = errors.New("there were errors")

// load is one run: what all connections share. Times are nanoseconds since started.
type load struct {
	config   *Config
	requests *requestWriter
	checker  *checker
	recorder *recorder
	client   *client.Client // with --client
	workers  []*worker
	started  time.Time
	stopped  atomic.Bool
	loading  atomic.Bool // the sessions are there, and the times below are set

	preloaded   time.Duration
	begin       int64
	measureFrom int64
	end         int64
	finished    int64
}

// Run makes the load and writes the report. When ctx ends, the load ends early. It returns
// errFaulty if the report has errors, and any other error for a run that has no report.
func (m *Main) Run(ctx context.Context) error {
	plotFile, err := m.createPlot()
	if err != nil {
		return err
	}
	l := newLoad(&m.Config)
	if m.Config.Client {
		if l.client, err = client.New(client.Config{Addresses: []string{m.Config.Address}, Timeout: m.Config.Timeout}); err != nil {
			return errors.Join(err, closePlot(plotFile))
		}
		defer l.client.Close()
	}
	defer context.AfterFunc(ctx, func() { l.stopped.Store(true) })()
	hideProgress := m.showProgress(l)
	err = l.run(ctx)
	hideProgress()
	if err != nil {
		return errors.Join(err, closePlot(plotFile))
	}
	r := newReport(l)
	if err := errors.Join(m.writeReport(r), m.writePlot(plotFile, r)); err != nil {
		return err
	}
	return r.err()
}

func (m *Main) writeReport(r *report) error {
	if m.Config.JSON {
		return r.writeJSON(m.Stdout)
	}
	return r.writeText(m.Stdout)
}

func newLoad(c *Config) *load {
	meta := newMetadata(c.MetaSize)
	l := &load{
		config:      c,
		requests:    newRequestWriter(c.Address, meta),
		checker:     &checker{meta: meta, unchecked: c.Unchecked},
		recorder:    newRecorder(),
		started:     time.Now(),
		measureFrom: math.MaxInt64,
	}
	if c.Batch > 1 {
		l.requests = newItemWriter(meta)
	}
	for i := range c.Connections {
		l.workers = append(l.workers, newWorker(l, i))
	}
	return l
}

func (l *load) now() int64 { return int64(time.Since(l.started)) }

// share returns how many of the sessions the connection with this index creates.
func (l *load) share(index int) int {
	n := l.config.Sessions / l.config.Connections
	if index < l.config.Sessions%l.config.Connections {
		n++
	}
	return n
}

func (l *load) run(ctx context.Context) error {
	defer l.disconnect()
	l.each(func(w *worker) { w.preload(ctx, l.share(w.index)) })
	if err := l.preloadError(); err != nil {
		return err
	}
	sleepers, err := l.newSleepers()
	if err != nil {
		return err
	}
	defer closeSleepers(sleepers)
	l.beginLoad()
	l.each(func(w *worker) {
		if l.config.Rate > 0 {
			w.openLoop(ctx, sleepers[w.index])
		} else {
			w.closedLoop(ctx)
		}
	})
	l.finishLoad()
	return nil
}

func (l *load) each(do func(*worker)) {
	var group sync.WaitGroup
	for _, w := range l.workers {
		group.Go(func() { do(w) })
	}
	group.Wait()
}

// preloadError tells why the sessions could not be created, if so. Nothing is worth measuring
// without them.
func (l *load) preloadError() error {
	met := l.faults()
	for _, key := range met.sorted() {
		return fmt.Errorf("creating the sessions: %s (%s)", key, met[key].example)
	}
	return nil
}

func (l *load) newSleepers() ([]*sleep.Sleeper, error) {
	var sleepers []*sleep.Sleeper
	for range l.workers {
		if l.config.Rate == 0 {
			break
		}
		s, err := sleep.New()
		if err != nil {
			closeSleepers(sleepers)
			return nil, err
		}
		sleepers = append(sleepers, s)
	}
	return sleepers, nil
}

func closeSleepers(sleepers []*sleep.Sleeper) {
	for _, s := range sleepers {
		s.Close()
	}
}

func (l *load) beginLoad() {
	l.begin = l.now()
	l.preloaded = time.Duration(l.begin)
	l.measureFrom = l.begin + int64(l.config.WarmUp)
	l.end = l.measureFrom + int64(l.config.Duration)
	l.loading.Store(true)
}

// finishLoad sets the end of the measurement: when the last answer came, and not before the end
// that was planned, unless the run was stopped.
func (l *load) finishLoad() {
	l.finished = min(l.end, l.now())
	for _, w := range l.workers {
		l.recorder.record(w.samples)
		l.finished = max(l.finished, w.latest)
	}
}

func (l *load) disconnect() {
	for _, w := range l.workers {
		w.disconnect()
	}
}

// faults returns those of all connections.
func (l *load) faults() faults {
	all := faults{}
	for _, w := range l.workers {
		all.merge(w.faults)
	}
	return all
}

// warmedUp returns how long the warm-up took.
func (l *load) warmedUp() time.Duration {
	return time.Duration(min(l.finished, l.measureFrom) - l.begin)
}

// measured returns how long the measurement took.
func (l *load) measured() time.Duration {
	return time.Duration(max(l.finished-l.measureFrom, 0))
}

// createPlot opens the file for the plot before the load, not after it, or returns nil if none
// is wanted.
func (m *Main) createPlot() (*os.File, error) {
	if m.Config.Plot == "" {
		return nil, nil
	}
	return os.Create(m.Config.Plot)
}

func closePlot(f *os.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
}

func (m *Main) writePlot(f *os.File, r *report) error {
	if f == nil {
		return nil
	}
	return errors.Join(plotLatencies(f, m.Config.PlotTitle, r), f.Close())
}
