package main

import (
	"math"
	"testing"
)

func TestTargetMet(t *testing.T) {
	cases := []struct {
		target target
		want   string
	}{
		{target{value: 2.3, limit: 2.3}, "yes"},
		{target{value: 2.29, limit: 2.3}, "**no**"},
		{target{value: 1.06, limit: 1.06, atMost: true}, "yes"},
		{target{value: 1.07, limit: 1.06, atMost: true}, "**no**"},
		{target{value: 0, atMost: true}, "yes"},
		{target{value: math.NaN(), limit: 1}, "not measured"},
		{target{value: math.Inf(1), limit: 1}, "not measured"},
	}
	for _, c := range cases {
		if got := c.target.met(); got != c.want {
			t.Errorf("met() of %+v = %s, want %s", c.target, got, c.want)
		}
	}
}

// TestTargetsFindTheirResults gives every target a value that is just good enough.
func TestTargetsFindTheirResults(t *testing.T) {
	rs := results{}
	set := func(name, unit string, v ...float64) {
		if rs[name] == nil {
			rs[name] = map[string][]float64{}
		}
		rs[name][unit] = v
	}
	for _, n := range []int{1e5, 1e6, most} {
		set(exchangeName("ours", n), "ns/op", 100)
		set(exchangeName("otter", n), "ns/op", 200)
		set(exchangeName("bigcache", n), "ns/op", 200)
	}
	set(exchangeName("map", 1e5), "ns/op", 230)
	set(exchangeName("map", 1e6), "ns/op", 230)
	set(exchangeName("map", most), "ns/op", 300)
	set(exchangeName("ours", 1e6), "allocs/op", 0)
	set(memoryName("ours", most), "B/session", 210)
	set(memoryName("ours", most), "gc-cpu-ms/op", 20)
	set(purgeName(1e3, most), "ns/op", 2e6)
	set(purgeName(1e3, most), "longest-hold-ns", 100e3)
	set(purgeName(1e5, most), "ns/op", 300e6)
	set(loadName("floor", 1), "cpu-us/req", 340)
	set(loadName("token-server", 1), "cpu-us/req", 391)
	set(loadName("redis-server", 1), "cpu-us/req", 460)
	set(loadName("floor", 16), "cpu-us/req", 1100, 1100, 1100)
	set(loadName("token-server", 16), "cpu-us/req", 2200, 2200, 2299)
	set(loadName("redis-server", 16), "cpu-us/req", 4000, 4180, 4180)
	set(equalRateName("floor"), "cpu-us/req", 100, 340, 100)
	set(equalRateName("token-server"), "cpu-us/req", 90, 391, 120)
	set(batchName, "cpu-us/req", 1045, 1045, 1045)
	set(storeBatchName(1, most), "ns/op", 130)
	set(storeBatchName(batchItems, most), "ns/op", 100)
	set(keeperBatchName("token-server"), "req/s", 150)
	set(keeperBatchName("redis-server"), "req/s", 100)
	set(halfRateName(caseLive), "p99.9-us", 100, 2, 4)
	set(halfRateName(caseExpiring), "p99.9-us", 100, 3, 8)
	set(clientName(256, "client"), "exchanges/s", 500)
	set(clientName(256, "nethttp"), "exchanges/s", 100)
	set(clientName(256, "client"), "p99-ns", 7)
	set(clientName(256, "nethttp"), "p99-ns", 7)
	set(clientName(1, "client"), "p50-ns", 110)
	set(clientName(1, "nethttp"), "p50-ns", 100)
	set(consoleName, "ratio", 1.05)
	set(callersName("secret", 1), serverTime, 103)
	set(callersName("anybody", 1), serverTime, 100)
	set(middlewareName("session"), applicationTime, 150)
	set(middlewareName("securecookie"), applicationTime, 100)
	set(middlewareName("scs"), applicationTime, 150)
	for _, connections := range keeperConnections {
		set(keeperName("token-server", keepsAlways, connections), "req/s", 10, 700, 30)
		set(keeperName("redis-server", keepsAlways, connections), "req/s", 11, 700, 20)
		set(keeperName("token-server", keepsEverySec, connections), "req/s", 70)
		set(keeperName("token-server", keepsMemory, connections), "req/s", 100)
	}
	for _, goroutines := range goroutineCounts {
		for _, fsync := range fsyncs {
			set(durableName("ours", fsync, goroutines), "ns/op", 100)
			set(durableName("pebble", fsync, goroutines), "ns/op", 70)
		}
	}
	for _, callers := range sharedCallers {
		set(sharedStoreName(callers), "exchanges/s", 120)
		set(sharedPeerName(callers, 1), "exchanges/s", 100)
	}
	set(sharedPeerName(batchConnections, batchItems), "exchanges/s", 100)
	set(sharedBatchName, "req/s", 70)
	set(startUpName(1e6), "ns/op", 5e9)
	set(startUpName(most), "ns/op", 60e9)
	ts := rs.targets()
	if got, want := len(ts), 45; got != want {
		t.Errorf("%d targets, want %d", got, want)
	}
	for _, target := range ts {
		if math.Abs(target.value-target.limit) > 1e-9 || target.met() != "yes" {
			t.Errorf("%s: %v, met: %s; want %v, just met", target.what, target.value, target.met(), target.limit)
		}
	}
}
