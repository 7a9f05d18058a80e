package svgplot

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"gonum.org/v1/plot/plotter"
)

// written returns the elements' names and the texts of the plot.
func written(t *testing.T, p *Plot) (elements, texts []string) {
	t.Helper()
	image := &bytes.Buffer{}
	if err := p.Write(image); err != nil {
		t.Fatalf("Write = error %v", err)
	}
	for d := xml.NewDecoder(image); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return elements, texts
		}
		if err != nil {
			t.Fatalf("it is no XML: %v", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			elements = append(elements, token.Name.Local)
		case xml.CharData:
			texts = append(texts, string(token))
		}
	}
}

func line(name string, style Style) Line {
	return Line{Name: name, Style: style, Dots: true, Points: plotter.XYs{{X: 1, Y: 2}, {X: 3, Y: 41}}}
}

func TestWrite(t *testing.T) {
	lines, bars, empty := &Plot{Title: "A < B"}, &Plot{Title: "C"}, &Plot{Title: "D"}
	lines.AddLine(line("ours", Own(0)))
	lines.AddLine(Line{Name: "none"})
	bars.AddBar(Bar{Name: "ours,\ndurable", Own: true, Value: 12345, Text: "about 12,000"})
	for _, test := range []struct {
		plot *Plot
		want []string
	}{
		{lines, []string{"A < B", "ours", "0", "50"}},
		{bars, []string{"C", "ours,", "durable", "about 12,000", "15,000"}},
		{empty, []string{"D", "1"}},
	} {
		elements, texts := written(t, test.plot)
		if elements[0] != "svg" || len(elements) < 5 {
			t.Errorf("plot %s has the elements %v, want an svg", test.plot.Title, elements)
		}
		all := "\n" + strings.Join(texts, "\n") + "\n"
		for _, want := range test.want {
			if !strings.Contains(all, "\n"+want+"\n") {
				t.Errorf("plot %s lacks the text %q: %q", test.plot.Title, want, texts)
			}
		}
		if strings.Contains(all, "none") {
			t.Errorf("plot %s names a line without points", test.plot.Title)
		}
	}
}

func TestWriteFails(t *testing.T) {
	r, w := io.Pipe()
	r.Close()
	if err := new(Plot).Write(w); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Write = error %v, want %v", err, io.ErrClosedPipe)
	}
	p := &Plot{Y: Axis{Log: true}}
	p.AddLine(Line{Points: plotter.XYs{{X: 1, Y: 0}, {X: 2, Y: 1}}})
	if err := p.Write(io.Discard); err == nil {
		t.Error("Write of 0 on a logarithmic axis = no error")
	}
}

// TestOwnColor: only what is of this server has it, and all of that.
func TestOwnColor(t *testing.T) {
	const own = "#D55E00"
	for _, test := range []struct {
		name string
		add  func(*Plot)
		want bool
	}{
		{"own line", func(p *Plot) { p.AddLine(line("a", Own(0))) }, true},
		{"second own line", func(p *Plot) { p.AddLine(line("a", Own(1))) }, true},
		{"own bar", func(p *Plot) { p.AddBar(Bar{Own: true, Value: 1}) }, true},
		{"peers' lines", func(p *Plot) {
			for i := range 6 {
				p.AddLine(line("a", Peer(i)))
			}
		}, false},
		{"peer's bar", func(p *Plot) { p.AddBar(Bar{Value: 1}) }, false},
	} {
		p, image := &Plot{}, &bytes.Buffer{}
		test.add(p)
		if err := p.Write(image); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(image.String(), own); got != test.want {
			t.Errorf("%s: has %s: %v, want %v", test.name, own, got, test.want)
		}
	}
}

func TestLinesDifferWithoutColors(t *testing.T) {
	dashes := map[string]string{}
	for name, style := range map[string]Style{
		"own 0": Own(0), "own 1": Own(1), "peer 0": Peer(0), "peer 1": Peer(1), "peer 2": Peer(2),
		"peer 3": Peer(3), "peer 4": Peer(4), "peer 5": Peer(5),
	} {
		pattern := fmt.Sprint(style.line.Dashes)
		if other, ok := dashes[pattern]; ok {
			t.Errorf("%s and %s have the same dashes %s", name, other, pattern)
		}
		dashes[pattern] = name
	}
}
