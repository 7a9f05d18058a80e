package sampler

import (
	"fmt"
	"math"
	"time"

	"tokenserver/internal/stats"
)

// maxBars is how many bars of shards there are at most.
const maxBars = 1024

// shardHistory remembers what the shards have waited, and smoothes it.
type shardHistory struct {
	waited []time.Duration // since the start, of each bar
	wait   []float64       // seconds a second, of each bar

	calls, contended, seconds, waiting float64 // over the last minute or so, fading
	skew                               float64 // the part of the waiting that the busiest bar has
}

// fading is what is left of a sum after a second: half a minute's worth is most of it.
const fading = 1 - 1.0/30

// take returns what is told of the shards.
func (h *shardHistory) take(shards []stats.Shard, d delta, processors int) *Shards {
	per := (len(shards) + maxBars - 1) / maxBars
	bars := (len(shards) + per - 1) / per
	out := &Shards{Count: len(shards), PerBar: per, Sessions: make([]int64, bars), LockWait: make([]float64, bars)}
	waited := make([]time.Duration, bars)
	for i := range shards {
		out.Sessions[i/per] += shards[i].Sessions
		waited[i/per] += shards[i].LockWait
	}
	if len(h.waited) != bars {
		h.waited, h.wait = make([]time.Duration, bars), make([]float64, bars)
		copy(h.waited, waited)
	}
	h.fade(d)
	most, sum := 0.0, 0.0
	for i := range waited {
		if d.seconds > 0 && !d.first {
			h.wait[i] += smoothing * ((waited[i]-h.waited[i]).Seconds()/d.seconds - h.wait[i])
		}
		sum, most = sum+h.wait[i], max(most, h.wait[i])
		out.LockWait[i] = math.Round(h.wait[i]*1e6) / 1e6
	}
	copy(h.waited, waited)
	if h.skew = 0; sum > 0 {
		h.skew = most / sum
	}
	if h.calls > 0 {
		out.Waiting = min(h.contended/h.calls, 1)
	}
	if h.seconds > 0 {
		out.WaitTime = h.waiting / h.seconds
	}
	out.Advice = h.advice(out, processors)
	return out
}

func (h *shardHistory) fade(d delta) {
	if d.first {
		return
	}
	c := &d.store.Counters
	calls := c.Created + c.Exchanged + c.Invalid + c.Deleted + c.Replayed
	h.calls = fading*h.calls + float64(calls)
	h.contended = fading*h.contended + float64(d.store.Contended)
	h.waiting = fading*h.waiting + d.store.LockWait.Seconds()
	h.seconds = fading*h.seconds + d.seconds
}

// When more shards would help.
const (
	waitingMatters = 0.01 // the part of calls that wait
	timeMatters    = 0.01 // the part of all processors' time
	skewMatters    = 0.5  // the part of the waiting that one of many shards has
	enoughShards   = 64   // a processor: two calls seldom want the same one of them
	fewCalls       = 100
)

// advice says whether more shards would help, and why.
func (h *shardHistory) advice(s *Shards, processors int) string {
	taken := s.WaitTime / float64(processors)
	switch {
	case h.calls < fewCalls:
		return "There is too little load to say whether more shards would help."
	case s.Waiting < waitingMatters: // however long, as where the processors are too few
		return fmt.Sprintf("More shards would not help: %s of the calls wait for a lock.", share(s.Waiting))
	case taken < timeMatters:
		return fmt.Sprintf("More shards would not help: %s of the calls wait for a lock, which takes %s of the processors' time.",
			share(s.Waiting), share(taken))
	case s.Count >= 8 && h.skew > skewMatters:
		return fmt.Sprintf("More shards would not help: one shard has %s of the waiting, as when one session or one subject is used by many at once.",
			share(h.skew))
	case s.Count >= enoughShards*processors:
		return fmt.Sprintf("More shards would hardly help, although %s of the calls wait for a lock: there are %d shards for %s already.",
			share(s.Waiting), s.Count, counted(processors, "processor"))
	}
	return fmt.Sprintf("More shards would help: %s of the calls wait for a lock, which takes %s of the processors' time, with %s for %s.",
		share(s.Waiting), share(taken), counted(s.Count, "shard"), counted(processors, "processor"))
}

// share returns a part of a whole in percent.
func share(part float64) string {
	switch percent := 100 * part; {
	case percent == 0:
		return "none"
	case percent < 0.01:
		return "under 0.01 %"
	case percent < 10:
		return fmt.Sprintf("%.2g %%", percent)
	default:
		return fmt.Sprintf("%.0f %%", percent)
	}
}

func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
