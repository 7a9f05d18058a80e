package main

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestParseFlags(t *testing.T) {
	m := new(Main)
	err := m.ParseFlags([]string{"--address", "[::1]:80", "-c", "3", "--pipeline=4", "--rate", "5", "--mix", " replay=1, exchange=2,create=0",
		"--meta-size", "49", "--sessions", "12", "--warm-up", "0s", "-d", "1m30s", "--timeout", "1s", "--seed", "9",
		"--json", "--plot", "a.svg", "--plot-title", "T", "--unchecked"})
	if err != nil {
		t.Fatal(err)
	}
	want := Config{Address: "[::1]:80", Connections: 3, Pipeline: 4, Batch: 1, Rate: 5,
		Mix: newMix([operationCount]uint32{opReplay: 1, opExchange: 2}), MetaSize: 49, Sessions: 12, Duration: 90 * time.Second,
		Timeout: time.Second, Seed: 9, Unchecked: true, JSON: true, Plot: "a.svg", PlotTitle: "T"}
	if m.Config != want {
		t.Errorf("ParseFlags: %+v, want %+v", m.Config, want)
	}
}

func TestDefaults(t *testing.T) {
	m := new(Main)
	if err := m.ParseFlags(nil); err != nil {
		t.Fatal(err)
	}
	if m.Config.Seed == 0 {
		t.Error("seed 0, want a random one")
	}
	m.Config.Seed = 0
	want := Config{Address: "127.0.0.1:3666", Connections: 64, Pipeline: 1, Batch: 1, Mix: defaultMix, MetaSize: 115, Sessions: 10_000,
		WarmUp: 2 * time.Second, Duration: 10 * time.Second, Timeout: 10 * time.Second, PlotTitle: "Token Server latency"}
	if m.Config != want {
		t.Errorf("defaults: %+v, want %+v", m.Config, want)
	}
}

func TestBadFlags(t *testing.T) {
	tests := []struct {
		args string
		want []string // parts of the one line on the standard error
	}{
		{"--connections 0", []string{"--connections", `"0"`, "1 … 65535"}},
		{"-c 65536", []string{"--connections", `"65536"`, "1 … 65535"}},
		{"--pipeline 1025", []string{"--pipeline", `"1025"`, "1 … 1024"}},
		{"--rate -1", []string{"--rate", `"-1"`, "0 … 10000000"}},
		{"--rate 1.5", []string{"--rate", `"1.5"`, "whole number"}},
		{"--sessions 10000001", []string{"--sessions", `"10000001"`, "0 … 10000000"}},
		{"--sessions 63", []string{"--sessions", `"63"`, "64 … 10000000"}},
		{"--sessions 99 -c 10 --pipeline 10", []string{"--sessions", `"99"`, "100 … 10000000"}},
		{"--meta-size 48", []string{"--meta-size", `"48"`, "49 … 16777216"}},
		{"--meta-size 1KiB", []string{"--meta-size", `"1KiB"`, "49 … 16777216"}},
		{"--duration 99ms", []string{"--duration", `"99ms"`, "100ms … 24h"}},
		{"--duration 10", []string{"--duration", `"10"`, "100ms … 24h"}},
		{"--warm-up 2h", []string{"--warm-up", `"2h"`, "0s … 1h"}},
		{"--timeout 0s", []string{"--timeout", `"0s"`, "10ms … 10min"}},
		{"--seed -1", []string{"--seed", `"-1"`, "0 … 2147483647"}},
		{"--mix exchange", []string{"--mix", `"exchange"`, "create, exchange, patch, validate, delete, replay", "0 … 1000000"}},
		{"--mix swap=1", []string{"--mix", `"swap=1"`, "create"}},
		{"--mix exchange=1,exchange=2", []string{"--mix", `"exchange=2"`, "once"}},
		{"--mix exchange=1000001", []string{"--mix", "1000001", "0 … 1000000"}},
		{"--mix exchange=0", []string{"--mix", "over 0"}},
		{"--mix -=1", []string{"--mix", `"-=1"`}},
		{"--json=maybe", []string{"--json", `"maybe"`, "true or false"}},
		{"--address localhost", []string{"--address", `"localhost"`, "host:port"}},
		{"--address :3666", []string{"--address", `":3666"`, "host:port"}},
		{"--address localhost:0", []string{"--address", `"localhost:0"`, "1 … 65535"}},
		{"--plot latency.png", []string{"--plot", `"latency.png"`, ".svg"}},
		{"--pipeline", []string{"--pipeline has no value", "1 … 1024"}},
		{"--mix", []string{"--mix has no value", "create, exchange"}},
		{"--fast", []string{"--fast"}},
		{"stray", []string{"stray"}},
	}
	for _, test := range tests {
		t.Run(test.args, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := execute(t.Context(), strings.Fields(test.args), &stdout, &stderr)
			if code != exitUsage || stdout.Len() > 0 || strings.Count(stderr.String(), "\n") != 1 {
				t.Errorf("exit code %d, output %q, error %q, want %d, none, one line", code, stdout.String(), stderr.String(), exitUsage)
			}
			for _, want := range test.want {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("error %q, want it to name %q", stderr.String(), want)
				}
			}
		})
	}
}

func TestHelp(t *testing.T) {
	for _, arg := range []string{"-h", "--help"} {
		var stdout, stderr bytes.Buffer
		code := execute(t.Context(), []string{arg}, &stdout, &stderr)
		if code != exitOK || stderr.Len() > 0 || !strings.Contains(stdout.String(), "--pipeline") {
			t.Errorf("%s: exit code %d, output %q, error %q, want %d and the flags", arg, code, stdout.String(), stderr.String(), exitOK)
		}
	}
}

func TestEmptyPlotIsNone(t *testing.T) {
	m := new(Main)
	if err := m.ParseFlags([]string{"--plot="}); err != nil || m.Config.Plot != "" {
		t.Errorf("ParseFlags = %v, plot %q, want no error and none", err, m.Config.Plot)
	}
}

func TestOnlyCreatesNeedNoSessions(t *testing.T) {
	if err := new(Main).ParseFlags([]string{"--sessions", "0", "--mix", "create=1"}); err != nil {
		t.Errorf("ParseFlags = %v, want no error", err)
	}
}

func TestMixPicksByWeight(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	m := newMix([operationCount]uint32{opCreate: 1, opExchange: 70, opValidate: 20, opReplay: 9})
	const picks = 200_000
	var counts [operationCount]float64
	for range picks {
		counts[m.pick(rng)]++
	}
	for o, w := range m.weights {
		want := float64(w) / 100 * picks
		if math.Abs(counts[o]-want) > 6*math.Sqrt(want) {
			t.Errorf("%s was picked %v times, want about %v", operation(o), counts[o], want)
		}
	}
}

func TestMetadata(t *testing.T) {
	for _, size := range []int{minMetaSize, minMetaSize + 1, 115, 5000} {
		m := newMetadata(size)
		for _, user := range []uint32{0, 63, 64, 0xdeadbeef} {
			b := m.append(nil, user, 0x1f)
			if len(b) != size || !m.matches(b, user, 0x1f) {
				t.Fatalf("metadata of %d bytes for user %x: %q, want it to match itself", size, user, b)
			}
			if m.matches(b, user+1, 0x1f) || m.matches(b, user, 0x20) || m.matches(b[1:], user, 0x1f) {
				t.Errorf("metadata %q matches another session's, want no match", b)
			}
			for i := range b {
				b[i] ^= 1
				if m.matches(b, user, 0x1f) {
					t.Fatalf("metadata with a wrong byte at %d of %d matches", i, size)
				}
				b[i] ^= 1
			}
		}
	}
	if got, want := string(newMetadata(minMetaSize).append(nil, 10, 255)), `{"user":"0000000a","visits":"000000ff","data":""}`; got != want {
		t.Errorf("metadata %s, want %s", got, want)
	}
}
