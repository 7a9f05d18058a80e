package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestPlansTune(t *testing.T) {
	full, quick := fullPlan(memoryForMost, diskForMost), quickPlan()
	var names []string
	for _, tuned := range full.tunings {
		names = append(names, tuned.resultName())
	}
	const want = `Tuning/connections=1/pipeline=1
Tuning/connections=8/pipeline=1
Tuning/connections=64/pipeline=1
Tuning/connections=512/pipeline=1
Tuning/connections=64/pipeline=4
Tuning/connections=64/pipeline=16
Tuning/connections=64/pipeline=64
Tuning/gogc=25
Tuning/gogc=100
Tuning/gogc=400
Tuning/gogc=off/gomemlimit=1GiB
Tuning/shards=1
Tuning/shards=default`
	if got := strings.Join(names, "\n"); got != want {
		t.Errorf("the full plan tunes\n%s\nwant\n%s", got, want)
	}
	var groups []string
	for _, tuned := range quick.tunings {
		groups = append(groups, tuned.group)
	}
	if got, want := strings.Join(groups, " "), "load collector shards"; got != want {
		t.Errorf("the quick plan tunes %s, want %s", got, want)
	}
}

func tuningNamed(t *testing.T, name string) *tuning {
	t.Helper()
	for i := range tunings {
		if tunings[i].name == name {
			return &tunings[i]
		}
	}
	t.Fatalf("no tuning is named %s", name)
	return nil
}

func TestTuningServer(t *testing.T) {
	const common = " --address h --port 1 --admin-address off"
	cases := []struct {
		name       string
		want       string
		wantServer int
		wantLoad   int
	}{
		{"connections=8/pipeline=1", "dir/token-server" + common, serverCPU, loadCPU},
		{"gogc=25", "env GOGC=25 GODEBUG=gctrace=1 dir/token-server" + common, serverCPU, loadCPU},
		{"gogc=off/gomemlimit=1GiB", "env GOGC=off GOMEMLIMIT=1GiB GODEBUG=gctrace=1 dir/token-server" + common, serverCPU, loadCPU},
		{"shards=1", "dir/token-server" + common + " --shards 1", anyCPU, anyCPU},
		{"shards=default", "dir/token-server" + common, anyCPU, anyCPU},
	}
	for _, c := range cases {
		tuned := tuningNamed(t, c.name)
		program, args := tuned.server("dir/token-server")
		if got := program + " " + strings.Join(args("h", "1"), " "); got != c.want {
			t.Errorf("server of %s = %s, want %s", c.name, got, c.want)
		}
		if server, load := tuned.processors(); server != c.wantServer || load != c.wantLoad {
			t.Errorf("processors of %s = %d, %d, want %d, %d", c.name, server, load, c.wantServer, c.wantLoad)
		}
	}
}

func TestTuningLoad(t *testing.T) {
	p := fullPlan(memoryForMost, diskForMost)
	cases := []struct {
		name                            string
		connections, pipeline, sessions int
		mix                             string
	}{
		{"connections=512/pipeline=1", 512, 1, 1e5, "exchange=1"},
		{"connections=64/pipeline=64", 64, 64, 1e5, "exchange=1"},
		{"gogc=100", 64, 1, 1e6, growingMix},
		{"shards=default", 64, 1, 1e5, "exchange=1"},
	}
	for _, c := range cases {
		tuned := tuningNamed(t, c.name)
		want := shape{connections: c.connections, pipeline: c.pipeline, sessions: c.sessions, warmUp: p.warmUp, duration: 3 * time.Second}
		if got := p.tuningLoad(tuned); got != want {
			t.Errorf("load of %s = %+v, want %+v", c.name, got, want)
		}
		if got, want := strings.Join(tuned.contender().loadFlags, " "), "--mix "+c.mix+" --seed 1"; got != want {
			t.Errorf("flags of the load of %s = %s, want %s", c.name, got, want)
		}
	}
}

func TestCollections(t *testing.T) {
	const output = `time=2026-11-24T19:08:07.455Z level=INFO msg=starting
gc 1 @0.059s 0%: 0.047+5.8+0.005 ms clock, 0.047+0/0.94/0+0.005 ms cpu, 37->37->35 MB, 37 MB goal, 0 MB stacks, 0 MB globals, 1 P
gc 2 @120.911s 12%: 10.0+20+1.5 ms clock, 10.0+1.5/2.25/3+1.5 ms cpu, 69->69->66 MB, 70 MB goal, 0 MB stacks, 0 MB globals, 2 P (forced)
time=2026-11-24T19:08:17.343Z level=INFO msg=stopped
`
	count, cpu := collections([]byte(output))
	if want := 0.992 + 18.25; count != 2 || cpu < want-1e-9 || cpu > want+1e-9 {
		t.Errorf("collections() = %d, %v ms, want 2, %v ms", count, cpu, want)
	}
	if count, cpu := collections(nil); count != 0 || cpu != 0 {
		t.Errorf("collections of no output = %d, %v ms, want none", count, cpu)
	}
}

func TestWriteTuned(t *testing.T) {
	m := &measured{Requests: 10, Throughput: 1000, busy: 0.5}
	const output = "gc 1 @0.059s 0%: 1+1+1 ms clock, 1+2/3/4+5 ms cpu, 37->37->35 MB\n"
	cases := []struct {
		name            string
		wantCollections float64 // -1 for none written
	}{
		{"gogc=25", 1},
		{"shards=1", -1},
	}
	for _, c := range cases {
		raw := &bytes.Buffer{}
		tuned := tuningNamed(t, c.name)
		if err := (&bench{raw: raw}).writeTuned(tuned, m, 3<<20, []byte(output)); err != nil {
			t.Fatal(err)
		}
		rs := parsed(t, raw.String())
		if got := rs.median(tuned.resultName(), "resident-MiB"); got != 3 {
			t.Errorf("%s: %v MiB, want 3", c.name, got)
		}
		if got := rs.median(tuned.resultName(), "cpu-us/req"); got != 500 {
			t.Errorf("%s: %v µs a request, want 500", c.name, got)
		}
		got := rs.median(tuned.resultName(), "collections")
		if !isMeasured(got) {
			got = -1
		}
		if got != c.wantCollections {
			t.Errorf("%s: %v collections, want %v", c.name, got, c.wantCollections)
		}
	}
}

func TestReportOfTuning(t *testing.T) {
	r := testReport(t, `BenchmarkTuning/connections=64/pipeline=4	10	150000.000 req/s	7.000 cpu-us/req	99.000 busy-%	300.000 p50-us	900.000 p99-us	1500.000 p99.9-us	60.000 resident-MiB
BenchmarkTuning/gogc=off/gomemlimit=1GiB	10	60000.000 req/s	15.000 cpu-us/req	98.000 busy-%	1000.000 p50-us	2000.000 p99-us	3000.000 p99.9-us	250.000 resident-MiB	0.000 collections	0.000 gc-cpu-ms
BenchmarkTuning/gogc=25	10	60000.000 req/s	15.000 cpu-us/req	98.000 busy-%	1000.000 p50-us	2000.000 p99-us	4000.000 p99.9-us	225.000 resident-MiB	21.000 collections	23.400 gc-cpu-ms
BenchmarkTuning/shards=1	10	50000.000 req/s	18.000 cpu-us/req	97.000 busy-%	1000.000 p50-us	2500.000 p99-us	3500.000 p99.9-us
`)
	checkText(t, r,
		"## Tuning\n",
		"\n| 64 | 4 | 150,000 | 7.00 | 99.0 | 300 | 900 |\n",
		"\n| `GOGC=25` | 60,000 | 15.0 | 2,000 | 4,000 | 225 | 23.4 | 21 |\n| `GOGC=off GOMEMLIMIT=1GiB` | 60,000 | 15.0 | 2,000 | 3,000 | 250 | 0 | 0 |\n\n",
		"\n|---|---:|---:|---:|---:|---:|\n| 1 | 50,000 | 18.0 | 1,000 | 2,500 | 3,500 |\n\n",
		"\nGOMAXPROCS=1 taskset --cpu-list 0 env GOGC=25 GODEBUG=gctrace=1 token-server --address 127.0.0.1 --port PORT --admin-address off\n",
		" --mix "+growingMix+" --seed 1\n",
		"\ntoken-server --address 127.0.0.1 --port PORT --admin-address off --shards 1\n",
	)
}
