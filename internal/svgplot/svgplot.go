// Package svgplot writes plots as SVG, all of them of one size.
package svgplot

import (
	"io"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

const (
	width  = 8 * vg.Inch
	height = 5 * vg.Inch
	// right is room for what is beyond the end of the axis: half of the last label,
	// and of the last bar.
	right = 40
)

// Write writes p. Its error is that of w.
func Write(w io.Writer, p *plot.Plot) error {
	canvas := vgsvg.New(width, height)
	p.Draw(draw.Crop(draw.New(canvas), 0, -right, 0, 0))
	_, err := canvas.WriteTo(w)
	return err
}
