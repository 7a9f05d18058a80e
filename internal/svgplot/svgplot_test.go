package svgplot

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"testing"

	"gonum.org/v1/plot"
)

func TestWrite(t *testing.T) {
	image := &bytes.Buffer{}
	if err := Write(image, plot.New()); err != nil {
		t.Fatalf("Write = error %v", err)
	}
	d := xml.NewDecoder(image)
	elements := 0
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("it is no XML: %v", err)
		}
		if start, ok := tok.(xml.StartElement); ok {
			if elements++; elements == 1 && start.Name.Local != "svg" {
				t.Errorf("it begins with %s, want svg", start.Name.Local)
			}
		}
	}
	if elements < 2 {
		t.Errorf("it has %d elements", elements)
	}
}

func TestWriteFails(t *testing.T) {
	r, w := io.Pipe()
	r.Close()
	if err := Write(w, plot.New()); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Write = error %v, want %v", err, io.ErrClosedPipe)
	}
}
