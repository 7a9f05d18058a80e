package main

import (
	"regexp"
	"strings"
	"testing"
)

// TestSharedPatterns: each row of the report is measured.
func TestSharedPatterns(t *testing.T) {
	for _, row := range sharedRows {
		name := "Benchmark" + row.name
		if !strings.HasPrefix(name, "BenchmarkShared/") {
			continue // of a load
		}
		if got := sharedRuns(name); got != 1 {
			t.Errorf("%d patterns name %s, want 1", got, name)
		}
	}
}

// sharedRuns returns how many patterns name a benchmark.
func sharedRuns(name string) (n int) {
	parts := strings.Split(name, "/")
	for _, pattern := range sharedPatterns {
		matches := true
		for i, p := range strings.Split(pattern, "/") {
			matches = matches && i < len(parts) && regexp.MustCompile(p).MatchString(parts[i])
		}
		if matches {
			n++
		}
	}
	return n
}

func TestSharedReport(t *testing.T) {
	checkText(t, testReport(t, sample+`BenchmarkShared/by=store/callers=64	10	60000 exchanges/s	20000 engine-ns/exchange	15000 store-ns/exchange
BenchmarkShared/by=redis-benchmark/callers=64/pipeline=1	10	30000 exchanges/s	40000 engine-ns/exchange	5 store-ns/exchange
BenchmarkShared/by=redis-benchmark/callers=16/pipeline=64	10	50000 exchanges/s	20000 engine-ns/exchange
BenchmarkSharedLoad/batch=64	10	40000 req/s	10.5 cpu-us/req	21.5 engine-cpu-us/req
BenchmarkSharedResident/sessions=1000000	1	230 B/session	250 resident-B/session
`),
		"| shared store, 64 callers, exchanges/s against redis-benchmark's EVALSHA of the same script | ≥ 1.2 × | 2.00 × | yes |",
		"| shared mode over HTTP in batches of 64, exchanges/s against the same, 64 pipelined | ≥ 0.7 × | 0.80 × | yes |",
		"| the store, 64 callers | 60,000 | 20.0 | 15.0 |",
		"| redis-benchmark, 64 connections | 30,000 | 40.0 | – |",
		"| HTTP, batches of 64 | 40,000 | 21.5 | 10.5 |",
		"takes 230 bytes in the engine by its own account, and 250 of resident memory",
		"-valkey.engines ./valkey\n",
		"token-server --address 127.0.0.1 --port PORT --admin-address off --valkey valkey://127.0.0.1:PORT\n",
	)
}

func TestUsedMemoryPattern(t *testing.T) {
	const reply = "$99\r\n# Memory\r\nused_memory:1234\r\nused_memory_human:1K\r\n+OK\r\n"
	if got := usedMemoryPattern.FindStringSubmatch(reply); got == nil || got[1] != "1234" {
		t.Errorf("found %q, want 1234", got)
	}
}
