package svgplot

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"gonum.org/v1/plot"
)

func labels(ticks []plot.Tick) string {
	var all []string
	for _, tick := range ticks {
		if tick.Label != "" {
			all = append(all, tick.Label)
		}
	}
	return strings.Join(all, " ")
}

func TestLinearTicks(t *testing.T) {
	for _, test := range []struct {
		high float64
		want string
	}{
		{291, "0 50 100 150 200 250 300"},
		{300, "0 50 100 150 200 250 300"},
		{2780, "0 500 1,000 1,500 2,000 2,500 3,000"},
		{1.83, "0 0.5 1 1.5 2"},
		{0.3, "0 0.05 0.1 0.15 0.2 0.25 0.3"},
		{86258, "0 20,000 40,000 60,000 80,000 100,000"},
		{0.000047, "0 0.00001 0.00002 0.00003 0.00004 0.00005"},
		{0, "0 0.2 0.4 0.6 0.8 1"},
		{math.Inf(-1), "0 0.2 0.4 0.6 0.8 1"},
	} {
		if got := labels(linearTicks(test.high)); got != test.want {
			t.Errorf("linearTicks(%v) = %s, want %s", test.high, got, test.want)
		}
	}
}

// TestLinearTicksAreRound tries values of all sizes.
func TestLinearTicksAreRound(t *testing.T) {
	for high := 1e-6; high < 1e9; high *= 1.07 {
		ticks := linearTicks(high)
		if n := len(ticks); n < 4 || n > 7 || ticks[0].Value != 0 || ticks[n-1].Value < high || ticks[n-2].Value >= high {
			t.Errorf("ticks up to %v: %s, want four to seven up to the first above", high, labels(ticks))
		}
		if digit := strings.Trim(ticks[1].Label, "0.,"); digit != "1" && digit != "2" && digit != "5" {
			t.Errorf("ticks up to %v: a distance of %s, want 1, 2 or 5 times a power of ten", high, ticks[1].Label)
		}
		for _, tick := range ticks {
			got, err := strconv.ParseFloat(strings.ReplaceAll(tick.Label, ",", ""), 64)
			if err != nil || got != tick.Value || len(tick.Label) > len("1,000,000,000") {
				t.Errorf("ticks up to %v: %q at %v, %v", high, tick.Label, tick.Value, err)
			}
		}
	}
}

func TestLogTicks(t *testing.T) {
	for _, test := range []struct {
		low, high float64
		want      string
		ticks     int
	}{
		{1.37, 24.3, "1 2 5 10 20 50", 14},
		{0.45, 9.8, "0.2 0.5 1 2 5 10", 18},
		{2, 5, "2 5", 4},
		{1, 1, "1 2", 2},
		{0.003, 70, "0.001 0.01 0.1 1 10 100", 46},
		{math.Inf(1), math.Inf(-1), "1 2 5 10", 10},
	} {
		ticks := logTicks(test.low, test.high)
		if got := labels(ticks); got != test.want || len(ticks) != test.ticks {
			t.Errorf("logTicks(%v, %v) = %d with the labels %s, want %d with %s", test.low, test.high, len(ticks), got, test.ticks, test.want)
		}
	}
}

func TestPercentileAxis(t *testing.T) {
	ticks := PercentileAxis(0, 50, 99.9).Ticks
	if got, want := labels(ticks), "0 % 50 % 99.9 %"; got != want {
		t.Errorf("labels = %s, want %s", got, want)
	}
	for i, percentile := range []float64{0, 50, 99.9} {
		if got, want := ticks[i].Value, Nines(percentile); got != want {
			t.Errorf("label %d is at %v, want %v", i, got, want)
		}
	}
}

func TestNines(t *testing.T) {
	for percentile, want := range map[float64]float64{0: 0, 90: 1, 99: 2, 99.9: 3, 99.99: 4} {
		if got := Nines(percentile); math.Abs(got-want) > 1e-9 {
			t.Errorf("Nines(%v) = %v, want %v", percentile, got, want)
		}
	}
}
