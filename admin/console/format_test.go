package console

import (
	"math"
	"testing"
)

func TestFormat(t *testing.T) {
	for got, want := range map[string]string{
		count(0): "0", count(999): "999", count(1000): "1,000", count(1234567): "1,234,567", count(-1234): "-1,234", count(-123): "-123",
		count(math.MinInt64): "-9,223,372,036,854,775,808",
		rate(0):              "0/s", rate(0.05): "under 0.1/s", rate(0.34): "0.34/s", rate(1): "1/s", rate(12.6): "12.6/s", rate(123456): "123,456/s", rate(999_500): "1 M/s",
		size(0): "0 B", size(1000): "1,000 B", size(1024): "1 KiB", size(1 << 20): "1 MiB", size(3 << 29): "1.5 GiB", size(1<<40 - 1): "1 TiB", size(1 << 41): "2 TiB",
		latency(0): "–", latency(10e-6): "10 µs", latency(41.23e-6): "41.2 µs", latency(0.0009996): "1 ms", latency(0.0012): "1.2 ms", latency(2.5): "2.5 s", latency(2e-9): "0.002 µs",
		digits(0): "0", digits(9.996): "10", digits(99.96): "100", digits(0.99951): "1", digits(0.0123): "0.0123", digits(1234.5): "1,235", digits(-2): "-2",
		span(5): "5 s", span(65): "1 min 5 s", span(7200): "2 h", span(90061): "1 d 1 h",
		percent(0): "0 %", percent(0.00001): "under 0.01 %", percent(0.074): "7.4 %", percent(0.5): "50 %",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
