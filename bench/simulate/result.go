package main

import (
	"math"
	"slices"
)

// result is what a run has measured. Times are in microseconds.
type result struct {
	from        float64
	samples     []sample
	refused     []float64 // when requests were answered 503
	serversBusy float64   // share of the time, on average
	enginesBusy float64
	together    float64 // exchanges that an engine reads together, on average
}

// sample is an answer.
type sample struct{ begun, took float32 }

func (r *result) answer(begun, now float64) {
	if now >= r.from {
		r.samples = append(r.samples, sample{float32(begun), float32(now - begun)})
	}
}

func (r *result) refuse(now float64) {
	if now >= r.from {
		r.refused = append(r.refused, now)
	}
}

// percentiles returns those of the answers to requests that began between two moments, or NaN
// if there were none.
func (r *result) percentiles(from, to float64, ps ...float64) []float64 {
	var took []float32
	for _, s := range r.samples {
		if float64(s.begun) >= from && float64(s.begun) < to {
			took = append(took, s.took)
		}
	}
	slices.Sort(took)
	values := make([]float64, len(ps))
	for i, p := range ps {
		values[i] = math.NaN()
		if len(took) > 0 {
			values[i] = float64(took[min(len(took)-1, int(p/100*float64(len(took))))])
		}
	}
	return values
}

// refusedShare returns the share of 503 among the answers of the time between two moments.
func (r *result) refusedShare(from, to float64) float64 {
	var refused, answered float64
	for _, at := range r.refused {
		if at >= from && at < to {
			refused++
		}
	}
	for _, s := range r.samples {
		if at := float64(s.begun + s.took); at >= from && at < to {
			answered++
		}
	}
	return refused / (refused + answered)
}

// capacity returns the requests a second at which engines, or token servers, have no time left
// even if all of them travel together.
func (c config) capacity() (rate float64, byEngines bool) {
	items := float64(c.items)
	engines := float64(c.primaries) * 1e6 / (c.costs.engineExchange * items)
	servers := float64(c.servers) * 1e6 / (c.costs.serverRequest + c.costs.serverExchange*items)
	return min(engines, servers), engines <= servers
}
