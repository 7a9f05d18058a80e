package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestPlansNameBenchmarks(t *testing.T) {
	plans := map[string]plan{"full": fullPlan(memoryForMost, diskForMost), "small": fullPlan(memoryForMost-1, diskForMost), "tight": fullPlan(memoryForMost, diskForMost-1), "quick": quickPlan()}
	cases := []struct {
		name string
		in   string // the plans that have it
	}{
		{exchangeName("ours", 1e4), "full small tight quick"},
		{exchangeName("map", 1e6), "full small tight quick"},
		{exchangeName("otter", most), "full tight"},
		{memoryName("bigcache", 1e6), "full small tight quick"},
		{memoryName("ours", most), "full tight"},
		{purgeName(1e3, 1e6), "full small tight quick"},
		{purgeName(1e4, 1e6), "full small tight"},
		{purgeName(1e5, most), "full tight"},
		{shardsName(16, 256), "full small tight quick"},
		{shardsName(1024, 64), "full small tight"},
		{handlerName("constant", 16), "full small tight quick"},
		{"Store/op=patch/sessions=1000000/shards=64", "full small tight quick"},
		{"Store/op=patch/sessions=1000000/shards=16", ""},
		{policyName("grace"), "full small tight quick"},
		{policyMemoryName("subject"), "full small tight quick"},
		{consoleName, "full small tight quick"},
		{syncName, "full small tight quick"},
		{durableName("ours", keepsAlways, 64), "full small tight quick"},
		{durableName("pebble", keepsEverySec, 256), "full small tight quick"},
		{startUpName(1e6), "full small tight quick"},
		{startUpName(most), "full"},
	}
	for _, c := range cases {
		for name, p := range plans {
			if got, want := p.runs(t, c.name), slices.Contains(strings.Fields(c.in), name); got != want {
				t.Errorf("the %s plan runs %s: %v, want %v", name, c.name, got, want)
			}
		}
	}
}

// runs tells whether one of the plan's patterns matches a benchmark, part by part.
func (p plan) runs(t *testing.T, name string) bool {
	t.Helper()
	parts := strings.Split("Benchmark"+name, "/")
	for _, g := range slices.Concat(p.exchanges, p.benchmarks) {
		matches := true
		for i, pattern := range strings.Split(g.pattern, "/") {
			matches = matches && i < len(parts) && regexp.MustCompile(pattern).MatchString(parts[i])
		}
		if matches {
			return true
		}
	}
	return false
}

func TestBenchmarkArgs(t *testing.T) {
	g := benchmarks{"^BenchmarkX$", "1s", 5}
	got := strings.Join(g.args("test."), " ")
	if want := "-test.run ^$ -test.bench ^BenchmarkX$ -test.benchtime 1s -test.count 5"; got != want {
		t.Errorf("args = %s, want %s", got, want)
	}
}
