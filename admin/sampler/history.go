package sampler

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Series is something whose history is kept.
type Series int

// All series.
const (
	Exchanged Series = iota // a second, as all rates
	Replayed
	Invalid
	Created
	Deleted
	Requests
	Reused
	Revoked
	Unauthorized
	Sessions
	Memory // bytes
	Connections
	P50 // seconds, of the requests of one second
	P99
	P999
	SyncTime      // seconds
	Group         // changes
	EngineLatency // seconds
	EngineMemory  // bytes
	DiskBytes
	numSeries
)

var seriesNames = [numSeries]string{
	"exchanged", "replayed", "invalid", "created", "deleted", "requests", "reused", "revoked", "unauthorized",
	"sessions", "memory_bytes", "connections", "p50_seconds", "p99_seconds", "p999_seconds",
	"sync_seconds", "group_size", "engine_latency_seconds", "engine_memory_bytes", "disk_bytes",
}

// String returns the name of a series in JSON.
func (s Series) String() string { return seriesNames[s] }

// SeriesNames returns the names of all series.
func SeriesNames() []string { return seriesNames[:] }

// point is one value of each series. NaN is none.
type point [numSeries]float32

var noPoint = func() (p point) {
	for i := range p {
		p[i] = float32(math.NaN())
	}
	return p
}()

// byName returns the values that there are.
func (p *point) byName() map[string]float64 {
	values := make(map[string]float64, len(p))
	for series, v := range p {
		if v == v {
			values[seriesNames[series]] = float64(v)
		}
	}
	return values
}

// Resolutions of the history.
const (
	second, seconds = time.Second, 2 * 60 * 60
	minute, minutes = time.Minute, 24 * 60
)

// ring keeps the last points, one each step.
type ring struct {
	points []point
	last   int64 // the number of the newest step; there are none before 0
}

func newRing(length int) *ring { return &ring{points: make([]point, length), last: -1} }

func (r *ring) len() int { return int(min(r.last+1, int64(len(r.points)))) }

// at returns the point of a step that is kept.
func (r *ring) at(step int64) *point { return &r.points[step%int64(len(r.points))] }

// put keeps the point of a step. Steps that were left out have none.
func (r *ring) put(step int64, p *point) {
	for missing := max(r.last+1, step-int64(len(r.points))); missing < step; missing++ {
		*r.at(missing) = noPoint
	}
	*r.at(step) = *p
	r.last = max(r.last, step)
}

// mean returns the mean of a series over the steps from one on, up to another and without
// it. It is NaN if there is none.
func (r *ring) mean(s Series, from, to int64) float64 {
	sum, n := 0.0, 0
	for step := max(from, r.last+1-int64(r.len())); step < min(to, r.last+1); step++ {
		if v := r.at(step)[s]; v == v {
			sum, n = sum+float64(v), n+1
		}
	}
	return sum / float64(n)
}

// first returns the first step from one on that has a value of a series, or the next step
// if there is none.
func (r *ring) first(s Series, from int64) int64 {
	for step := max(from, r.last+1-int64(r.len())); step <= r.last; step++ {
		if v := r.at(step)[s]; v == v {
			return step
		}
	}
	return r.last + 1
}

// fold returns the point of a minute, from those of its seconds: the means, and of
// latencies the greatest.
func (r *ring) fold(from, to int64) (p point) {
	for s := range numSeries {
		p[s] = float32(r.mean(s, from, to))
	}
	for _, s := range []Series{P50, P99, P999, SyncTime, EngineLatency} {
		for step := from; step < to; step++ {
			if v := r.at(step)[s]; v > p[s] {
				p[s] = v
			}
		}
	}
	return p
}

// Span is a part of the history.
type Span struct {
	name   string
	length int
	daily  bool
}

// Spans that may be asked for.
var (
	QuarterHour = Span{"15m", 15 * 60, false}
	TwoHours    = Span{"2h", seconds, false}
	Day         = Span{"24h", minutes, true}
)

// String returns the name of a span.
func (s Span) String() string { return s.name }

// ParseSpan returns the span with a name; an empty one is QuarterHour.
func ParseSpan(name string) (Span, error) {
	if name == "" {
		return QuarterHour, nil
	}
	for _, s := range []Span{QuarterHour, TwoHours, Day} {
		if s.name == name {
			return s, nil
		}
	}
	return Span{}, fmt.Errorf("must be %s, %s or %s", QuarterHour, TwoHours, Day)
}

// History appends a part of the history to dst, as JSON: the number of the sample that it
// ends with, the step in seconds, the time of the last point and the uptime then, and for each
// series its values, the last one the newest, null where there is none. The uptime tells how
// samples follow each other: clocks are set.
func (s *Sampler) History(dst []byte, span Span) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, step := s.bySecond, second
	if span.daily {
		r, step = s.byMinute, minute
	}
	uptime := time.Duration(r.last) * step
	ended := s.ended.Add(uptime - time.Duration(s.bySecond.last)*second)
	dst = fmt.Appendf(dst, `{"sample":%d,"step_seconds":%g,"ends":%q,"uptime_seconds":%g,"series":{`,
		s.number, step.Seconds(), ended.UTC().Format(time.RFC3339Nano), uptime.Seconds())
	for series := range numSeries {
		if series > 0 {
			dst = append(dst, ',')
		}
		dst = fmt.Appendf(dst, "%q:[", series)
		first := r.last + 1 - int64(min(span.length, r.len()))
		for at := first; at <= r.last; at++ {
			if at > first {
				dst = append(dst, ',')
			}
			dst = appendNumber(dst, r.at(at)[series])
		}
		dst = append(dst, ']')
	}
	return append(dst, "}}"...)
}

// appendNumber appends a number as JSON, to the 24 bits that it has.
func appendNumber(dst []byte, v float32) []byte {
	if v != v {
		return append(dst, "null"...)
	}
	return strconv.AppendFloat(dst, float64(v), 'g', -1, 32)
}
