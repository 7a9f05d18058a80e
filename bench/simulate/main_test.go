package main

import (
	"math"
	"strings"
	"testing"
)

// TestCosts: what is taken apart gives the figures again.
func TestCosts(t *testing.T) {
	f := figures{engineAlone: 40, engineTogether: 20, storeAlone: 50, storeTogether: 10, serverAlone: 45, serverTogether: 12, engineHTTP: 25}
	c := f.costs()
	for _, test := range []struct {
		what      string
		got, want float64
	}{
		{"engine alone", c.engineExchange + c.engineRead, f.engineAlone},
		{"engine together", c.engineExchange + c.engineRead/batch, f.engineTogether},
		{"engine at 64 connections", c.engineExchange + c.engineRead/f.together(c), f.engineHTTP},
		{"store, what travels alone", c.serverWrite - c.serverWrite/batch, f.storeAlone - f.storeTogether},
		{"server at 64 connections", c.serverRequest + c.serverExchange + c.serverWrite/f.together(c), f.serverAlone},
		{"server in batches", c.serverExchange + (c.serverRequest+c.serverWrite)/batch, f.serverTogether},
	} {
		if math.Abs(test.got-test.want) > 0.01 {
			t.Errorf("%s: %v µs, want %v", test.what, test.got, test.want)
		}
	}
}

// tolerance is how far off the simulation may be.
const tolerance = 0.2

// TestOneEngine: the simulation gives the point that was measured.
func TestOneEngine(t *testing.T) {
	got := measured.simulate64()
	t.Logf("simulated: %.0f exchanges/s, measured: %.0f", got, measured.callers64)
	if ratio := got / measured.callers64; math.Abs(ratio-1) > tolerance {
		t.Errorf("%.0f exchanges/s at 64 callers, measured were %.0f: ratio %.2f, want 1 ± %v", got, measured.callers64, ratio, tolerance)
	}
}

func small() config {
	return config{costs: measured.costs(), servers: 4, primaries: 3, items: 1, seed: 1, warmUp: 50_000, duration: 200_000, timeout: 500_000}
}

func TestSeed(t *testing.T) {
	outputs := map[string]string{}
	for _, seed := range []string{"1", "1 again", "2"} {
		var out strings.Builder
		if err := run([]string{"--duration=20ms", "--failover=50ms", "--seed=" + seed[:1]}, &out); err != nil {
			t.Fatal(err)
		}
		_, outputs[seed], _ = strings.Cut(out.String(), "\n")
	}
	if outputs["1"] != outputs["1 again"] {
		t.Error("the same seed gives other figures")
	}
	if outputs["1"] == outputs["2"] {
		t.Error("another seed gives the same figures")
	}
	if strings.Contains(outputs["1"], "NaN") {
		t.Errorf("a figure is none:\n%s", outputs["1"])
	}
}

// TestLoad: more load, longer waits, and no more requests than came.
func TestLoad(t *testing.T) {
	c := small()
	capacity, _ := c.capacity()
	before := 0.0
	for _, load := range loads {
		c.rate = load * capacity
		r := c.run()
		p99 := r.percentiles(c.warmUp, c.warmUp+c.duration, 99)[0]
		if p99 <= before {
			t.Errorf("p99 at %v = %v µs, and %v at a lower load", load, p99, before)
		}
		before = p99
		want := c.rate * c.duration / 1e6
		if got := float64(len(r.samples)); math.Abs(got/want-1) > 0.1 {
			t.Errorf("%v answers at %v, want about %v", got, load, want)
		}
		if len(r.refused) > 0 {
			t.Errorf("%d refused at %v", len(r.refused), load)
		}
	}
}

// TestIdle: a request that is alone takes the sum of all costs.
func TestIdle(t *testing.T) {
	c := small()
	c.servers, c.primaries, c.rate, c.duration = 1, 1, 200, 20_000_000
	k := c.costs
	want := k.serverRequest + k.serverExchange + k.serverWrite + k.engineExchange + k.engineRead + 2*network
	r := c.run()
	var sum float64
	for _, s := range r.samples {
		sum += float64(s.took)
	}
	if got := sum / float64(len(r.samples)); math.Abs(got/want-1) > 0.05 {
		t.Errorf("%v µs on average, want %v", got, want)
	}
}

// TestFailover: only requests to the primary that is away are refused, and they wait for the
// timeout.
func TestFailover(t *testing.T) {
	c := small()
	capacity, _ := c.capacity()
	c.rate, c.down, c.timeout, c.duration = capacity/10, 500_000, 100_000, 1_000_000
	r := c.run()
	back := c.warmUp + c.down
	if got, want := r.refusedShare(c.warmUp+c.timeout, back), 1/3.0; math.Abs(got-want) > 0.05 {
		t.Errorf("%v of the answers are 503, want %v", got, want)
	}
	if got := r.refusedShare(back+20_000, math.Inf(1)); got != 0 {
		t.Errorf("%v of the answers are 503 when it is back", got)
	}
	if got := r.percentiles(c.warmUp, math.Inf(1), 100)[0]; got > c.timeout+20_000 {
		t.Errorf("an answer after %v µs, with a timeout of %v", got, c.timeout)
	}
}

// TestFailoverUnderLoad: requests to the other primaries go on, however many there are to the one
// that is away.
func TestFailoverUnderLoad(t *testing.T) {
	c := small()
	capacity, _ := c.capacity()
	c.rate, c.down, c.duration = capacity*0.6, 2_000_000, 2_000_000
	r := c.run()
	if got, want := r.refusedShare(c.warmUp+c.timeout, c.warmUp+c.down), 1/3.0; math.Abs(got-want) > 0.05 {
		t.Errorf("%v of the answers are 503, want %v", got, want)
	}
}

// TestBatch: a request of many exchanges is answered when all are.
func TestBatch(t *testing.T) {
	c := small()
	c.items = batch
	capacity, _ := c.capacity()
	c.rate = capacity / 2
	r := c.run()
	if got, want := float64(len(r.samples)), c.rate*c.duration/1e6; math.Abs(got/want-1) > 0.1 {
		t.Errorf("%v answers, want about %v", got, want)
	}
	if least := batch / float64(c.primaries) * c.costs.engineExchange / 2; r.percentiles(0, math.Inf(1), 0)[0] < least {
		t.Errorf("a batch took less than its exchanges")
	}
}

func TestBadFlags(t *testing.T) {
	for _, flag := range []string{"--servers=0", "--primaries=0", "--items=0", "--duration=0s", "--failover=-1s", "--timeout=0s"} {
		if err := run([]string{flag}, &strings.Builder{}); err == nil {
			t.Errorf("%s is taken", flag)
		}
	}
}
