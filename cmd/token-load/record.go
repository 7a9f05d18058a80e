package main

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// maxLatency is the longest that is told apart; the histograms keep three digits, in nanoseconds.
const maxLatency = int64(time.Hour)

// sample is the latency of one answer of the measurement, in nanoseconds.
type sample struct {
	latency int64
	op      operation
}

// recorder gathers what all connections measure. They hand over many samples at a time, so
// that its lock costs nothing.
type recorder struct {
	created  atomic.Int64 // before the load begins
	answered atomic.Int64
	faulty   atomic.Int64

	mu        sync.Mutex
	latencies [operationCount]*hdrhistogram.Histogram
}

func newRecorder() *recorder {
	r := new(recorder)
	for o := range r.latencies {
		r.latencies[o] = newHistogram()
	}
	return r
}

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, maxLatency, 3) }

func (r *recorder) record(samples []sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range samples {
		// In range, hence no error.
		_ = r.latencies[s.op].RecordValue(min(max(s.latency, 1), maxLatency))
	}
}

// faultKey tells kinds of faults apart.
type faultKey struct {
	op     operation
	fault  fault
	status int // of a wrong status, otherwise 0
}

func (k faultKey) String() string {
	if k.fault == faultStatus {
		return fmt.Sprintf("%s %d", k.fault, k.status)
	}
	return k.fault.String()
}

type faultCount struct {
	count   int64
	example string // the first one
}

// faults counts the faults that one connection has met.
type faults map[faultKey]*faultCount

// add counts one; example is only called for the first of its kind.
func (f faults) add(key faultKey, example func() string) {
	known := f[key]
	if known == nil {
		known = &faultCount{example: example()}
		f[key] = known
	}
	known.count++
}

// merge adds what another connection has met.
func (f faults) merge(other faults) {
	for key, more := range other {
		f.add(key, func() string { return more.example })
		f[key].count += more.count - 1
	}
}

// sorted returns the kinds, the most frequent first.
func (f faults) sorted() []faultKey {
	keys := make([]faultKey, 0, len(f))
	for key := range f {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b faultKey) int {
		return cmp.Or(cmp.Compare(f[b].count, f[a].count), cmp.Compare(a.fault, b.fault),
			cmp.Compare(a.op, b.op), cmp.Compare(a.status, b.status))
	})
	return keys
}
