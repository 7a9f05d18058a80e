package main

import (
	"io"
	"math"

	"github.com/HdrHistogram/hdrhistogram-go"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"

	"tokenserver/internal/svgplot"
)

// topNines is where the plot ends: 99.99 %.
const topNines = 4

// plotLatencies writes an SVG of the latencies by percentile, a line for each operation and one
// for all. Every nine of the percentile takes the same room, as in plots of HdrHistogram.
func plotLatencies(w io.Writer, title string, r *report) error {
	p := plot.New()
	p.Title.Text = title
	p.X.Label.Text = "percentile"
	p.X.Min, p.X.Max = 0, topNines
	p.X.Tick.Marker = percentileTicks
	p.Y.Label.Text = "latency (ms)"
	p.Y.Min = 0
	p.Legend.Top, p.Legend.Left, p.Legend.Padding = true, true, vg.Points(2)
	p.Add(plotter.NewGrid())
	for i, name := range append(operationNames[:operationCount:operationCount], allOperations) {
		if err := addLine(p, name, i+1, r.histograms[name]); err != nil {
			return err
		}
	}
	return svgplot.Write(w, p)
}

func addLine(p *plot.Plot, name string, color int, h *hdrhistogram.Histogram) error {
	if h == nil || h.TotalCount() == 0 {
		return nil
	}
	line, err := plotter.NewLine(percentilePoints(h))
	if err != nil {
		return err
	}
	line.Width = vg.Points(1.5)
	if name == allOperations {
		line.Dashes = plotutil.Dashes(1)
	} else {
		line.Color = plotutil.DarkColors[color]
	}
	p.Add(line)
	p.Legend.Add(name, line)
	return nil
}

// percentilePoints has nines for X and milliseconds for Y. It ends where the samples do: with
// a hundred of them there is no 99.9th percentile.
func percentilePoints(h *hdrhistogram.Histogram) plotter.XYs {
	last := min(nines(1-1/float64(h.TotalCount())), topNines)
	const steps = 400
	points := make(plotter.XYs, steps+1)
	for i := range points {
		x := last * float64(i) / steps
		points[i].X = x
		points[i].Y = float64(max(h.ValueAtQuantile(100*quantile(x)), h.Min())) / 1e6
	}
	return points
}

// nines returns how many nines a quantile has: 1 for 0.9, 2 for 0.99.
func nines(quantile float64) float64 { return -math.Log10(1 - quantile) }

func quantile(nines float64) float64 { return 1 - math.Pow(10, -nines) }

var percentileTicks = plot.ConstantTicks{
	{Value: 0, Label: "0 %"},
	{Value: nines(0.5), Label: "50 %"},
	{Value: nines(0.9), Label: "90 %"},
	{Value: nines(0.99), Label: "99 %"},
	{Value: nines(0.999), Label: "99.9 %"},
	{Value: topNines, Label: "99.99 %"},
}
