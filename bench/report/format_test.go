package main

import (
	"bytes"
	"math"
	"testing"
)

func TestNumber(t *testing.T) {
	cases := []struct {
		in   float64
		want string
	}{
		{0, "0"}, {0.004, "0.00"}, {1.058, "1.06"}, {12.34, "12.3"}, {289.4, "289"}, {1234567.8, "1,234,568"},
		{math.NaN(), nothing}, {math.Inf(1), nothing},
	}
	for _, c := range cases {
		if got := number(c.in); got != c.want {
			t.Errorf("number(%v) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestSpread(t *testing.T) {
	cases := []struct {
		in   []float64
		want string
	}{
		{[]float64{0.5, 1.5, 2}, "1.50 (0.50 … 2.00)"},
		{[]float64{1}, "1.00 (1.00 … 1.00)"},
		{nil, nothing},
	}
	for _, c := range cases {
		if got := spread(c.in); got != c.want {
			t.Errorf("spread(%v) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestPowerOfTen(t *testing.T) {
	for n, want := range map[int]string{1000: "10³", 100_000: "10⁵", 10_000_000: "10⁷"} {
		if got := powerOfTen(n); got != want {
			t.Errorf("powerOfTen(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestWriteTable(t *testing.T) {
	got := &bytes.Buffer{}
	writeTable(got, []string{"name", "a", "b"}, []string{"x", "1", "2"})
	if want := "| name | a | b |\n|---|---:|---:|\n| x | 1 | 2 |\n\n"; got.String() != want {
		t.Errorf("table = %q, want %q", got, want)
	}
}

func TestShellLine(t *testing.T) {
	got := shellLine("go test", []string{"-run", "^$", "-bench", "^A$/^b=(1|2)$", "--save", "", "it's a", "./bench"})
	if want := `go test -run '^$' -bench '^A$/^b=(1|2)$' --save '' 'it'\''s a' ./bench`; got != want {
		t.Errorf("shellLine = %s, want %s", got, want)
	}
}

func TestSlug(t *testing.T) {
	cases := map[string]string{
		"AMD EPYC": "amd-epyc",
		"Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz": "intel-xeon-platinum-8375c",
		"AMD Ryzen 9 7950X 16-Core Processor":           "amd-ryzen-9-7950x-16-core",
		"arm64":                                         "arm64",
	}
	for in, want := range cases {
		if got := slug(in); got != want {
			t.Errorf("slug(%q) = %q, want %q", in, got, want)
		}
	}
}
