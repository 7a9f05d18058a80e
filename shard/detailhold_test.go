package shard

import (
	"slices"
	"testing"
	"time"

	"tokenserver/token"
)

// BenchmarkDetailHold measures how long the sampler holds a shard's lock at a time: the
// counters, and a run of deadlines, of a million sessions.
func BenchmarkDetailHold(b *testing.B) {
	const sessions = 1_000_000
	s := New(Config{Shards: 32, PurgeInterval: time.Hour})
	b.Cleanup(func() { s.Close() })
	for range sessions {
		if _, err := s.Create(b.Context(), token.NewSession{Meta: []byte(`{}`), Lifetime: time.Hour}); err != nil {
			b.Fatal(err)
		}
	}
	holds := make([]time.Duration, 0, 2*b.N)
	var run [deadlineRun]timestamp
	for i := 0; b.Loop(); i++ {
		sh := &s.shards[i%len(s.shards)]
		start := time.Now()
		sh.stats()
		between := time.Now()
		sh.deadlines(uint32(i*7919)%(sh.heap.n-deadlineRun), &run)
		holds = append(holds, between.Sub(start), time.Since(between))
	}
	slices.Sort(holds)
	mean := time.Duration(0)
	for _, h := range holds {
		mean += h
	}
	b.ReportMetric(float64(mean)/float64(len(holds)), "ns/hold")
	b.ReportMetric(float64(holds[len(holds)*99/100]), "p99-ns/hold")
	b.ReportMetric(float64(holds[len(holds)*999/1000]), "p99.9-ns/hold")
	b.ReportMetric(float64(holds[len(holds)-1]), "max-ns/hold")
}
