package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Lines for every plot, of this server and of its peers.
const (
	oursPlotted = `BenchmarkExchange/engine=ours/sessions=10000-2 10 300 ns/op
BenchmarkExchange/engine=ours/sessions=1000000-2 10 500 ns/op
BenchmarkMemory/engine=ours/sessions=1000000-2 10 200 B/session
BenchmarkShards/shards=1/goroutines=64-2 10 100 ns/op
BenchmarkShards/shards=16/goroutines=64-2 10 50 ns/op
BenchmarkResident/server=token-server/sessions=1000000 1 190 B/session
BenchmarkKeep/server=token-server/keeps=always/connections=64 1 10000 req/s
BenchmarkHalfRate/case=live 1 100 p50-us 200 p99-us 500 p99.9-us 900 p99.99-us
BenchmarkLoad/server=token-server/pipeline=1 1 100 p50-us 200 p99-us 500 p99.9-us 900 p99.99-us
`
	peersPlotted = `BenchmarkExchange/engine=map/sessions=10000-2 10 300 ns/op
BenchmarkMemory/engine=map/sessions=1000000-2 10 200 B/session
BenchmarkResident/server=redis-server/sessions=1000000 1 290 B/session
BenchmarkKeep/server=redis-server/keeps=always/connections=64 1 10000 req/s
BenchmarkHalfRate/case=floor 1 100 p50-us 200 p99-us 500 p99.9-us 900 p99.99-us
BenchmarkLoad/server=redis-server/pipeline=1 1 100 p50-us 200 p99-us 500 p99.9-us 900 p99.99-us
`
)

// TestPlotsAreSVG: and what is ours has its colour in every plot, and nothing else has.
func TestPlotsAreSVG(t *testing.T) {
	const ownColor = "#D55E00"
	for _, test := range []struct {
		name, input string
		ours        bool
	}{
		{"all", oursPlotted + peersPlotted, true},
		{"ours", oursPlotted, true},
		{"peers", peersPlotted, false},
		{"nothing", "", false},
	} {
		rs := parsed(t, test.input)
		for _, p := range plots {
			image := &bytes.Buffer{}
			if err := p.make(rs).Write(image); err != nil {
				t.Errorf("plot of %s from %s: %v", p.name, test.name, err)
				continue
			}
			if got := strings.Contains(image.String(), ownColor); got != test.ours {
				t.Errorf("plot of %s from %s has our colour: %v, want %v", p.name, test.name, got, test.ours)
			}
			if err := checkSVG(image); err != nil {
				t.Errorf("plot of %s from %s: %v", p.name, test.name, err)
			}
		}
	}
}

// checkSVG looks for well-formed XML with an svg element and no number that is none.
func checkSVG(image *bytes.Buffer) error {
	if strings.Contains(image.String(), "NaN") || strings.Contains(image.String(), "Inf") {
		return errors.New("a coordinate is no number")
	}
	seen := false
	for d := xml.NewDecoder(image); ; {
		token, err := d.Token()
		if err == io.EOF && seen {
			return nil
		}
		if err != nil {
			return err
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "svg" {
			seen = true
		}
	}
}

func TestReplot(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "2026-11-24-amd-epyc")
	if err := os.WriteFile(prefix+".txt", []byte(oursPlotted), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := runReport(t.Context(), []string{"--plot", prefix + ".txt"}); err != nil {
		t.Fatal(err)
	}
	for _, p := range plots {
		if image, err := os.ReadFile(prefix + "-" + p.name + ".svg"); err != nil || len(image) == 0 {
			t.Errorf("plot of %s has %d bytes, %v, want some", p.name, len(image), err)
		}
	}
	for _, path := range []string{prefix + ".md", prefix, prefix + "-none.txt"} {
		if err := replot(path); err == nil {
			t.Errorf("replot(%s) = no error", path)
		}
	}
}
