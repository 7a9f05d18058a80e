package main

import (
	"bytes"
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

// keepOthers puts before the lines of a file those of an older one whose benchmarks it has not.
func keepOthers(path, older string) error {
	fresh, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	old, err := os.ReadFile(older)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(othersOf(old, fresh), fresh...), 0o644)
}

// othersOf returns the lines of old but those of benchmarks that fresh has.
func othersOf(old, fresh []byte) (others []byte) {
	has := make(map[string]bool)
	for line := range bytes.Lines(fresh) {
		has[benchmarkOf(line)] = true
	}
	for line := range bytes.Lines(old) {
		if name := benchmarkOf(line); name == "" || !has[name] {
			others = append(others, line...)
		}
	}
	return others
}

// benchmarkOf returns the name at the beginning of a line, or "".
func benchmarkOf(line []byte) string {
	name, _, ok := bytes.Cut(line, []byte("\t"))
	if !ok || !bytes.HasPrefix(name, []byte("Benchmark")) {
		return ""
	}
	return string(bytes.TrimSpace(name))
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
		switch line := reader.Result().(type) {
		case *benchfmt.SyntaxError:
			return nil, line
		case *benchfmt.Result:
			rs.add(line)
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
