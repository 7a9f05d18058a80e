package bench

import (
	"fmt"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

// BenchmarkMemory fills each engine and measures what a session takes of the
// heap, and what a full garbage collection costs with all of them loaded:
// processor time as well as, in ns/op, time that passes.
func BenchmarkMemory(b *testing.B) {
	for _, engine := range engines {
		for _, n := range []int{1e4, 1e5, 1e6, 1e7} {
			b.Run(fmt.Sprintf("engine=%s/sessions=%d", engine.name, n), func(b *testing.B) {
				benchMemory(b, n, engine.make)
			})
		}
	}
}

func benchMemory(b *testing.B, n int, make func(n int) engine) {
	dropFilled()
	before := heapInUse()
	e := make(n)
	defer e.close()
	driver := tokensBytes(e)
	fill(n, e.create)
	perSession := float64(heapInUse()-before-driver) / float64(n)

	cpu := gcSeconds()
	for b.Loop() {
		runtime.GC()
	}
	b.ReportMetric((gcSeconds()-cpu)*1e3/float64(b.N), "gc-cpu-ms/op")
	b.ReportMetric(perSession, "B/session")
	runtime.KeepAlive(e)
}

// tokensBytes returns what the benchmark itself keeps to name the sessions.
func tokensBytes(e engine) uint64 {
	switch e := e.(type) {
	case *ours:
		return uint64(len(e.tokens)) * 24
	case withSubjects:
		return tokensBytes(e.ours)
	case *mapStore:
		return uint64(len(e.tokens)) * 16
	case *otterStore:
		return uint64(len(e.tokens)) * 16
	case *bigcacheStore:
		// The cache copies its keys, so that the strings are the benchmark's too.
		return uint64(len(e.tokens)) * (16 + 32)
	}
	panic("bench: unknown engine")
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func gcSeconds() float64 {
	sample := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}}
	metrics.Read(sample)
	return sample[0].Value.Float64()
}

// BenchmarkPurge lets some of the sessions expire and measures their purge, all
// of it and the longest time that it held a lock. A hold also lasts as long as the
// machine does something else meanwhile: longest-gap-ns is what it took at most
// from a loop that only reads the clock, for as long as the purge took.
func BenchmarkPurge(b *testing.B) {
	for _, n := range []int{1e6, 1e7} {
		for _, expired := range []int{1e3, 1e4, 1e5} {
			b.Run(fmt.Sprintf("expired=%d/sessions=%d", expired, n), func(b *testing.B) {
				benchPurge(b, expired, n)
			})
		}
	}
}

// benchPurge purges once, however large b.N is: what is timed for b.N is the
// filling, and the metrics are the purge's.
func benchPurge(b *testing.B, expired, n int) {
	dropFilled()
	lifetime := 4*time.Second + time.Duration(n)*2*time.Microsecond
	o := newOursWith(n, lifetime)
	defer o.close()
	start := time.Now()
	fill(expired, o.create)
	// The rest expires a second after those that are to be purged.
	time.Sleep(time.Until(start.Add(time.Second)))
	fill(n-expired, o.create)
	time.Sleep(time.Until(start.Add(lifetime + time.Second/2)))

	start = time.Now()
	purged := o.store.Purge()
	took := time.Since(start)
	if purged != expired {
		b.Fatalf("purged %d sessions, want %d", purged, expired)
	}
	b.ReportMetric(float64(took), "ns/op")
	b.ReportMetric(float64(o.store.Stats().LongestPurgeHold), "longest-hold-ns")
	b.ReportMetric(float64(longestGap(took)), "longest-gap-ns")
}

// longestGap reads the clock for d and returns the longest time between two readings.
func longestGap(d time.Duration) (longest time.Duration) {
	last := time.Now()
	for end := last.Add(d); last.Before(end); {
		now := time.Now()
		longest, last = max(longest, now.Sub(last)), now
	}
	return longest
}
