package main

import (
	"fmt"
	"math"
	"slices"
)

// target is a figure that the server is to reach.
type target struct {
	what   string
	value  float64 // NaN if it was not measured
	limit  float64
	unit   string // after the numbers
	atMost bool   // otherwise at least
}

func (t target) met() string {
	switch {
	case !isMeasured(t.value):
		return "not measured"
	case t.atMost && t.value <= t.limit, !t.atMost && t.value >= t.limit:
		return "yes"
	}
	return "**no**"
}

// want is the limit in words.
func (t target) want() string {
	if t.atMost {
		return "≤ " + plain(t.limit) + t.unit
	}
	return "≥ " + plain(t.limit) + t.unit
}

func exchangeName(engine string, sessions int) string {
	return fmt.Sprintf("Exchange/engine=%s/sessions=%d", engine, sessions)
}

func memoryName(engine string, sessions int) string {
	return fmt.Sprintf("Memory/engine=%s/sessions=%d", engine, sessions)
}

func purgeName(expired, sessions int) string {
	return fmt.Sprintf("Purge/expired=%d/sessions=%d", expired, sessions)
}

const most = 10_000_000 // sessions

// targets compares the results with what the server is to reach.
func (rs results) targets() []target {
	var ts []target
	ts = append(ts, rs.exchangeTargets()...)
	ts = append(ts, rs.memoryTargets()...)
	ts = append(ts, rs.purgeTargets()...)
	ts = append(ts, rs.loadTargets()...)
	ts = append(ts, rs.clientTargets()...)
	ts = append(ts, rs.sharedTargets()...)
	ts = append(ts, rs.callersTargets()...)
	ts = append(ts, rs.middlewareTargets()...)
	return append(ts, rs.durableTargets()...)
}

func clientName(goroutines int, by string) string {
	return fmt.Sprintf("Client/goroutines=%d/by=%s", goroutines, by)
}

func (rs results) clientTargets() []target {
	ratio := func(goroutines int, unit string) float64 {
		return median(rs.roundRatios(clientName(goroutines, "client"), clientName(goroutines, "nethttp"), unit))
	}
	return []target{
		{what: "exchanges/s of the Go client, 256 goroutines, against net/http", value: ratio(256, "exchanges/s"), limit: 5, unit: " ×"},
		{what: "their 99th percentile of latency", value: ratio(256, "p99-ns"), limit: 1, unit: " ×", atMost: true},
		{what: "latency of the Go client, one goroutine, against net/http", value: ratio(1, "p50-ns"), limit: 1.1, unit: " ×", atMost: true},
	}
}

func (rs results) exchangeTargets() []target {
	var ts []target
	for _, peer := range []struct {
		engine string
		limits map[int]float64 // by sessions
	}{
		{"map", map[int]float64{1e5: 2.3, 1e6: 2.3, most: 3}},
		{"otter", map[int]float64{1e5: 2, 1e6: 2, most: 2}},
		{"bigcache", map[int]float64{1e5: 2, 1e6: 2, most: 2}},
	} {
		for _, n := range []int{1e5, 1e6, most} {
			ts = append(ts, target{
				what:  fmt.Sprintf("exchange, %s sessions: times as fast as %s", powerOfTen(n), engineNames[peer.engine]),
				value: median(rs.roundRatios(exchangeName(peer.engine, n), exchangeName("ours", n), "ns/op")),
				limit: peer.limits[n], unit: " ×",
			})
		}
	}
	var allocs []float64
	for _, n := range []int{1e5, 1e6, most} {
		allocs = append(allocs, rs[exchangeName("ours", n)]["allocs/op"]...)
	}
	value := math.NaN()
	if len(allocs) > 0 {
		value = slices.Max(allocs)
	}
	return append(ts, target{what: "exchange: allocations", value: value, atMost: true})
}

func (rs results) memoryTargets() []target {
	name := memoryName("ours", most)
	return []target{
		{what: "heap a session, 10⁷ sessions", value: rs.median(name, "B/session"), limit: 210, unit: " B", atMost: true},
		{what: "full garbage collection, 10⁷ sessions, processor time", value: rs.median(name, "gc-cpu-ms/op"), limit: 20, unit: " ms", atMost: true},
	}
}

func (rs results) purgeTargets() []target {
	few, many := purgeName(1e3, most), purgeName(1e5, most)
	return []target{
		{what: "purge of 10³ among 10⁷", value: rs.median(few, "ns/op") / 1e6, limit: 2, unit: " ms", atMost: true},
		{what: "purge of 10³ among 10⁷, longest hold of a lock", value: rs.median(few, "longest-hold-ns") / 1e3, limit: 100, unit: " µs", atMost: true},
		{what: "purge of 10⁵, against one of 10³", value: rs.ratio(many, few, "ns/op"), limit: 150, unit: " ×", atMost: true},
	}
}

func (rs results) loadTargets() []target {
	cpu := func(peer string, pipeline int) float64 {
		return median(rs.roundRatios(loadName("token-server", pipeline), loadName(peer, pipeline), "cpu-us/req"))
	}
	batch := func(peer string) float64 {
		return median(rs.roundRatios(batchName, loadName(peer, 16), "cpu-us/req"))
	}
	equalRate := median(rs.roundRatios(equalRateName("token-server"), equalRateName("floor"), "cpu-us/req"))
	expiry := median(rs.roundRatios(halfRateName(caseExpiring), halfRateName(caseLive), "p99.9-us"))
	return []target{
		{what: "server CPU a request against bare fasthttp (the aim is 1.06)", value: cpu("floor", 1), limit: 1.15, unit: " ×", atMost: true},
		{what: "the same, both at half the rate that each of the servers reaches (the aim is 1.06)", value: equalRate, limit: 1.15, unit: " ×", atMost: true},
		{what: "the same, 16 pipelined, at the top rate (the aim is 1.6)", value: cpu("floor", 16), limit: 2, unit: " ×", atMost: true},
		{what: "server CPU a request against Redis (the aim is 0.7)", value: cpu("redis-server", 1), limit: 0.85, unit: " ×", atMost: true},
		{what: "the same, 16 pipelined (the aim is 0.45)", value: cpu("redis-server", 16), limit: 0.55, unit: " ×", atMost: true},
		{what: "server CPU an exchange in batches of 64 against bare fasthttp, 16 pipelined (the aim is 0.6)", value: batch("floor"), limit: 0.95, unit: " ×", atMost: true},
		{what: "the same against Redis, 16 pipelined (the aim is 0.2)", value: batch("redis-server"), limit: 0.25, unit: " ×", atMost: true},
		{what: "store exchange, 10⁷ sessions, in batches of 64: times as fast as one by one (the aim is 1.7)", value: median(rs.roundRatios(storeBatchName(1, most), storeBatchName(batchItems, most), "ns/op")), limit: 1.3, unit: " ×"},
		{what: "p99.9 at half the top rate while 10⁶ sessions expire, against without", value: expiry, limit: 1.5, unit: " ×", atMost: true},
	}
}

func storeBatchName(items, sessions int) string {
	return fmt.Sprintf("Batch/items=%d/sessions=%d", items, sessions)
}

func (rs results) durableTargets() []target {
	ts := []target{{
		what:  "requests/s, --fsync always, batches of 64, against Redis, appendfsync always, 64 pipelined (the aim is 2)",
		value: median(rs.roundRatios(keeperBatchName("token-server"), keeperBatchName("redis-server"), "req/s")), limit: 1.5, unit: " ×",
	}}
	for i, pair := range keeperPairs {
		for _, connections := range keeperConnections {
			what := fmt.Sprintf("requests/s, %s, %d connections", pair.what, connections)
			if pair.aim != "" {
				what += " (" + pair.aim + ")"
			}
			ts = append(ts, target{what: what, value: median(rs.keeperRatios(i, connections)), limit: pair.limit, unit: " ×"})
		}
	}
	for _, fsync := range fsyncs {
		for _, goroutines := range goroutineCounts {
			ts = append(ts, target{
				what:  fmt.Sprintf("durable store alone against bare Pebble, --fsync %s, %d goroutines", fsync, goroutines),
				value: median(rs.storeRatios(fsync, goroutines)), limit: 0.7, unit: " ×",
			})
		}
	}
	startUp := func(sessions int) float64 { return rs.median(startUpName(sessions), "ns/op") / 1e9 }
	return append(ts,
		target{what: "start-up with 10⁶ sessions", value: startUp(1e6), limit: 5, unit: " s", atMost: true},
		target{what: "start-up with 10⁷ sessions", value: startUp(most), limit: 60, unit: " s", atMost: true},
	)
}
