package flags

import (
	"math"
	"testing"
)

func TestParseSize(t *testing.T) {
	tests := []struct {
		text string
		want int64
	}{
		{"0", 0},
		{"0GiB", 0},
		{"1000", 1000},
		{"1000B", 1000},
		{"64KiB", 64 * KiB},
		{"64 KiB", 64 * KiB},
		{"16MiB", 16 * MiB},
		{"2GiB", 2 * GiB},
		{"9223372036854775807", math.MaxInt64},
		{"8589934591GiB", 8589934591 * GiB},
	}
	for _, tt := range tests {
		if got, err := ParseSize(tt.text); err != nil || got != tt.want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", tt.text, got, err, tt.want)
		}
	}
}

func TestParseSizeRefuses(t *testing.T) {
	for _, text := range []string{
		"", " ", "B", "KiB", "-1", "+1", "-1KiB", "1.5KiB", "1e3", "0x10", "1_000", "1KB", "1K", "1kib", "1KIB", "1TiB", "1KiBB",
		"1KiB 1B", " 1KiB", "1KiB ", "9223372036854775808", "8589934592GiB", "99999999999999999999",
	} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", text, got)
		}
	}
}

func TestFormatSize(t *testing.T) {
	tests := []struct {
		n    int64
		want string
	}{
		{0, "0"}, {1, "1B"}, {1023, "1023B"}, {1024, "1KiB"}, {1025, "1025B"},
		{64 * KiB, "64KiB"}, {16 * MiB, "16MiB"}, {3 * GiB / 2, "1536MiB"}, {2 * GiB, "2GiB"},
	}
	for _, tt := range tests {
		got := FormatSize(tt.n)
		if got != tt.want {
			t.Errorf("FormatSize(%d) = %q, want %q", tt.n, got, tt.want)
		}
		if back, err := ParseSize(got); err != nil || back != tt.n {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", got, back, err, tt.n)
		}
	}
}
