package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"

	"tokenserver/internal/svgplot"
)

// plotted is a plot of some results.
type plotted struct {
	name string // of its file
	make func(results) *svgplot.Plot
}

var plots = []plotted{
	{"exchange", plotExchange},
	{"shards", plotShards},
	{"memory", plotMemory},
	{"latency-full", plotFullLoad},
	{"latency-half", plotHalfRate},
	{"durable", plotDurable},
}

// writePlots writes all plots as SVG, into files whose paths begin with prefix.
func writePlots(rs results, prefix string) (err error) {
	for _, p := range plots {
		image := &bytes.Buffer{}
		if made := p.make(rs).Write(image); made != nil {
			err = errors.Join(err, fmt.Errorf("plot of %s: %w", p.name, made))
			continue
		}
		err = errors.Join(err, os.WriteFile(prefix+"-"+p.name+".svg", image.Bytes(), 0o644))
	}
	return err
}

// replot writes the plots of stored results beside them.
func replot(path string) error {
	prefix, ok := strings.CutSuffix(path, ".txt")
	if !ok {
		return fmt.Errorf("--plot=%s: must be the .txt file of a report", path)
	}
	rs, err := readResults(path)
	if err != nil {
		return err
	}
	return writePlots(rs, prefix)
}

// addLine adds what was measured of a line.
func addLine(p *svgplot.Plot, name string, style svgplot.Style, points plotter.XYs) {
	var measured plotter.XYs
	for _, point := range points {
		if isMeasured(point.Y) {
			measured = append(measured, point)
		}
	}
	p.AddLine(svgplot.Line{Name: name, Style: style, Dots: true, Points: measured})
}

// addBar adds a bar with its height above, if that was measured.
func addBar(p *svgplot.Plot, name string, own bool, height float64) {
	if isMeasured(height) {
		p.AddBar(svgplot.Bar{Name: name, Own: own, Value: height, Text: number(height)})
	}
}

// styleOf returns the style of the i-th of several that are compared, of which the first is ours.
func styleOf(i int) svgplot.Style {
	if i == 0 {
		return svgplot.Own(0)
	}
	return svgplot.Peer(i - 1)
}

func plotExchange(rs results) *svgplot.Plot {
	ns := rs.sizesOf(exchangeName)
	p := &svgplot.Plot{
		Title: "An exchange in the store",
		X:     svgplot.Axis{Label: "live sessions", Log: true, Ticks: ticksAt(ns, powerOfTen)},
		Y:     svgplot.Axis{Label: "ns"},
	}
	for i, engine := range engineOrder {
		var points plotter.XYs
		for _, n := range ns {
			points = append(points, plotter.XY{X: float64(n), Y: rs.median(exchangeName(engine, n), "ns/op")})
		}
		addLine(p, engineNames[engine], styleOf(i), points)
	}
	return p
}

func plotShards(rs results) *svgplot.Plot {
	p := &svgplot.Plot{
		Title: "Exchanges by shards, 10⁶ sessions",
		X:     svgplot.Axis{Label: "shards", Log: true, Ticks: ticksAt(shardCounts, strconv.Itoa)},
		Y:     svgplot.Axis{Label: "millions a second"},
	}
	for i, goroutines := range goroutineCounts {
		var points plotter.XYs
		for _, shards := range shardCounts {
			points = append(points, plotter.XY{X: float64(shards), Y: 1e3 / rs.median(shardsName(shards, goroutines), "ns/op")})
		}
		addLine(p, fmt.Sprintf("%d goroutines", goroutines), svgplot.Own(i), points)
	}
	return p
}

func ticksAt(values []int, label func(int) string) []plot.Tick {
	var ticks []plot.Tick
	for _, v := range values {
		ticks = append(ticks, plot.Tick{Value: float64(v), Label: label(v)})
	}
	return ticks
}

// plotMemory has the heaps of the engines with most sessions, and the running servers.
func plotMemory(rs results) *svgplot.Plot {
	p := &svgplot.Plot{Title: "Memory a session", Y: svgplot.Axis{Label: fmt.Sprintf("bytes, %d of them metadata", metaSize)}}
	if ns := rs.sizesOf(memoryName); len(ns) > 0 {
		most := ns[len(ns)-1]
		p.Title += fmt.Sprintf(": heap at %s, resident at 10⁶", powerOfTen(most))
		for i, engine := range engineOrder {
			addBar(p, engineNames[engine]+",\nheap", i == 0, rs.median(memoryName(engine, most), "B/session"))
		}
	}
	for i, c := range contenders[:2] {
		addBar(p, c.name+",\nresident", i == 0, rs.median(residentName(c.name, 1e6), "B/session"))
	}
	return p
}

// plotDurable has the throughput of the keepers.
func plotDurable(rs results) *svgplot.Plot {
	const connections = 64
	p := &svgplot.Plot{
		Title: fmt.Sprintf("Exchanges by when they are on disk, %d connections", connections),
		Y:     svgplot.Axis{Label: "requests/s"},
	}
	for _, k := range keepers {
		perSecond := rs.median(keeperName(k.name, k.keeps, connections), "req/s")
		addBar(p, k.name+",\n"+k.keeps, k.name == tokenServer.name, perSecond)
	}
	return p
}

func plotFullLoad(rs results) *svgplot.Plot {
	p := newLatencyPlot("Latency of 64 connections as fast as they go, one request at a time")
	for i, c := range contenders {
		addLine(p, c.name, styleOf(i), rs.percentilesOf(loadName(c.name, 1)))
	}
	return p
}

func plotHalfRate(rs results) *svgplot.Plot {
	p := newLatencyPlot("Latency at half the top rate")
	for _, c := range []struct {
		name, legend string
		style        svgplot.Style
	}{
		{caseLive, "token-server, 10⁶ more sessions at rest", svgplot.Own(0)},
		{caseExpiring, "token-server, these expire and are purged", svgplot.Own(1)},
		{caseFloor, "constant answers", svgplot.Peer(0)},
	} {
		addLine(p, c.legend, c.style, rs.percentilesOf(halfRateName(c.name)))
	}
	return p
}

// newLatencyPlot gives every nine of a percentile the same width, and every tenfold latency the same height.
func newLatencyPlot(title string) *svgplot.Plot {
	var percentiles []float64
	for _, name := range percentileNames {
		percentiles = append(percentiles, percentile(name))
	}
	return &svgplot.Plot{
		Title: title,
		X:     svgplot.PercentileAxis(percentiles...),
		Y:     svgplot.Axis{Label: "latency (ms)", Log: true},
	}
}

// percentilesOf returns milliseconds by nines.
func (rs results) percentilesOf(name string) plotter.XYs {
	var points plotter.XYs
	for _, p := range percentileNames {
		points = append(points, plotter.XY{X: svgplot.Nines(percentile(p)), Y: rs.median(name, p+"-us") / 1e3})
	}
	return points
}

// percentile returns the number in the name of a percentile: 99.9 in p99.9.
func percentile(name string) float64 {
	p, err := strconv.ParseFloat(name[1:], 64)
	if err != nil {
		panic(err) // they are constants
	}
	return p
}
