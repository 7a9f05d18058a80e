package svgplot

import (
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// legend tells what the lines are, in rows between the title and the axes.
type legend struct {
	style   text.Style
	entries []entry
}

// entry has a name behind a sample of what it names.
type entry struct {
	name    string
	samples []plot.Thumbnailer // one upon the other
}

const (
	sampleWidth = 36
	sampleGap   = 6 // to the name
	entryGap    = 20
	rowHeight   = 17
	legendGap   = 8 // above and below the legend

	// wider is how much wider than measured a name may be, in a font that is not ours.
	wider = 1.15
)

func (l *legend) add(e entry) { l.entries = append(l.entries, e) }

// drawAbove draws the legend within the area that is going to be the plot's, and gives the plot
// a padding for it.
func (l *legend) drawAbove(p *plot.Plot, area draw.Canvas) {
	for i, at := range l.place(p, area) {
		sample := draw.Canvas{Canvas: area.Canvas, Rectangle: at}
		sample.Max.X = at.Min.X + sampleWidth
		for _, s := range l.entries[i].samples {
			s.Thumbnail(&sample)
		}
		style := l.style
		style.YAlign = draw.YCenter
		area.FillText(style, vg.Point{X: sample.Max.X + sampleGap, Y: sample.Center().Y}, l.entries[i].name)
	}
}

// place returns where the entries are to be drawn. They begin at the left of the plot's data,
// and in a new row where they would leave the area.
func (l *legend) place(p *plot.Plot, area draw.Canvas) []vg.Rectangle {
	if len(l.entries) == 0 {
		return nil
	}
	data := p.DataCanvas(area)
	top := area.Max.Y - p.Title.TextStyle.Rectangle(p.Title.Text).Size().Y - legendGap
	x, y := data.Min.X, top
	var places []vg.Rectangle
	for _, e := range l.entries {
		w := sampleWidth + sampleGap + wider*l.style.Width(e.name)
		if x > data.Min.X && x+w > area.Max.X {
			x, y = data.Min.X, y-rowHeight
		}
		places = append(places, vg.Rectangle{Min: vg.Point{X: x, Y: y - rowHeight}, Max: vg.Point{X: x + w, Y: y}})
		x += w + entryGap
	}
	p.Title.Padding = top - (y - rowHeight) + 2*legendGap
	return places
}
