package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// results are lines of go test -bench: the values of each benchmark by its name, without the
// word Benchmark and the number of processors, and unit, in the order that they were measured.
type results map[string]map[string][]float64

// value is one that was measured.
type value struct {
	value float64
	unit  string
}

// writeHeader begins the lines of this program.
func (b *bench) writeHeader() {
	fmt.Fprintf(b.raw, "goos: %s\ngoarch: %s\npkg: tokenserver/bench/report\n", runtime.GOOS, runtime.GOARCH)
}

// write writes a line as go test -bench does.
func (b *bench) write(name string, n int64, values []value) error {
	var line strings.Builder
	fmt.Fprintf(&line, "Benchmark%s\t%d", name, n)
	for _, v := range values {
		fmt.Fprintf(&line, "\t%.3f %s", v.value, v.unit)
	}
	_, err := fmt.Fprintln(b.raw, line.String())
	return err
}

func readResults(path string) (results, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseResults(f)
}

// parseResults reads lines of go test -bench and passes over all other lines.
func parseResults(r io.Reader) (results, error) {
	rs := results{}
	reader := benchfmt.NewReader(r, "results")
	for reader.Scan() {
		switch record := reader.Result().(type) {
		case *benchfmt.SyntaxError:
			return nil, record
		case *benchfmt.Result:
			rs.add(record)
		}
	}
	return rs, reader.Err()
}

// add undoes benchfmt's change of units.
func (rs results) add(r *benchfmt.Result) {
	name := nameOf(r.Name)
	if rs[name] == nil {
		rs[name] = map[string][]float64{}
	}
	for _, v := range r.Values {
		if v.OrigUnit != "" {
			v.Value, v.Unit = v.OrigValue, v.OrigUnit
		}
		rs[name][v.Unit] = append(rs[name][v.Unit], v.Value)
	}
}

func nameOf(n benchfmt.Name) string {
	base, parts := n.Parts()
	name := string(base)
	for _, part := range parts {
		if part[0] == '/' {
			name += string(part)
		}
	}
	return name
}

// median returns that of a benchmark's values, or NaN if there are none.
func (rs results) median(name, unit string) float64 { return median(rs[name][unit]) }

// ratio returns that of two benchmarks' medians.
func (rs results) ratio(name, other, unit string) float64 {
	return rs.median(name, unit) / rs.median(other, unit)
}

// roundRatios returns the ratios of values that were measured in the same round, in order of
// size.
func (rs results) roundRatios(name, other, unit string) []float64 {
	a, b := rs[name][unit], rs[other][unit]
	var ratios []float64
	for i := range min(len(a), len(b)) {
		ratios = append(ratios, a[i]/b[i])
	}
	slices.Sort(ratios)
	return ratios
}

// median returns NaN for no values.
func median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// isMeasured tells whether a result is a number.
func isMeasured(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
