package duration

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	tests := []struct {
		text string
		want time.Duration
	}{
		{"0", 0},
		{"0s", 0},
		{"1ns", 1},
		{"2us", 2 * time.Microsecond},
		{"2µs", 2 * time.Microsecond}, // micro sign
		{"2μs", 2 * time.Microsecond}, // mu
		{"3ms", 3 * time.Millisecond},
		{"4s", 4 * time.Second},
		{"5m", 5 * time.Minute},
		{"90min", 90 * time.Minute},
		{"6h", 6 * time.Hour},
		{"1d", 24 * time.Hour},
		{"1day", 24 * time.Hour},
		{"2days", 48 * time.Hour},
		{"1h 30min", 90 * time.Minute},
		{"1h30m", 90 * time.Minute},
		{"1 h 30 min", 90 * time.Minute},
		{" 1h\t30m ", 90 * time.Minute},
		{"1d2h3m4s5ms6us7ns", 26*time.Hour + 3*time.Minute + 4*time.Second + 5*time.Millisecond + 6*time.Microsecond + 7},
		{"30min 1h", 90 * time.Minute},
		{"1h 1h", 2 * time.Hour},
		{"1.5h", 90 * time.Minute},
		{"0.5days", 12 * time.Hour},
		{"0.1s", 100 * time.Millisecond},
		{"1.9ns", 1},
		{"0.5ns 0.5ns", 1},
		{"0.000000000000000000000000000001d", 0},
		{"0090min", 90 * time.Minute},
		{"9223372036854775807ns", math.MaxInt64},
		{"9223372036.854775807s", math.MaxInt64},
	}
	for _, tt := range tests {
		if got, err := Parse(tt.text); err != nil || got != tt.want {
			t.Errorf("Parse(%q) = %v, %v, want %v", tt.text, got, err, tt.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"", " ", "1", "90", "00", "0.0", "1h 30", "30 1h", "min", "1.h", ".5h", "1.5.5h", "1,5h", "1e3s", "0x1h", "1_000s",
		"-1h", "- 1h", "+1h", "1h-30min", "1H", "1Min", "1hour", "1w", "1y", "1µ", "1 m in", "1h,30m", "1h\n30m", "١h", "Infh", "NaNs",
		"9223372036854775808ns", "106752d", "9999999999999999999999h", "9223372036854775807ns 1ns",
	} {
		if got, err := Parse(text); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", text, got)
		}
	}
}

func TestFormat(t *testing.T) {
	tests := []struct {
		d    time.Duration
		want string
	}{
		{0, "0s"},
		{time.Nanosecond, "1ns"},
		{1500 * time.Microsecond, "1500us"},
		{1500 * time.Millisecond, "1500ms"},
		{time.Second, "1s"},
		{time.Minute, "1min"},
		{90 * time.Minute, "90min"},
		{2 * time.Hour, "2h"},
		{96 * time.Hour, "96h"},
	}
	for _, tt := range tests {
		if got := Format(tt.d); got != tt.want {
			t.Errorf("Format(%d) = %q, want %q", tt.d, got, tt.want)
		}
	}
}

func TestFormattedDurationsAreRead(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 1000 {
		want := time.Duration(r.Int64() >> r.IntN(63))
		if got, err := Parse(Format(want)); err != nil || got != want {
			t.Fatalf("seed %d: Parse(%q) = %v, %v, want %v", seed, Format(want), got, err, want)
		}
		// What the standard library writes is read too.
		if got, err := Parse(want.String()); err != nil || got != want {
			t.Fatalf("seed %d: Parse(%q) = %v, %v, want %v", seed, want.String(), got, err, want)
		}
	}
}
