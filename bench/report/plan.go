package main

import (
	"fmt"
	"time"
)

// plan says how much is measured.
type plan struct {
	quick      bool
	benchmarks []benchmarks
	exchanges  []benchmarks // in which the engines take turns

	rounds   int // of the loads and of the latency at half the top rate
	sessions int // of the load
	warmUp   time.Duration
	duration time.Duration // of a measurement

	sharedTime string // of each benchmark of shared mode, for -benchtime

	residentSessions int
	residentRounds   int

	expiring       int           // sessions that expire during a measurement
	expiryLifetime time.Duration // of these
	expirySpread   time.Duration // from the first one's expiry to the last one's

	tunings           []tuning
	tuningDuration    time.Duration // of each one's measurement
	collectorSessions int           // with which the garbage collector is tuned
}

// benchmarks are some of those in ./bench.
type benchmarks struct {
	pattern string // for -bench
	time    string // for -benchtime; a count of iterations saves the collections before each guess at one
	count   int    // for -count
}

// What all measurements over the network have in common.
const (
	connections = 64
	metaSize    = 115

	batchItems       = 64
	batchConnections = 16
)

// pipelines are the depths at which the servers are compared.
var pipelines = []int{1, 16}

// memoryForMost is what ten million sessions take in the hungriest engine, with room to grow.
const memoryForMost = 16 << 30

// diskForMost is what they take of the disk while they are written, with room to spare.
const diskForMost = 4 << 30

// fullPlan leaves out ten million sessions on a machine with too little memory for them, and
// their start-up where there is too little disk.
func fullPlan(memory, disk int64) plan {
	sessions, onDisk, live := "^sessions=10{4,7}$", "^sessions=10{6,7}$", sizes
	if memory < memoryForMost {
		sessions, live = "^sessions=10{4,6}$", sizes[:3]
	}
	if memory < memoryForMost || disk < diskForMost {
		onDisk = "^sessions=10{6}$"
	}
	return plan{
		exchanges: exchanges(live, "2000000x", 3),
		benchmarks: []benchmarks{
			{"^BenchmarkMemory$/./" + sessions, "500ms", 1},
			{"^BenchmarkPurge$/./" + sessions, "1x", 1},
			{"^BenchmarkShards$", "2000000x", 3},
			{"^BenchmarkHandler$", "1s", 3},
			{"^BenchmarkStore$/^op=/^sessions=1000000$/^shards=64$", "500ms", 3},
			{"^BenchmarkPolicy$", "2000000x", 3},
			{"^BenchmarkPolicyMemory$", "1x", 1},
			{"^BenchmarkClient$", "100000x", 3},
			{"^BenchmarkMiddleware$", "40000x", 3},
			{"^BenchmarkCallers$/./^batch=1$", "60000x", 5},
			{"^BenchmarkCallers$/./^batch=64$", "400000x", 3},
			{"^BenchmarkHandshakes$", "16000x", 3},
			{"^BenchmarkConsole$", "400000x", 3},
			{"^BenchmarkBatch$/./" + sessions, "2000000x", 3},
			{"^BenchmarkSync$", "1s", 3},
			{"^BenchmarkDurable$", "2s", 3},
			{"^BenchmarkBackup$", "5x", 3},
			{"^BenchmarkStartUp$/" + onDisk, "1x", 1},
		},
		rounds: 5, sessions: 1e5, warmUp: time.Second, duration: 4 * time.Second,
		sharedTime: "200000x", residentSessions: 1e6, residentRounds: 1,
		expiring: 1e6, expiryLifetime: 7 * time.Second, expirySpread: 5 * time.Second,
		tunings: tunings, tuningDuration: 3 * time.Second, collectorSessions: 1e6,
	}
}

// exchanges are the exchanges of all engines, one number of sessions after the other, so that
// those of one number are measured within a short time.
func exchanges(sizes []int, time string, count int) (all []benchmarks) {
	for _, n := range sizes {
		all = append(all, benchmarks{fmt.Sprintf("^BenchmarkExchange$/./^sessions=%d$", n), time, count})
	}
	return all
}

// quickPlan touches everything once.
func quickPlan() plan {
	return plan{
		quick:     true,
		exchanges: exchanges(sizes[:3], "100ms", 1),
		benchmarks: []benchmarks{
			{"^BenchmarkMemory$/./^sessions=10{4,6}$", "100ms", 1},
			{"^BenchmarkPurge$/^expired=1000(00)?$/^sessions=1000000$", "1x", 1},
			{"^BenchmarkShards$/^shards=(1|16|256)$", "100ms", 1},
			{"^BenchmarkHandler$", "100ms", 1},
			{"^BenchmarkStore$/^op=/^sessions=1000000$/^shards=64$", "100ms", 1},
			{"^BenchmarkPolicy$", "100ms", 1},
			{"^BenchmarkPolicyMemory$", "1x", 1},
			{"^BenchmarkClient$", "5000x", 1},
			{"^BenchmarkMiddleware$", "2000x", 1},
			{"^BenchmarkCallers$", "5000x", 1},
			{"^BenchmarkHandshakes$", "2000x", 1},
			{"^BenchmarkConsole$", "20000x", 1},
			{"^BenchmarkBatch$/./^sessions=10{5}$", "100ms", 1},
			{"^BenchmarkSync$", "100ms", 1},
			{"^BenchmarkDurable$", "300ms", 1},
			{"^BenchmarkBackup$", "1x", 1},
			{"^BenchmarkStartUp$/^sessions=1000000$", "1x", 1},
		},
		rounds: 1, sessions: 1e5, warmUp: 300 * time.Millisecond, duration: time.Second,
		sharedTime: "20000x", residentSessions: 1e6, residentRounds: 1,
		expiring: 3e5, expiryLifetime: 5 * time.Second, expirySpread: 2 * time.Second,
		tunings: firstTunings(), tuningDuration: time.Second, collectorSessions: 1e5,
	}
}
