package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestLoadArgs(t *testing.T) {
	sh := shape{connections: 64, pipeline: 16, sessions: 1000, warmUp: time.Second, duration: 2 * time.Second}
	const common = "--address h:1 --connections 64 --pipeline 16 --sessions 1000 --meta-size 115 --warm-up 1s --duration 2s --json"
	wants := map[string]string{
		"token-server": common + " --mix exchange=1 --seed 1",
		"redis-server": common,
		"floor":        common + " --mix exchange=1 --seed 1 --unchecked",
	}
	for _, c := range contenders {
		if got := strings.Join(c.loadArgs("h:1", sh), " "); got != wants[c.name] {
			t.Errorf("load of %s = %s, want %s", c.name, got, wants[c.name])
		}
	}
	sh.rate = 5000
	if got := strings.Join(contenders[1].loadArgs("h:1", sh), " "); got != common+" --rate 5000" {
		t.Errorf("load with a rate = %s", got)
	}
}

func TestMeasured(t *testing.T) {
	m := &measured{busy: 0.5}
	const report = `{"preload_seconds":1,"warm_up_seconds":2,"seconds":10,"requests":1000000,"throughput":100000,
		"latency_us":{"min":1,"p50":2,"p75":3,"p90":4,"p99":5,"p99.9":6,"p99.99":7,"max":8},"never_sent":0}`
	if err := json.Unmarshal([]byte(report), m); err != nil {
		t.Fatal(err)
	}
	if got := m.cpuPerRequest(); got != 5 {
		t.Errorf("cpuPerRequest() = %v µs, want 5", got)
	}
	start := time.Unix(100, 0)
	from, to := m.window(start)
	if got, want := from.Sub(start), 3500*time.Millisecond; got != want {
		t.Errorf("the window begins after %v, want %v", got, want)
	}
	if got, want := to.Sub(from), 9*time.Second; got != want {
		t.Errorf("the window has %v, want %v", got, want)
	}
	for i, v := range m.percentiles() {
		if v.value != float64(i+2) || v.unit != percentileNames[i]+"-us" {
			t.Errorf("percentile %d = %v, want %v of %s-us", i, v, i+2, percentileNames[i])
		}
	}
}

func TestHalfShape(t *testing.T) {
	b := &bench{plan: fullPlan(memoryForMost, diskForMost)}
	cases := []struct {
		name         string
		rate         int
		wantSessions int
		wantWarmUp   time.Duration
	}{
		{caseLive, 30_000, 3000, b.plan.expiryLifetime},
		{caseExpiring, 100, connections, b.plan.expiryLifetime},
		{caseExpiring, 1e7, b.plan.sessions, b.plan.expiryLifetime},
		{caseFloor, 30_000, 3000, b.plan.warmUp},
	}
	for _, c := range cases {
		got := b.halfShape(c.name, c.rate)
		if got.sessions != c.wantSessions || got.warmUp != c.wantWarmUp || got.rate != c.rate {
			t.Errorf("halfShape(%s, %d) = %+v, want %d sessions after %v", c.name, c.rate, got, c.wantSessions, c.wantWarmUp)
		}
	}
}
