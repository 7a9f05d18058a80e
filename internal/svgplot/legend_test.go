package svgplot

import (
	"strings"
	"testing"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

func overlap(a, b vg.Rectangle) bool {
	return a.Min.X < b.Max.X && b.Min.X < a.Max.X && a.Min.Y < b.Max.Y && b.Min.Y < a.Max.Y
}

// TestLegendLiesClear: of title, axes, data and the picture's edge, and its entries of each other.
func TestLegendLiesClear(t *testing.T) {
	for _, test := range []struct {
		name  string
		names []string
	}{
		{"one", []string{"ours"}},
		{"short", []string{"ours", "map", "otter", "bigcache"}},
		{"long", []string{strings.Repeat("ours ", 10), strings.Repeat("theirs ", 10), "x"}},
		{"many", strings.Fields(strings.Repeat("operation ", 20))},
	} {
		p := &Plot{Title: "title", X: Axis{Label: "x"}, Y: Axis{Label: "y"}}
		for i, name := range test.names {
			p.AddLine(line(name, Peer(i)))
		}
		drawing, entries, err := p.build()
		if err != nil {
			t.Fatal(err)
		}
		area := inside(draw.New(vgsvg.New(width, height)))
		places := entries.place(drawing, area)
		if got, want := len(places), len(test.names); got != want {
			t.Fatalf("%s: %d entries, want %d", test.name, got, want)
		}
		data := drawing.DataCanvas(area)
		halfLabel := drawing.Y.Tick.Label.Height("0") / 2 // of the highest tick
		title := area.Max.Y - drawing.Title.TextStyle.Height(p.Title)
		for i, at := range places {
			if at.Min.X < area.Min.X || at.Max.X > area.Max.X || at.Min.Y < data.Max.Y+halfLabel || at.Max.Y > title {
				t.Errorf("%s: entry %d at %v, want above %v and below %v within %v", test.name, i, at, data.Max.Y+halfLabel, title, area.Rectangle)
			}
			for j := range i {
				if overlap(at, places[j]) {
					t.Errorf("%s: entries %d and %d overlap: %v and %v", test.name, j, i, places[j], at)
				}
			}
		}
	}
}
