package svgplot

import (
	"image/color"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Style is how a line looks.
type Style struct {
	line draw.LineStyle
	dot  draw.GlyphStyle
}

var (
	// ownColor is that of this server, and of nothing else. It is the vermilion of Okabe and Ito,
	// which stays apart from the blues and grey of the peers for the colour-blind too.
	ownColor = color.RGBA{R: 0xD5, G: 0x5E, A: 0xFF}

	// peerColors are quieter, and differ in lightness.
	peerColors = []color.RGBA{
		{R: 0x6F, G: 0x8A, B: 0xA6, A: 0xFF},
		{R: 0x33, G: 0x47, B: 0x5B, A: 0xFF},
		{R: 0x8C, G: 0x8C, B: 0x8C, A: 0xFF},
	}
)

// Dashes and shapes tell lines apart where colours do not.
var (
	ownDashes  = [][]vg.Length{nil, {7, 4}}
	ownShapes  = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.RingGlyph{}}
	peerDashes = [][]vg.Length{{9, 3}, {2, 2}, {9, 3, 2, 3}, {5, 3}, {14, 3}, {5, 2, 2, 2, 2, 2}}
	peerShapes = []draw.GlyphDrawer{draw.SquareGlyph{}, draw.TriangleGlyph{}, draw.BoxGlyph{}, draw.PyramidGlyph{}}
)

// Own returns the style of the i-th line that was measured of this server, from 0 on; two differ.
func Own(i int) Style {
	return newStyle(ownColor, 2.5, ownDashes[i%len(ownDashes)], ownShapes[i%len(ownShapes)])
}

// Peer returns the style of the i-th line of something else, from 0 on; six differ.
func Peer(i int) Style {
	return newStyle(peerColors[i%len(peerColors)], 1.5, peerDashes[i%len(peerDashes)], peerShapes[i%len(peerShapes)])
}

func newStyle(c color.Color, width vg.Length, dashes []vg.Length, shape draw.GlyphDrawer) Style {
	return Style{
		line: draw.LineStyle{Color: c, Width: width, Dashes: dashes},
		dot:  draw.GlyphStyle{Color: c, Radius: 2 + width/2, Shape: shape},
	}
}
