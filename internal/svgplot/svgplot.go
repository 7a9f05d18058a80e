// Package svgplot writes plots of lines and bars as SVG. All of them have one size and one look:
// what was measured of this server has a colour of its own, the axes have round numbers, and the
// legend lies above the axes.
package svgplot

import (
	"bytes"
	"errors"
	"image/color"
	"io"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

const (
	width  = 8 * vg.Inch
	height = 5 * vg.Inch
	margin = 10
)

// Plot is a plot of lines or of bars.
type Plot struct {
	Title string
	X, Y  Axis // bars take the place of X

	lines []Line
	bars  []Bar
}

// Line is a line of a plot.
type Line struct {
	Name   string // in the legend
	Style  Style
	Dots   bool // at the points
	Points plotter.XYs
}

// Bar is a bar of a plot.
type Bar struct {
	Name  string // below it; may have several lines
	Own   bool   // it is of this server
	Value float64
	Text  string // above it
}

// AddLine adds a line, which lies above those that are added after it. One without points is
// left out.
func (p *Plot) AddLine(l Line) {
	if len(l.Points) > 0 {
		p.lines = append(p.lines, l)
	}
}

// AddBar adds a bar, to the right of those before.
func (p *Plot) AddBar(b Bar) { p.bars = append(p.bars, b) }

// Write writes the plot.
func (p *Plot) Write(w io.Writer) error {
	drawing, entries, err := p.build()
	if err != nil {
		return err
	}
	canvas := vgsvg.New(width, height)
	whole := draw.New(canvas)
	whole.SetColor(color.White)
	whole.Fill(whole.Rectangle.Path())
	area := inside(whole)
	entries.drawAbove(drawing, area)
	drawing.Draw(area)
	image := &bytes.Buffer{}
	if _, err := canvas.WriteTo(image); err != nil {
		return err
	}
	_, err = w.Write(bytes.ReplaceAll(image.Bytes(), []byte(fontFamily), []byte(fontFamilies)))
	return err
}

func inside(c draw.Canvas) draw.Canvas { return draw.Crop(c, margin, -margin, margin, -margin) }

// Fonts of the same widths, for those who look at the plot and have not the first.
const (
	fontFamily   = "font-family:Liberation Sans"
	fontFamilies = fontFamily + ",Arimo,Arial,Helvetica,sans-serif"
)

// build makes gonum's plot, without the legend.
func (p *Plot) build() (*plot.Plot, legend, error) {
	g := plot.New()
	g.BackgroundColor = nil
	g.Title.Text, g.Title.Padding = p.Title, vg.Points(8)
	entries := legend{style: g.Legend.TextStyle}
	for _, style := range []*text.Style{
		&g.Title.TextStyle, &g.X.Label.TextStyle, &g.X.Tick.Label, &g.Y.Label.TextStyle, &g.Y.Tick.Label, &entries.style,
	} {
		style.Font.Variant = "Sans"
	}
	g.Title.TextStyle.Font.Size = 13
	low, high := p.extent()
	if p.Y.Log && low.Y <= 0 || p.X.Log && low.X <= 0 {
		return nil, legend{}, errors.New("a logarithmic axis has no place for 0 and less")
	}
	p.X.apply(&g.X, low.X, high.X)
	p.Y.apply(&g.Y, low.Y, high.Y)
	if len(p.bars) > 0 {
		return g, entries, p.buildBars(g)
	}
	return g, entries, p.buildLines(g, &entries)
}

// extent returns the corners of what is plotted; without anything, low is above high.
func (p *Plot) extent() (low, high plotter.XY) {
	low, high = plotter.XY{X: math.Inf(1), Y: math.Inf(1)}, plotter.XY{X: math.Inf(-1), Y: math.Inf(-1)}
	add := func(points plotter.XYs) {
		for _, xy := range points {
			low.X, low.Y = min(low.X, xy.X), min(low.Y, xy.Y)
			high.X, high.Y = max(high.X, xy.X), max(high.Y, xy.Y)
		}
	}
	for _, l := range p.lines {
		add(l.Points)
	}
	for i, b := range p.bars {
		add(plotter.XYs{{X: float64(i), Y: b.Value}})
	}
	return low, high
}

func (p *Plot) buildLines(g *plot.Plot, entries *legend) error {
	g.Add(plotter.NewGrid())
	var drawn []plot.Plotter // the first above the others
	for _, l := range p.lines {
		line, dots, err := plotter.NewLinePoints(l.Points)
		if err != nil {
			return err
		}
		line.LineStyle, dots.GlyphStyle = l.Style.line, l.Style.dot
		entry := entry{name: l.Name, samples: []plot.Thumbnailer{line}}
		if l.Dots {
			drawn = append([]plot.Plotter{dots}, drawn...)
			entry.samples = append(entry.samples, dots)
		}
		drawn = append([]plot.Plotter{line}, drawn...)
		entries.add(entry)
	}
	g.Add(drawn...)
	return nil
}

const barWidth = 44

// buildBars needs no grid, as every bar has its number.
func (p *Plot) buildBars(g *plot.Plot) error {
	var names []plot.Tick
	for i, b := range p.bars {
		bar, err := plotter.NewBarChart(plotter.Values{b.Value}, barWidth)
		if err != nil {
			return err
		}
		bar.XMin, bar.Color, bar.LineStyle.Width = float64(i), peerColors[0], 0
		if b.Own {
			bar.Color = ownColor
		}
		g.Add(bar)
		names = append(names, plot.Tick{Value: float64(i), Label: b.Name})
	}
	g.X.Tick.Marker, g.X.Tick.Length, g.X.Padding, g.Y.Padding = plot.ConstantTicks(names), 0, 0, 0
	g.X.Min, g.X.Max = -0.5, float64(len(p.bars))-0.5
	return p.labelBars(g)
}

// labelBars writes the bars' texts above them.
func (p *Plot) labelBars(g *plot.Plot) error {
	var tops plotter.XYLabels
	for i, b := range p.bars {
		tops.XYs = append(tops.XYs, plotter.XY{X: float64(i), Y: b.Value})
		tops.Labels = append(tops.Labels, b.Text)
	}
	labels, err := plotter.NewLabels(tops)
	if err != nil {
		return err
	}
	for i := range labels.TextStyle {
		labels.TextStyle[i].XAlign, labels.TextStyle[i].Font.Variant = draw.XCenter, "Sans"
	}
	labels.Offset.Y = vg.Points(3)
	g.Add(labels)
	return nil
}
