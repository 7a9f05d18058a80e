package main

import (
	"io"
	"math"

	"github.com/HdrHistogram/hdrhistogram-go"
	"gonum.org/v1/plot/plotter"

	"tokenserver/internal/svgplot"
)

// topNines is where the plot ends: 99.99 %.
const topNines = 4

// plotLatencies writes an SVG of the latencies by percentile, a line for each operation and one
// for all.
func plotLatencies(w io.Writer, title string, r *report) error {
	p := svgplot.Plot{
		Title: title,
		X:     svgplot.PercentileAxis(0, 50, 90, 99, 99.9, 99.99),
		Y:     svgplot.Axis{Label: "latency (ms)"},
	}
	for i, name := range operationNames[:operationCount] {
		addLine(&p, name, svgplot.Peer(i), r.histograms[name])
	}
	addLine(&p, allOperations, svgplot.Own(0), r.histograms[allOperations])
	return p.Write(w)
}

func addLine(p *svgplot.Plot, name string, style svgplot.Style, h *hdrhistogram.Histogram) {
	if h != nil && h.TotalCount() > 0 {
		p.AddLine(svgplot.Line{Name: name, Style: style, Points: percentilePoints(h)})
	}
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
func nines(quantile float64) float64 { return svgplot.Nines(100 * quantile) }

func quantile(nines float64) float64 { return 1 - math.Pow(10, -nines) }
