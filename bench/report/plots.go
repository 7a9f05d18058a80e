package main

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"tokenserver/internal/svgplot"
)

// plotted is a plot of some results.
type plotted struct {
	name string // of its file
	make func(results) (*plot.Plot, error)
}

var plots = []plotted{
	{"exchange", plotExchange},
	{"shards", plotShards},
	{"memory", plotMemory},
	{"latency-full", plotFullLoad},
	{"latency-half", plotHalfRate},
	{"durable", plotDurable},
}

// draw writes the plot as an SVG.
func (p plotted) draw(w io.Writer, rs results) error {
	made, err := p.make(rs)
	if err != nil {
		return err
	}
	return svgplot.Write(w, made)
}

// newPlot has a legend at the top left and a Y axis from 0.
func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.Padding = vg.Points(8)
	p.Y.Min, p.Y.Tick.Marker = 0, plot.TickerFunc(plainTicks)
	p.Legend.Top, p.Legend.Left, p.Legend.Padding = true, true, vg.Points(2)
	p.Add(plotter.NewGrid())
	return p
}

// plainTicks are the usual ones, with the numbers as everywhere in the report.
func plainTicks(low, high float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(low, high)
	for i, tick := range ticks {
		if tick.Label != "" {
			ticks[i].Label = number(tick.Value)
		}
	}
	return ticks
}

// addLine adds what was measured of a line; its number is its color.
func addLine(p *plot.Plot, number int, name string, points plotter.XYs) error {
	var measured plotter.XYs
	for _, point := range points {
		if isMeasured(point.Y) {
			measured = append(measured, point)
		}
	}
	if len(measured) == 0 {
		return nil
	}
	line, dots, err := plotter.NewLinePoints(measured)
	if err != nil {
		return err
	}
	line.Width = vg.Points(1.5)
	line.Color, dots.Color = lineColor(number), lineColor(number)
	dots.Shape = draw.CircleGlyph{}
	p.Add(line, dots)
	p.Legend.Add(name, line, dots)
	return nil
}

func lineColor(number int) color.Color { return plotutil.DarkColors[number%len(plotutil.DarkColors)] }

func plotExchange(rs results) (*plot.Plot, error) {
	p := newPlot("An exchange in the store", "live sessions", "ns")
	p.X.Scale = plot.LogScale{}
	p.X.Min, p.X.Max = float64(sizes[0]), float64(sizes[0])*10
	p.X.Tick.Marker = ticksAt(sizes, powerOfTen)
	for i, engine := range engineOrder {
		var points plotter.XYs
		for _, n := range sizes {
			points = append(points, plotter.XY{X: float64(n), Y: rs.median(exchangeName(engine, n), "ns/op")})
		}
		if err := addLine(p, i, engineNames[engine], points); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func plotShards(rs results) (*plot.Plot, error) {
	p := newPlot("Exchanges by shards, 10⁶ sessions", "shards", "millions a second")
	p.X.Scale = plot.LogScale{}
	p.X.Min, p.X.Max = 1, 1024
	p.X.Tick.Marker = ticksAt(shardCounts, strconv.Itoa)
	p.Legend.Top = false
	for i, goroutines := range goroutineCounts {
		var points plotter.XYs
		for _, shards := range shardCounts {
			points = append(points, plotter.XY{X: float64(shards), Y: 1e3 / rs.median(shardsName(shards, goroutines), "ns/op")})
		}
		if err := addLine(p, i, fmt.Sprintf("%d goroutines", goroutines), points); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func ticksAt(values []int, label func(int) string) plot.ConstantTicks {
	var ticks plot.ConstantTicks
	for _, v := range values {
		ticks = append(ticks, plot.Tick{Value: float64(v), Label: label(v)})
	}
	return ticks
}

// plotMemory has the heaps of the engines with most sessions, and the running servers.
func plotMemory(rs results) (*plot.Plot, error) {
	var names []string
	var heights plotter.Values
	add := func(name string, bytes float64) {
		if isMeasured(bytes) {
			names, heights = append(names, name), append(heights, bytes)
		}
	}
	most := 0
	for _, n := range rs.sizesOf(memoryName) {
		most = n
	}
	for _, engine := range engineOrder {
		add(engineNames[engine], rs.median(memoryName(engine, most), "B/session"))
	}
	for _, c := range contenders[:2] {
		add(c.name+",\nresident", rs.median(residentName(c.name, 1e6), "B/session"))
	}
	title := "Memory a session, metadata of 115 bytes included"
	if most > 0 {
		title += fmt.Sprintf(": heap at %s, resident at 10⁶", powerOfTen(most))
	}
	p := newPlot(title, "", "bytes")
	return p, addBars(p, names, heights)
}

// plotDurable has the throughput of the keepers.
func plotDurable(rs results) (*plot.Plot, error) {
	const connections = 64
	var names []string
	var heights plotter.Values
	for _, k := range keepers {
		perSecond := rs.median(keeperName(k.name, k.keeps, connections), "req/s")
		if isMeasured(perSecond) {
			names, heights = append(names, k.name+",\n"+k.keeps), append(heights, perSecond)
		}
	}
	p := newPlot(fmt.Sprintf("Exchanges by when they are on disk, %d connections", connections), "", "requests/s")
	return p, addBars(p, names, heights)
}

// addBars adds bars with their heights above and their names below.
func addBars(p *plot.Plot, names []string, heights plotter.Values) error {
	if len(heights) == 0 {
		return nil
	}
	bars, err := plotter.NewBarChart(heights, vg.Points(40))
	if err != nil {
		return err
	}
	bars.Color, bars.LineStyle.Width = lineColor(0), 0
	labels, err := barLabels(heights)
	if err != nil {
		return err
	}
	p.Add(bars, labels)
	p.NominalX(names...)
	p.Y.Max *= 1.1
	return nil
}

// barLabels writes each bar's height above it.
func barLabels(heights plotter.Values) (*plotter.Labels, error) {
	var at plotter.XYLabels
	for i, h := range heights {
		at.XYs = append(at.XYs, plotter.XY{X: float64(i), Y: h})
		at.Labels = append(at.Labels, number(h))
	}
	labels, err := plotter.NewLabels(at)
	if err != nil {
		return nil, err
	}
	for i := range labels.TextStyle {
		labels.TextStyle[i].XAlign = draw.XCenter
	}
	labels.Offset.Y = vg.Points(3)
	return labels, nil
}

func plotFullLoad(rs results) (*plot.Plot, error) {
	p := newLatencyPlot("Latency of 64 connections as fast as they go, one request at a time")
	for i, c := range contenders {
		if err := addLine(p, i, c.name, rs.percentilesOf(loadName(c.name, 1))); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func plotHalfRate(rs results) (*plot.Plot, error) {
	p := newLatencyPlot("Latency at half the top rate")
	for i, c := range []struct{ name, legend string }{
		{caseFloor, "constant answers"},
		{caseLive, "token-server, 10⁶ more sessions at rest"},
		{caseExpiring, "token-server, these expire and are purged"},
	} {
		if err := addLine(p, i, c.legend, rs.percentilesOf(halfRateName(c.name))); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// newLatencyPlot gives every nine of a percentile the same room, and every tenfold latency.
func newLatencyPlot(title string) *plot.Plot {
	p := newPlot(title, "percentile", "latency (ms)")
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Y.Min, p.Y.Max = 0.01, 0.1
	var ticks plot.ConstantTicks
	for _, name := range percentileNames {
		ticks = append(ticks, plot.Tick{Value: nines(name), Label: name[1:] + " %"})
	}
	p.X.Tick.Marker = ticks
	p.X.Min, p.X.Max = ticks[0].Value, ticks[len(ticks)-1].Value
	return p
}

// percentilesOf returns milliseconds by nines.
func (rs results) percentilesOf(name string) plotter.XYs {
	var points plotter.XYs
	for _, percentile := range percentileNames {
		points = append(points, plotter.XY{X: nines(percentile), Y: rs.median(name, percentile+"-us") / 1e3})
	}
	return points
}

// nines returns how many nines a percentile has: 1 for p90, 2 for p99.
func nines(percentile string) float64 {
	p, err := strconv.ParseFloat(percentile[1:], 64)
	if err != nil {
		panic(err) // they are constants
	}
	return -math.Log10(1 - p/100)
}
