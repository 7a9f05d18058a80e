package sleep

import (
	"slices"
	"testing"
	"time"
)

func TestSleepLastsAtLeast(t *testing.T) {
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, d := range []time.Duration{-1, 0, 1, 20 * time.Microsecond, time.Millisecond} {
		start := time.Now()
		s.Sleep(d)
		if took := time.Since(start); took < d {
			t.Errorf("Sleep(%v) took %v", d, took)
		}
	}
}

func BenchmarkSleep(b *testing.B) {
	s, err := New()
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	const d = 50 * time.Microsecond
	for _, way := range []struct {
		name  string
		sleep func(time.Duration)
	}{{"way=timer", s.Sleep}, {"way=runtime", time.Sleep}} {
		b.Run(way.name, func(b *testing.B) {
			var late []time.Duration
			for b.Loop() {
				start := time.Now()
				way.sleep(d)
				late = append(late, time.Since(start)-d)
			}
			slices.Sort(late)
			b.ReportMetric(float64(late[len(late)/2]), "late-ns")
		})
	}
}
