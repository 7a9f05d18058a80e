package main

import (
	"strings"
	"testing"
)

func TestKeepers(t *testing.T) {
	wants := map[string]string{
		"token-server, always":   "--address h --port 1 --admin-address off --data-dir d --fsync always",
		"redis-server, always":   "--bind h --port 1 --save  --dir d --appendonly yes --appendfsync always",
		"token-server, everysec": "--address h --port 1 --admin-address off --data-dir d --fsync everysec",
		"token-server, memory":   "--address h --port 1 --admin-address off",
	}
	if got, want := len(keepers), len(wants); got != want {
		t.Errorf("%d keepers, want %d", got, want)
	}
	for _, k := range keepers {
		if got := strings.Join(k.allArgs("h", "1", "d"), " "); got != wants[k.String()] {
			t.Errorf("arguments of %v = %s, want %s", &k, got, wants[k.String()])
		}
	}
}

// TestKeepersGetOneLoad: what is compared is the servers.
func TestKeepersGetOneLoad(t *testing.T) {
	p := quickPlan()
	want := strings.Join(redisKeeper.loadArgs("h:1", p.fullLoad(256, 1)), " ")
	for _, k := range keepers {
		got := strings.Join(k.loadArgs("h:1", p.fullLoad(256, 1)), " ")
		if got = strings.TrimSuffix(got, " --mix exchange=1 --seed 1"); got != want {
			t.Errorf("load of %v = %s, want %s", &k, got, want)
		}
	}
	if !strings.Contains(want, "--connections 256 --pipeline 1 --sessions 100000 ") {
		t.Errorf("load = %s, want 256 connections", want)
	}
}

func TestKeeperRatios(t *testing.T) {
	rs := results{
		keeperName("token-server", keepsAlways, 64):   {"req/s": {10, 30, 40}},
		keeperName("redis-server", keepsAlways, 64):   {"req/s": {10, 10, 20}},
		keeperName("token-server", keepsEverySec, 64): {"req/s": {50}},
		keeperName("token-server", keepsMemory, 64):   {"req/s": {100}},
	}
	cases := []struct {
		pair, connections int
		want              string
	}{
		{0, 64, "2.00 (1.00 … 3.00)"},
		{1, 64, "0.50 (0.50 … 0.50)"},
		{0, 256, nothing},
	}
	for _, c := range cases {
		if got := spread(rs.keeperRatios(c.pair, c.connections)); got != c.want {
			t.Errorf("keeperRatios(%d, %d) = %s, want %s", c.pair, c.connections, got, c.want)
		}
	}
}

func TestStoreRatiosAreOfThroughput(t *testing.T) {
	rs := results{
		durableName("ours", keepsAlways, 64):   {"ns/op": {200, 100}},
		durableName("pebble", keepsAlways, 64): {"ns/op": {100, 80}},
	}
	if got, want := spread(rs.storeRatios(keepsAlways, 64)), "0.65 (0.50 … 0.80)"; got != want {
		t.Errorf("storeRatios = %s, want %s", got, want)
	}
}

func TestReportOfDurableMode(t *testing.T) {
	r := testReport(t, `BenchmarkKeep/server=token-server/keeps=always/connections=64	10	13000.000 req/s	20.000 cpu-us/req	4000.000 p50-us
BenchmarkKeep/server=redis-server/keeps=always/connections=64	10	10000.000 req/s	30.000 cpu-us/req	5000.000 p50-us
BenchmarkSync-2	10	169027 ns/op
BenchmarkDurable/fsync=always/goroutines=64/store=ours-2	10	20000 ns/op
BenchmarkDurable/fsync=always/goroutines=64/store=pebble-2	10	10000 ns/op
BenchmarkStartUp/sessions=1000000-2	1	1500000000 ns/op	73.09 disk-B/session
BenchmarkPolicy/policy=none/sessions=1000000-2	10	300 ns/op	0 allocs/op
BenchmarkPolicy/policy=grace/sessions=1000000-2	10	600 ns/op	0 allocs/op
BenchmarkPolicyMemory/policy=none/sessions=1000000-2	10	200 B/session
BenchmarkPolicyMemory/policy=grace/sessions=1000000-2	10	330 B/session
`)
	checkText(t, r,
		"| file system of the data | ext4 |",
		"A sync of 141 bytes by one writer takes 169 µs on this disk.",
		"| token-server | always | 64 | 13,000 | 20.0 | 4,000 | – | – |",
		"| --fsync always against Redis with appendfsync always | 64 | 1.30 (1.30 … 1.30) |",
		"| always | 64 | 50.0 | 100 | 0.50 (0.50 … 0.50) |",
		"| 10⁶ | 1.50 | 73.1 |",
		"| none | 300 (1.00) | 200 (1.00) | 0 |",
		"| `--grace 5s` | 600 (2.00) | 330 (1.65) | 0 |",
		"| requests/s, --fsync always against Redis with appendfsync always, 64 connections (the aim is 1.2) | ≥ 1 × | 1.30 × | yes |",
		"| durable store alone against bare Pebble, --fsync always, 64 goroutines | ≥ 0.7 × | 0.50 × | **no** |",
		"| start-up with 10⁷ sessions | ≤ 60 s | – | not measured |",
		"\ntoken-server --address 127.0.0.1 --port PORT --admin-address off --data-dir DIR --fsync always\n",
		"\nredis-server --bind 127.0.0.1 --port PORT --save '' --dir DIR --appendonly yes --appendfsync always\n",
		"\nredisload --address 127.0.0.1:PORT --connections 256 --pipeline 1 ",
		"![durable](2026-11-24-amd-epyc-durable.svg)",
	)
}

func TestCommandOn(t *testing.T) {
	cases := []struct {
		cpu             int
		wantEnv, wanted string
	}{
		{serverCPU, "GOMAXPROCS=1", "taskset --cpu-list 0 x -y"},
		{loadCPU, "GOMAXPROCS=1", "taskset --cpu-list 1 x -y"},
		{anyCPU, "", "x -y"},
	}
	for _, c := range cases {
		env, words := commandOn(c.cpu, "x", []string{"-y"})
		if got := strings.Join(words, " "); strings.Join(env, " ") != c.wantEnv || got != c.wanted {
			t.Errorf("commandOn(%d) = %v %s, want %s %s", c.cpu, env, got, c.wantEnv, c.wanted)
		}
	}
}

func TestParseDisk(t *testing.T) {
	cases := []struct {
		df         string
		fileSystem string
		free       int64
		ok         bool
	}{
		{"Type        Avail\next4 77525258240\n", "ext4", 77525258240, true},
		{"Type  Avail\ntmpfs 1000\n", "", 0, false},
		{"Type  Avail\next4 -\n", "", 0, false},
		{"", "", 0, false},
	}
	for _, c := range cases {
		fileSystem, free, err := parseDisk(c.df)
		if fileSystem != c.fileSystem || free != c.free || (err == nil) != c.ok {
			t.Errorf("parseDisk(%q) = %q, %d, %v, want %q, %d and no error: %v", c.df, fileSystem, free, err, c.fileSystem, c.free, c.ok)
		}
	}
}
