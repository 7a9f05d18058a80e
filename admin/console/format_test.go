package console

import (
	"math"
	"testing"
)

func TestFormat(t *testing.T) {
	for got, want := range map[string]string{
		count(0): "0", count(999): "999", count(1000): "1,000", count(1234567): "1,234,567", count(-1234): "-1,234", count(-123): "-123",
		count(math.MinInt64): "-9,223,372,036,854,775,808",
		rate(0.05):           "under 0.1/s", rate(0.34): "0.3/s", rate(12.6): "13/s", rate(123456): "123,456/s",
		size(0): "0 B", size(1000): "0.98 KiB", size(1 << 20): "1 MiB", size(3 << 29): "1.50 GiB", size(1 << 41): "2 TiB",
		latency(0): "–", latency(41e-6): "41 µs", latency(41.23e-6): "41.2 µs", latency(0.0012): "1.20 ms", latency(2.5): "2.50 s",
		span(5): "5 s", span(65): "1 min 5 s", span(7200): "2 h", span(90061): "1 d 1 h",
		percent(0): "0 %", percent(0.00001): "under 0.01 %", percent(0.074): "7.4 %", percent(0.5): "50 %",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
