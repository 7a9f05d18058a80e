package server

import (
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// Stats counts the requests since the start.
type Stats struct {
	Requests  []RequestCount // those that there were
	Durations Histogram
}

// RequestCount is how many requests with a method got a status.
type RequestCount struct {
	Method string // "other" for one that this server knows nothing of
	Code   int
	Count  uint64
}

// Histogram is how long requests took that could be read, from then on until
// their answer was ready.
type Histogram struct {
	Bounds []time.Duration // upper ones, rising
	Counts []uint64        // between the bounds, not cumulative; the last is over all bounds
	Sum    time.Duration
}

var (
	methods = [...]string{"PUT", "POST", "DELETE", "GET", "HEAD", "OPTIONS", "other"}
	codes   = [...]int{200, 202, 400, 401, 403, 404, 405, 408, 413, 415, 417, 422, 431, 500, 503, 507}
	bounds  = [...]time.Duration{
		50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
		time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
		25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
		time.Second,
	}
)

// statistics are spread over stripes by connection, so that processors do not
// wait for each other's counters.
type statistics [16]stripe

type stripe struct {
	requests  [len(methods)][len(codes)]atomic.Uint64
	durations [len(bounds) + 1]atomic.Uint64
	sum       atomic.Int64 // nanoseconds
	_         [64]byte
}

// otherMethod is the index of methods that are not known, or were not read.
const otherMethod = len(methods) - 1

// count counts a request by the answer that it has got.
func (st *statistics) count(ctx *fasthttp.RequestCtx, method int) {
	st.stripe(ctx).requests[method][codeIndex(ctx.Response.StatusCode())].Add(1)
}

// time counts how long a request took that could be read.
func (st *statistics) time(ctx *fasthttp.RequestCtx, d time.Duration) {
	s := st.stripe(ctx)
	s.durations[boundIndex(d)].Add(1)
	s.sum.Add(int64(d))
}

func (st *statistics) stripe(ctx *fasthttp.RequestCtx) *stripe {
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
	panic("server: a status that is not counted")
}

func boundIndex(d time.Duration) int {
	for i := range bounds {
		if d <= bounds[i] {
			return i
		}
	}
	return len(bounds)
}

// Stats returns the counters. They are read one after the other, so that under
// load they are of no single moment.
func (s *Server) Stats() Stats {
	sum := Stats{Durations: Histogram{Bounds: bounds[:], Counts: make([]uint64, len(bounds)+1)}}
	for m, method := range methods {
		for c, code := range codes {
			if n := s.stats.requests(m, c); n > 0 {
				sum.Requests = append(sum.Requests, RequestCount{method, code, n})
			}
		}
	}
	for i := range s.stats {
		for b := range sum.Durations.Counts {
			sum.Durations.Counts[b] += s.stats[i].durations[b].Load()
		}
		sum.Durations.Sum += time.Duration(s.stats[i].sum.Load())
	}
	return sum
}

func (st *statistics) requests(method, code int) (n uint64) {
	for i := range st {
		n += st[i].requests[method][code].Load()
	}
	return n
}
