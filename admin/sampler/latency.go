package sampler

import (
	"time"

	"tokenserver/internal/stats"
)

// The latencies of the last latencyWindow are what was counted since the oldest one of
// some copies, of which one is made every latencyStep.
const (
	latencyWindow = 15 * time.Minute
	latencyStep   = 15 * time.Second
	latencySlots  = int(latencyWindow / latencyStep)
)

// latencies turn the counts of a histogram, which only grow, into quantiles of the last
// time.
type latencies struct {
	now      stats.Histogram
	previous []uint64                   // the counts of the sample before
	copies   [latencySlots + 1][]uint64 // the oldest one is at next
	times    [latencySlots + 1]time.Duration
	next     int
	taken    int
	diff     []uint64
}

// read reads the histogram anew.
func (l *latencies) read(read func(*stats.Histogram)) {
	l.now.Counts, l.previous = l.previous, l.now.Counts
	read(&l.now)
	if len(l.previous) != len(l.now.Counts) {
		l.previous = make([]uint64, len(l.now.Counts))
		l.diff = make([]uint64, len(l.now.Counts))
		for i := range l.copies {
			l.copies[i] = make([]uint64, len(l.now.Counts))
		}
	}
}

// keep makes a copy of the counts, if one is due.
func (l *latencies) keep(elapsed time.Duration) {
	newest := (l.next + len(l.copies) - 1) % len(l.copies)
	if l.taken > 0 && elapsed-l.times[newest] < latencyStep {
		return
	}
	copy(l.copies[l.next], l.now.Counts)
	l.times[l.next] = elapsed
	l.next = (l.next + 1) % len(l.copies)
	l.taken = min(l.taken+1, len(l.copies))
}

// window returns the quantiles of the last 15 minutes.
func (l *latencies) window(elapsed time.Duration) Latency {
	oldest := 0
	if l.taken == len(l.copies) {
		oldest = l.next
	}
	for l.taken > 0 && elapsed-l.times[oldest] > latencyWindow && oldest != (l.next+len(l.copies)-1)%len(l.copies) {
		oldest = (oldest + 1) % len(l.copies)
	}
	n := l.since(l.copies[oldest])
	return Latency{
		Window:   (elapsed - l.times[oldest]).Seconds(),
		Requests: n,
		P50:      l.quantile(n, 0.5), P99: l.quantile(n, 0.99), P999: l.quantile(n, 0.999),
	}
}

// since sets diff to what has come since some counts, and returns how much that is.
func (l *latencies) since(counts []uint64) (n uint64) {
	for i, now := range l.now.Counts {
		l.diff[i] = now - min(counts[i], now)
		n += l.diff[i]
	}
	return n
}

// quantile returns a quantile of diff, which has n, in seconds, or 0 if n is 0. It is the
// middle of the bucket that it lies in.
func (l *latencies) quantile(n uint64, q float64) float64 {
	if n == 0 {
		return 0
	}
	rank, seen := uint64(q*float64(n-1)), uint64(0)
	for i, count := range l.diff {
		if seen += count; seen > rank {
			return l.middle(i).Seconds()
		}
	}
	return 0
}

func (l *latencies) middle(bucket int) time.Duration {
	bounds := l.now.Bounds
	switch bucket {
	case 0:
		return bounds[0] / 2
	case len(bounds):
		return bounds[bucket-1]
	}
	return (bounds[bucket-1] + bounds[bucket]) / 2
}
