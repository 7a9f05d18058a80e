package main

import (
	"regexp"
	"strings"
	"testing"
)

func TestPlansNameBenchmarks(t *testing.T) {
	plans := map[string]plan{"full": fullPlan(memoryForMost), "small": fullPlan(memoryForMost - 1), "quick": quickPlan()}
	cases := []struct {
		name string
		in   string // the plans that have it
	}{
		{exchangeName("ours", 1e4), "full small quick"},
		{exchangeName("map", 1e6), "full small quick"},
		{exchangeName("otter", most), "full"},
		{memoryName("bigcache", 1e6), "full small quick"},
		{memoryName("ours", most), "full"},
		{purgeName(1e3, 1e6), "full small quick"},
		{purgeName(1e4, 1e6), "full small"},
		{purgeName(1e5, most), "full"},
		{shardsName(16, 256), "full small quick"},
		{shardsName(1024, 64), "full small"},
		{handlerName("constant", 16), "full small quick"},
		{"Store/op=patch/sessions=1000000/shards=64", "full small quick"},
		{"Store/op=patch/sessions=1000000/shards=16", ""},
	}
	for _, c := range cases {
		for name, p := range plans {
			if got, want := p.runs(t, c.name), strings.Contains(c.in, name); got != want {
				t.Errorf("the %s plan runs %s: %v, want %v", name, c.name, got, want)
			}
		}
	}
}

// runs tells whether one of the plan's patterns matches a benchmark, part by part.
func (p plan) runs(t *testing.T, name string) bool {
	t.Helper()
	parts := strings.Split("Benchmark"+name, "/")
	for _, g := range p.benchmarks {
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
