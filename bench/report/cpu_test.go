package main

import (
	"math"
	"os"
	"runtime"
	"testing"
	"time"
)

func TestBusy(t *testing.T) {
	start := time.Unix(0, 0)
	at := func(second float64) time.Time { return start.Add(seconds(second)) }
	// Half a processor for two seconds, then a whole one.
	samples := []cpuSample{{at(0), 0}, {at(1), seconds(0.5)}, {at(2), seconds(1)}, {at(3), seconds(2)}, {at(4), seconds(3)}}
	cases := []struct {
		from, to float64
		want     float64
	}{
		{0, 2, 0.5},
		{2, 4, 1},
		{0.5, 3.5, 0.75},
		{1.9, 9, 1},
		{1.5, 2.5, math.NaN()}, // one sample
		{2.1, 2.9, math.NaN()},
		{5, 6, math.NaN()},
	}
	for _, c := range cases {
		got := busy(samples, at(c.from), at(c.to))
		if got != c.want && !(math.IsNaN(got) && math.IsNaN(c.want)) {
			t.Errorf("busy from %v to %v = %v, want %v", c.from, c.to, got, c.want)
		}
	}
}

func TestProcessCPUGrowsWithWork(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("Linux only")
	}
	before, err := processCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const work = 2 * time.Millisecond
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		after, err := processCPU(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if after-before >= work {
			return
		}
	}
	t.Errorf("the processor time did not grow by %v in 5 seconds of work", work)
}

func TestWatchCPU(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("Linux only")
	}
	samples, err := watchCPU(os.Getpid())()
	if err != nil || len(samples) == 0 || samples[0].cpu <= 0 {
		t.Errorf("samples of this process = %v, %v, want at least one", samples, err)
	}
}
