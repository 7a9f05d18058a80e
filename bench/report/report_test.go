package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

func testReport(t *testing.T, text string) *report {
	return &report{
		results: parsed(t, text),
		machine: &machine{
			cpu: "AMD EPYC", cores: 2, virtual: true, memory: 24 << 30, kernel: "Linux 6.1.0", hugePages: "madvise", load: 0.02, fileSystem: "ext4",
			versions: []version{{"Go", "go1.26"}, {"redis-server", "7.0.15, jemalloc-5.3.0"}},
		},
		plan: quickPlan(),
		date: time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC),
	}
}

// checkText expects parts of the report's text, and no number that is none.
func checkText(t *testing.T, r *report, parts ...string) {
	t.Helper()
	text := &strings.Builder{}
	r.writeText(text, newOutput("results", r.date, r.machine.cpu))
	for _, want := range parts {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	for _, bad := range []string{"NaN", "Inf", "%!"} {
		if strings.Contains(text.String(), bad) {
			t.Errorf("the report has %q", bad)
		}
	}
}

func TestReportText(t *testing.T) {
	r := testReport(t, sample+`BenchmarkLoad/server=token-server/pipeline=16	10	1234567.000 req/s	11.000 cpu-us/req
BenchmarkLoad/server=floor/pipeline=16	10	5.000 cpu-us/req
BenchmarkLoad/server=token-server/pipeline=16	10	1234567.000 req/s	10.000 cpu-us/req
`)
	checkText(t, r,
		"# Benchmarks of 24 November 2026, AMD EPYC\n",
		"its figures are worth nothing",
		"[2026-11-24-amd-epyc.txt](2026-11-24-amd-epyc.txt)",
		"![exchange](2026-11-24-amd-epyc-exchange.svg)",
		"| exchange, 10⁶ sessions: times as fast as map + RWMutex | ≥ 2.3 × | 3.10 × | yes |",
		"| heap a session, 10⁷ sessions | ≤ 210 B | – | not measured |",
		"| the same, 16 pipelined, at the top rate (the aim is 1.6) | ≤ 2 × | 2.00 × | yes |",
		"| processor | AMD EPYC, 2 cores, virtual machine |",
		"| memory | 24.0 GiB |",
		"| redis-server | 7.0.15, jemalloc-5.3.0 |",
		"| Token Server | 310 |\n| map + RWMutex | 930 (3.10) |",
		"| token-server | 16 | 1,234,567 | 10.5 |",
		"| floor | 16 | – | 2.00 (2.00 … 2.00) |",
		"go test -run '^$' -bench '^BenchmarkHandler$' -benchtime 100ms -count 1 ./bench\n",
		"GOMAXPROCS=1 taskset --cpu-list 0 redis-server --bind 127.0.0.1 --port PORT --save '' --appendonly no\n",
	)
}

func TestReportNamesNothingOfTheMachine(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	r := testReport(t, sample)
	out := newOutput(t.TempDir(), r.date, r.machine.cpu)
	if err := r.write(out); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(out.dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(files), 1+len(plots); got != want {
		t.Errorf("%d files, want %d", got, want)
	}
	for _, f := range files {
		text, err := os.ReadFile(out.dir + "/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{dir, out.dir, os.TempDir()} {
			if strings.Contains(string(text), word) {
				t.Errorf("%s has the path %s", f.Name(), word)
			}
		}
		// A short name could be a part of any word.
		if len(host) > 6 && strings.Contains(string(text), host) {
			t.Errorf("%s has the name of this host", f.Name())
		}
	}
}
