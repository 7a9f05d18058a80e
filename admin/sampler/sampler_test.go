package sampler

import (
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"tokenserver/internal/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// source is a server that does what a test says.
type source struct {
	store     stats.Store
	requests  stats.Server
	durations stats.Histogram
	detail    stats.Detail
	ready     error
	took      time.Duration // that the statistics of the store take
}

func (s *source) config() Config {
	return Config{
		Store: func(d *stats.Detail) stats.Store {
			time.Sleep(s.took)
			shards := append(d.Shards[:0], s.detail.Shards...)
			*d = s.detail
			d.Shards = shards
			return s.store
		},
		Requests: func() stats.Server { return s.requests },
		Durations: func(h *stats.Histogram) {
			counts := append(h.Counts[:0], s.durations.Counts...)
			*h = s.durations
			h.Counts = counts
		},
		Ready:  func() error { return s.ready },
		Mode:   "memory",
		Logger: slog.New(slog.DiscardHandler),
	}
}

func newSource() *source {
	s := &source{durations: stats.Histogram{Bounds: []time.Duration{time.Millisecond, 2 * time.Millisecond}, Counts: make([]uint64, 3)}}
	s.detail.Shards = make([]stats.Shard, 4)
	s.detail.Expiring.Exact = true
	return s
}

// run runs f with a Sampler of a source, in fake time. Its samples are those of pass: the
// race detector does not know that a goroutine that sleeps so long comes later.
func run(t *testing.T, f func(src *source, s *Sampler), change ...func(*Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		cfg := src.config()
		for _, c := range change {
			c(&cfg)
		}
		s := New(cfg)
		s.Close()
		f(src, s)
	})
}

// pass lets so many seconds pass, and returns the last sample.
func pass(s *Sampler, seconds int, each func(i int)) *Sample {
	for i := range seconds {
		if each != nil {
			each(i)
		}
		time.Sleep(time.Second)
		s.takeOrLog()
	}
	return s.Latest()
}

func TestRates(t *testing.T) {
	run(t, func(src *source, s *Sampler) {
		if first := s.Latest(); first.Number != 1 || first.Rates != (Rates{}) {
			t.Errorf("first sample = %+v, want number 1 without rates", first)
		}
		got := pass(s, 3, func(int) {
			src.store.Exchanged += 100
			src.store.Invalid += 3
			src.store.Created += 7
			src.requests.Refused += 2
			src.requests.BatchSizes.Counts = []uint64{src.store.Exchanged / 10}
			src.requests.BatchSizes.Sum = src.store.Exchanged
			src.requests.Requests = []stats.RequestCount{{Count: src.store.Exchanged}}
		})
		if got.Number != 4 {
			t.Errorf("number = %d, want 4", got.Number)
		}
		if want := (Rates{Exchanged: 100, Invalid: 3, Created: 7, Batches: 10, BatchItems: 100, Requests: 100}); got.Rates != want {
			t.Errorf("rates = %+v, want %+v", got.Rates, want)
		}
		if want := (Count{2, 6}); got.Security.Unauthorized != want {
			t.Errorf("unauthorized = %+v, want %+v", got.Security.Unauthorized, want)
		}
	})
}

// A store that starts anew has less than it had.
func TestRatesOfCountersSetBack(t *testing.T) {
	run(t, func(src *source, s *Sampler) {
		pass(s, 1, func(int) { src.store.Exchanged = 100 })
		if got := pass(s, 1, func(int) { src.store.Exchanged = 10 }); got.Rates.Exchanged != 0 {
			t.Errorf("exchanged = %v a second, want 0", got.Rates.Exchanged)
		}
	})
}

func TestReadiness(t *testing.T) {
	run(t, func(src *source, s *Sampler) {
		if got := s.Latest().Server; !got.Ready || got.Reason != "" {
			t.Errorf("server = %+v, want ready", got)
		}
		src.ready = errors.New("the disk is full")
		if got := pass(s, 1, nil).Server; got.Ready || got.Reason != "the disk is full" || got.Uptime != 1 {
			t.Errorf("server = %+v, want not ready with the reason, up for 1 s", got)
		}
	})
}

func TestNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(newSource().config())
		defer s.Close()
		begun := time.Now()
		for range 10 {
			before, next := s.Next()
			<-next
			if got := s.Latest(); got.Number != before.Number+1 {
				t.Errorf("after %d came %d", before.Number, got.Number)
			}
		}
		if took := time.Since(begun); took != 10*time.Second {
			t.Errorf("ten samples took %v, want one a second", took)
		}
	})
}

// A panic of what is read must not end the process.
func TestPanicIsSurvived(t *testing.T) {
	broken := true
	run(t, func(_ *source, s *Sampler) {
		broken = false
		if got := pass(s, 1, nil); got.Number != 1 {
			t.Errorf("number after the panic = %d, want 1", got.Number)
		}
	}, func(cfg *Config) {
		cfg.Requests = func() stats.Server {
			if broken {
				panic("broken")
			}
			return stats.Server{}
		}
	})
}

type historyJSON struct {
	Sample uint64
	Step   float64 `json:"step_seconds"`
	Ends   time.Time
	Uptime float64 `json:"uptime_seconds"`
	Series map[string][]*float64
}

func history(t *testing.T, s *Sampler, span Span) (h historyJSON) {
	t.Helper()
	if err := json.Unmarshal(s.History(nil, span), &h); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHistory(t *testing.T) {
	run(t, func(src *source, s *Sampler) {
		last := pass(s, 3*60*60, func(int) { src.store.Sessions++ })
		for _, tt := range []struct {
			span   Span
			length int
			step   float64
			newest float64
		}{
			{QuarterHour, 900, 1, 3 * 60 * 60},
			{TwoHours, 7200, 1, 3 * 60 * 60},
			{Day, 180, 60, 3*60*60 - 30.5}, // the mean of the last minute
		} {
			h := history(t, s, tt.span)
			// A minute is at its first second.
			behind := last.Server.Uptime - h.Uptime
			if behind < 0 || behind >= 2*tt.step || !h.Ends.Equal(last.Time.Add(-time.Duration(behind)*time.Second)) {
				t.Errorf("%s: ends at %v, up for %v s, want %v at %v", tt.span, h.Ends, h.Uptime, last.Time, last.Server.Uptime)
			}
			got := h.Series["sessions"]
			if len(got) != tt.length || h.Step != tt.step || h.Sample != last.Number {
				t.Errorf("%s: %d points of %v s at sample %d, want %d of %v at %d",
					tt.span, len(got), h.Step, h.Sample, tt.length, tt.step, last.Number)
				continue
			}
			if newest := got[len(got)-1]; newest == nil || math.Abs(*newest-tt.newest) > 1 {
				t.Errorf("%s: newest = %v, want %v", tt.span, newest, tt.newest)
			}
			if len(h.Series) != int(numSeries) || len(h.Series["p99_seconds"]) != tt.length || h.Series["p99_seconds"][0] != nil {
				t.Errorf("%s: %d series, p99 without requests = %v, want %d, null", tt.span, len(h.Series), h.Series["p99_seconds"][0], numSeries)
			}
		}
	})
}

// Seconds that had no sample, as while a disk hangs, are a gap.
func TestHistoryHasGaps(t *testing.T) {
	run(t, func(src *source, s *Sampler) {
		pass(s, 5, nil)
		src.took = 3 * time.Second
		pass(s, 1, nil)
		src.took = 0
		pass(s, 5, nil)
		var gap, there int
		for _, v := range history(t, s, QuarterHour).Series["sessions"] {
			if v == nil {
				gap++
			} else {
				there++
			}
		}
		if gap < 2 || gap > 6 || there < 10 {
			t.Errorf("%d seconds without a sample and %d with, want 2 … 6, 10 at least", gap, there)
		}
	})
}

func TestUntilFull(t *testing.T) {
	tests := map[string]struct {
		start, each int64
		want        *float64
	}{
		"grows":   {0, 10, new(float64(9_000))},
		"rests":   {5_000, 0, nil},
		"shrinks": {50_000, -10, nil},
		"crawls":  {0, 0, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			run(t, func(src *source, s *Sampler) {
				src.store.Sessions, src.store.MaxSessions = tt.start, 100_000
				got := pass(s, 1000, func(int) { src.store.Sessions += tt.each }).Capacity.Sessions
				switch {
				case (got.UntilFull == nil) != (tt.want == nil):
					t.Errorf("until full = %v, want %v", got.UntilFull, tt.want)
				case tt.want != nil && math.Abs(*got.UntilFull-*tt.want) > 0.02**tt.want:
					t.Errorf("until full = %v s, want %v", *got.UntilFull, *tt.want)
				}
			})
		})
	}
}

// What a store holds is not known while it loads: that it is there at once afterwards is no
// growth.
func TestUntilFullAfterALoad(t *testing.T) {
	loading := true
	run(t, func(src *source, s *Sampler) {
		if got := pass(s, 100, nil); got.Capacity.Sessions != nil || got.Capacity.Memory != nil || got.Capacity.Disk != nil || got.Disk != nil {
			t.Errorf("while it loads: capacity = %+v, disk = %+v, want neither", got.Capacity, got.Disk)
		}
		loading = false
		src.store = stats.Store{Sessions: 50_000, MaxSessions: 100_000, Reserved: 1 << 20, MaxReserved: 1 << 30, Disk: &stats.Disk{Bytes: 1 << 20, Free: 1 << 30}}
		pass(s, 700, func(i int) {
			c := s.Latest().Capacity
			for name, g := range map[string]*Gauge{"sessions": c.Sessions, "memory": c.Memory, "disk": c.Disk} {
				if i > 0 && (g.UntilFull != nil || (g.GrowthTime > 0) != (i >= growthMin)) {
					t.Errorf("%d s after the load: %s = %+v, want no growth, measured from %d s on", i, name, *g, growthMin)
				}
			}
		})
		h := history(t, s, QuarterHour).Series["sessions"]
		if first, last := h[len(h)-701], h[len(h)-1]; first != nil || last == nil || *last != 50_000 {
			t.Errorf("history = %v … %v, want null and 50000", first, last)
		}
	}, func(cfg *Config) {
		loaded := cfg.Store
		cfg.Store = func(d *stats.Detail) stats.Store {
			if !loading {
				return loaded(d)
			}
			d.Reset()
			return stats.Store{Disk: &stats.Disk{Free: -1}}
		}
	})
}

func TestAdvice(t *testing.T) {
	shards := func(waits ...time.Duration) (list []stats.Shard) {
		for _, w := range waits {
			list = append(list, stats.Shard{LockWait: w})
		}
		return list
	}
	many := make([]time.Duration, 64)
	for i := range many {
		many[i] = 20 * time.Millisecond
	}
	one := slices.Clone(many)
	one[7] = 10 * time.Second
	tests := map[string]struct {
		calls, contended uint64
		shards           []stats.Shard // what each waits a second
		processors       int
		want             string
	}{
		"idle":      {1, 0, shards(0, 0), 2, "There is too little load"},
		"none wait": {10_000, 0, shards(0, 0), 2, "More shards would not help: none of the calls"},
		"few wait":  {10_000, 50, shards(time.Millisecond, time.Millisecond), 2, "More shards would not help: 0.5 % of the calls wait for a lock."},
		"few, long": {10_000, 50, shards(500*time.Millisecond, 500*time.Millisecond), 2, "More shards would not help: 0.5 % of the calls wait for a lock."},
		"short":     {10_000, 2_000, shards(time.Millisecond, time.Millisecond), 2, "More shards would not help: 20 % of the calls wait for a lock, which takes 0.1 %"},
		"many wait": {10_000, 2_000, shards(200*time.Millisecond, 200*time.Millisecond), 2, "More shards would help: 20 % of the calls"},
		"one waits": {10_000, 2_000, shards(one...), 4, "More shards would not help: one shard has"},
		"enough":    {10_000, 2_000, shards(many...), 1, "More shards would hardly help"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			run(t, func(src *source, s *Sampler) {
				src.detail.Shards = make([]stats.Shard, len(tt.shards))
				got := pass(s, 60, func(int) {
					src.store.Exchanged += tt.calls
					src.store.Contended += tt.contended
					for i := range tt.shards {
						src.store.LockWait += tt.shards[i].LockWait
						src.detail.Shards[i].LockWait += tt.shards[i].LockWait
					}
				}).Shards.Advice
				if !strings.HasPrefix(got, tt.want) {
					t.Errorf("advice = %q, want %q …", got, tt.want)
				}
			}, func(cfg *Config) {
				cfg.Processors = tt.processors
			})
		})
	}
}

func TestBarsOfManyShards(t *testing.T) {
	for _, tt := range []struct{ shards, bars, per int }{{1, 1, 1}, {1024, 1024, 1}, {2048, 1024, 2}, {65536, 1024, 64}} {
		run(t, func(src *source, s *Sampler) {
			src.detail.Shards = make([]stats.Shard, tt.shards)
			for i := range src.detail.Shards {
				src.detail.Shards[i].Sessions = 1
			}
			got := pass(s, 1, nil).Shards
			sum := int64(0)
			for _, n := range got.Sessions {
				sum += n
			}
			if got.Count != tt.shards || got.PerBar != tt.per || len(got.Sessions) != tt.bars || len(got.LockWait) != tt.bars || sum != int64(tt.shards) {
				t.Errorf("%d shards: %d bars of %d with %d sessions, want %d of %d", tt.shards, len(got.Sessions), got.PerBar, sum, tt.bars, tt.per)
			}
		})
	}
}

func TestExpiring(t *testing.T) {
	run(t, func(src *source, s *Sampler) {
		src.detail.Expiring = stats.Expiring{Later: 3, Exact: true}
		src.detail.Expiring.Steps[2] = 5
		src.detail.Purges = []stats.Purge{{Ended: time.Now(), Took: time.Second, Sessions: 9}}
		got := pass(s, 1, nil).Expiring
		if got.Sessions[2] != 5 || got.Later != 3 || !got.Exact || len(got.Purges) != 1 || got.Purges[0].Sessions != 9 {
			t.Errorf("expiring = %+v, want what the store says", got)
		}
		// Estimates that go up and down are smoothed.
		got = pass(s, 100, func(i int) {
			src.detail.Expiring = stats.Expiring{Later: float64(1000 + 100*(i%2*2-1))}
			src.detail.Expiring.Steps[0] = 1000
			src.detail.Shards[0].Sessions = 2400
		}).Expiring
		if math.Abs(got.Later-1200) > 20 || got.Later+got.Sessions[0] != 2400 || got.Exact {
			t.Errorf("expiring %v and later %v, want about 1200 each of 2400, estimated", got.Sessions[0], got.Later)
		}
	})
}

func TestDisk(t *testing.T) {
	run(t, func(src *source, s *Sampler) {
		src.store.Disk = &stats.Disk{Bytes: 100, Free: 300}
		pass(s, 1, nil)
		got := pass(s, 100, func(int) {
			disk := *src.store.Disk
			disk.Syncs += 10
			disk.SyncTime += 20 * time.Millisecond
			disk.Groups += 5
			disk.Changes += 40
			src.store.Disk = &disk
		})
		if want := (Disk{Bytes: 100, Free: 300, Syncs: 10, SyncTime: 0.002, Group: 8}); math.Abs(got.Disk.SyncTime-0.002) > 1e-6 || got.Disk.Group != want.Group || got.Disk.Syncs != want.Syncs {
			t.Errorf("disk = %+v, want %+v", *got.Disk, want)
		}
		if c := got.Capacity.Disk; c == nil || c.Used != 100 || c.Limit != 400 {
			t.Errorf("capacity = %+v, want 100 of 400", c)
		}
	})
}

func TestEngine(t *testing.T) {
	run(t, func(src *source, s *Sampler) {
		src.detail.Shards = nil
		src.store.Engine = &stats.Engine{Up: true, Version: "Valkey 9.1", Memory: 5, MaxMemory: 10, Eviction: "noeviction"}
		pass(s, 1, nil)
		got := pass(s, 10, func(int) {
			e := *src.store.Engine
			e.Durations = stats.Histogram{Counts: []uint64{sumOf(e.Durations.Counts, func(n uint64) uint64 { return n }) + 100}, Sum: e.Durations.Sum + 50*time.Millisecond}
			src.store.Engine = &e
		})
		if e := got.Engine; e == nil || e.Commands != 100 || math.Abs(e.Latency-0.0005) > 1e-9 || e.Eviction != "noeviction" {
			t.Errorf("engine = %+v, want 100 commands a second of 0.5 ms", got.Engine)
		}
		if got.Shards != nil || got.Capacity.Sessions != nil || got.Expiring != nil {
			t.Errorf("shared mode has shards %v, sessions %v, expiring %v", got.Shards, got.Capacity.Sessions, got.Expiring)
		}
	})
}

// The latencies are those of 15 minutes, and no others.
func TestLatencyWindow(t *testing.T) {
	run(t, func(src *source, s *Sampler) {
		pass(s, 100, func(int) { src.durations.Counts[1] += 10 }) // 1.5 ms
		got := s.Latest().Latency
		if got.Requests != 1000 || got.P50 != 0.0015 || got.P999 != 0.0015 {
			t.Errorf("latency = %+v, want 1000 requests of 1.5 ms", got)
		}
		got = pass(s, 1000, func(int) { src.durations.Counts[0]++ }).Latency // 0.5 ms
		if got.P999 != 0.0005 || got.Window < 880 || got.Window > 900 || got.Requests < 880 || got.Requests > 900 {
			t.Errorf("latency = %+v, want about 900 requests of 0.5 ms in about 900 s", got)
		}
	})
}

// Memory does not grow, whatever happens in 24 hours, and nothing is lost of them.
func TestDayInConstantMemory(t *testing.T) {
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	run(t, func(src *source, s *Sampler) {
		random := rand.New(rand.NewPCG(1, 2))
		load := func(int) {
			src.store.Exchanged += random.Uint64N(1000)
			src.store.Sessions = random.Int64N(1e9)
			src.durations.Counts[random.IntN(3)]++
		}
		pass(s, 60, load)
		before := heap()
		pass(s, 24*60*60, load)
		if grown := heap() - before; grown > 64<<10 {
			t.Errorf("after a day %d bytes more are in use, want none", grown)
		}
		if got := len(history(t, s, Day).Series["exchanged"]); got != minutes {
			t.Errorf("a day has %d minutes", got)
		}
	})
}
