package main

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
)

const sample = `goos: linux
goarch: amd64
pkg: tokenserver/bench
cpu: AMD EPYC
BenchmarkExchange/engine=ours/sessions=1000000-2         	 2000000	       300.0 ns/op	       0 B/op	       0 allocs/op
BenchmarkExchange/engine=ours/sessions=1000000-2         	 2000000	       500.5 ns/op	       0 B/op	       0 allocs/op
BenchmarkExchange/engine=ours/sessions=1000000-2         	 2000000	       310.0 ns/op	       0 B/op	       0 allocs/op
BenchmarkExchange/engine=map/sessions=1000000-2          	 2000000	       930.0 ns/op	      32 B/op	       1 allocs/op
BenchmarkMemory/engine=ours/sessions=1000000-2         	      22	   7691765 ns/op	       200.0 B/session	         1.360 gc-cpu-ms/op
PASS
ok  	tokenserver/bench	32.168s
BenchmarkLoad/server=floor/pipeline=16	10	5.500 cpu-us/req
`

func parsed(t *testing.T, text string) results {
	t.Helper()
	rs, err := parseResults(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

func TestParseResults(t *testing.T) {
	rs := parsed(t, sample)
	if got, want := len(rs), 4; got != want {
		t.Errorf("%d benchmarks, want %d", got, want)
	}
	cases := []struct {
		name, unit string
		want       []float64
	}{
		{"Exchange/engine=ours/sessions=1000000", "ns/op", []float64{300, 500.5, 310}},
		{"Exchange/engine=map/sessions=1000000", "allocs/op", []float64{1}},
		{"Memory/engine=ours/sessions=1000000", "gc-cpu-ms/op", []float64{1.36}},
		{"Memory/engine=ours/sessions=1000000", "B/session", []float64{200}},
		{"Load/server=floor/pipeline=16", "cpu-us/req", []float64{5.5}},
		{"Load/server=floor/pipeline=16", "ns/op", nil},
		{"None", "ns/op", nil},
	}
	for _, c := range cases {
		if got := rs[c.name][c.unit]; !slices.Equal(got, c.want) {
			t.Errorf("%s of %s = %v, want %v", c.unit, c.name, got, c.want)
		}
	}
}

func TestParseResultsRefusesABrokenLine(t *testing.T) {
	if _, err := parseResults(strings.NewReader("BenchmarkX-2 \t 10 \t x ns/op\n")); err == nil {
		t.Error("a value that is no number is accepted")
	}
}

func TestWrittenLinesAreRead(t *testing.T) {
	raw := &bytes.Buffer{}
	b := &bench{raw: raw}
	b.writeHeader()
	for _, throughput := range []float64{1234567.25, 20} {
		err := b.write(loadName("token-server", 1), 42, []value{{throughput, "req/s"}, {0.125, "p99.9-us"}})
		if err != nil {
			t.Fatal(err)
		}
	}
	rs := parsed(t, raw.String())
	if got, want := rs[loadName("token-server", 1)]["req/s"], []float64{1234567.25, 20}; !slices.Equal(got, want) {
		t.Errorf("req/s = %v, want %v; from %q", got, want, raw)
	}
	if got, want := rs[loadName("token-server", 1)]["p99.9-us"], []float64{0.125, 0.125}; !slices.Equal(got, want) {
		t.Errorf("p99.9-us = %v, want %v; from %q", got, want, raw)
	}
}

func TestMedian(t *testing.T) {
	cases := []struct {
		values []float64
		want   float64
	}{
		{[]float64{5}, 5},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 3, 2}, 2.5},
		{nil, math.NaN()},
	}
	for _, c := range cases {
		before := slices.Clone(c.values)
		if got := median(c.values); got != c.want && !(math.IsNaN(got) && math.IsNaN(c.want)) {
			t.Errorf("median(%v) = %v, want %v", c.values, got, c.want)
		}
		if !slices.Equal(before, c.values) {
			t.Errorf("median(%v) left %v", before, c.values)
		}
	}
}

func TestRatios(t *testing.T) {
	rs := results{
		"a": {"x": {1, 6, 3}},
		"b": {"x": {2, 3, 2, 100}},
	}
	if got, want := rs.ratio("a", "b", "x"), 3/2.5; got != want {
		t.Errorf("ratio = %v, want %v", got, want)
	}
	if got, want := rs.roundRatios("a", "b", "x"), []float64{0.5, 1.5, 2}; !slices.Equal(got, want) {
		t.Errorf("roundRatios = %v, want %v", got, want)
	}
	if got := rs.ratio("a", "none", "x"); isMeasured(got) {
		t.Errorf("ratio to nothing = %v, want NaN", got)
	}
	if got := rs.roundRatios("none", "b", "x"); got != nil {
		t.Errorf("roundRatios of nothing = %v, want none", got)
	}
}

func TestOthersOf(t *testing.T) {
	const old = "goos: linux\n" +
		"BenchmarkLoad/server=floor\t1\t2.000 req/s\n" +
		"BenchmarkExchange/engine=ours-2         \t1\t 3 ns/op\n" +
		"BenchmarkLoad/server=floor\t1\t4.000 req/s\n" +
		"PASS\n"
	for _, test := range []struct{ fresh, want string }{
		{"", old},
		{"goos: linux\nBenchmarkLoad/server=floor\t9\t9.000 req/s\n", "goos: linux\nBenchmarkExchange/engine=ours-2         \t1\t 3 ns/op\nPASS\n"},
		{"BenchmarkExchange/engine=ours-2 \t1\t 9 ns/op\n", strings.Replace(old, "BenchmarkExchange/engine=ours-2         \t1\t 3 ns/op\n", "", 1)},
	} {
		if got := string(othersOf([]byte(old), []byte(test.fresh))); got != test.want {
			t.Errorf("othersOf(old, %q) = %q, want %q", test.fresh, got, test.want)
		}
	}
}

func TestTurnsOfEngines(t *testing.T) {
	g := benchmarks{"^BenchmarkExchange$/./^sessions=10$", "7x", 3}
	want := benchmarks{"^BenchmarkExchange$/^engine=map$/^sessions=10$", "7x", 1}
	if got := g.of("map"); got != want {
		t.Errorf("of(map) = %v, want %v", got, want)
	}
}
