package server

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"tokenserver/internal/stats"
)

var (
	methods = [...]string{"PUT", "POST", "DELETE", "GET", "HEAD", "OPTIONS", "other"}
	codes   = [...]int{200, 202, 400, 401, 403, 404, 405, 408, 413, 415, 417, 422, 431, 500, 503, 507, 0}
	bounds  = [...]time.Duration{
		// Where memory mode lives.
		time.Microsecond, 2500 * time.Nanosecond, 5 * time.Microsecond, 10 * time.Microsecond, 25 * time.Microsecond,
		50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond,
		// Where disks and networks do.
		2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
		100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond,
		10 * time.Second,
	}
)

// counters are spread over stripes by connection, so that processors do not
// wait for each other's counters.
type counters [16]stripe

type stripe struct {
	requests  [len(methods)][len(codes)]atomic.Uint64
	durations [len(bounds)*parts + 1]atomic.Uint64
	sum       atomic.Int64 // nanoseconds
	batches   batchCounters
	_         [64]byte
}

// Indexes of what is counted together: methods that are not known, or were not
// read, and statuses that are not expected.
const (
	otherMethod = len(methods) - 1
	otherCode   = len(codes) - 1
)

// count counts a request by the answer that it has got.
func (st *counters) count(ctx *fasthttp.RequestCtx, method int) {
	st.stripe(ctx).requests[method][codeIndex(ctx.Response.StatusCode())].Add(1)
}

// time counts how long a request took that could be read.
func (st *counters) time(ctx *fasthttp.RequestCtx, d time.Duration) {
	s := st.stripe(ctx)
	s.durations[partIndex(d)].Add(1)
	s.sum.Add(int64(d))
}

func (st *counters) stripe(ctx *fasthttp.RequestCtx) *stripe {
	return &st[ctx.ConnID()%uint64(len(st))]
}

func methodIndex(ctx *fasthttp.RequestCtx) int {
	method := ctx.Method()
	for i := range methods {
		if string(method) == methods[i] {
			return i
		}
	}
	return otherMethod
}

func codeIndex(code int) int {
	for i := range codes {
		if codes[i] == code {
			return i
		}
	}
	return otherCode
}

// boundIndex returns the place of the first of some bounds that x is not over.
func boundIndex[T cmp.Ordered](bounds []T, x T) int {
	i, _ := slices.BinarySearch(bounds, x)
	return i
}

// Stats returns the counters. They are read one after the other, so that under
// load they are of no single moment.
func (s *Server) Stats() stats.Server {
	sum := stats.Server{
		Durations:      stats.Histogram{Bounds: bounds[:], Counts: make([]uint64, len(bounds)+1)},
		Connections:    s.reaper.open(),
		MaxConnections: s.reaper.max,
		Shed:           s.shed.Load(),
		BadHandshakes:  s.reaper.badHandshakes.Load(),
	}
	if s.guard != nil {
		sum.Refused = s.guard.Refused()
	}
	for m, method := range methods {
		for c, code := range codes {
			if n := s.stats.requests(m, c); n > 0 {
				sum.Requests = append(sum.Requests, stats.RequestCount{Method: method, Code: code, Count: n})
			}
		}
	}
	for i := range s.stats {
		for part := range s.stats[i].durations {
			sum.Durations.Counts[part/parts] += s.stats[i].durations[part].Load()
		}
		sum.Durations.Sum += time.Duration(s.stats[i].sum.Load())
	}
	s.stats.addBatches(&sum)
	return sum
}

func (st *counters) requests(method, code int) (n uint64) {
	for i := range st {
		n += st[i].requests[method][code].Load()
	}
	return n
}
