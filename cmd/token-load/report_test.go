package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestJSONFields holds the names that programs rely on.
func TestJSONFields(t *testing.T) {
	f := startFake(t, new(fakeServer))
	var stdout, stderr bytes.Buffer
	execute(t.Context(), []string{"--json", "--address", f.address, "-c", "2", "--pipeline", "2", "--sessions", "20", "--warm-up", "0s", "-d", "100ms",
		"--mix", "exchange=1"}, &stdout, &stderr)
	var got map[string]any
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"throughput", "requests", "seconds", "connections", "pipeline", "sessions", "meta_size", "seed",
		"errors", "error_count", "ok", "operations", "latency_us", "behind_us", "never_sent"} {
		if _, ok := got[name]; !ok {
			t.Errorf("no field %q in %s", name, stdout.String())
		}
	}
	exchange := got["operations"].(map[string]any)["exchange"].(map[string]any)
	for _, name := range []string{"min", "mean", "p50", "p75", "p90", "p99", "p99.9", "p99.99", "max"} {
		if v, _ := exchange["latency_us"].(map[string]any)[name].(float64); v <= 0 {
			t.Errorf("exchange's %s is %v, want microseconds", name, v)
		}
	}
}

func TestTextEndsWithTheNumberOfErrors(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(operation, *fakeAnswer, http.ResponseWriter) bool
		code  int
		want  string
	}{
		{"none", nil, exitOK, "OK: every answer was right"},
		{"some", func(op operation, a *fakeAnswer, _ http.ResponseWriter) bool {
			if op == opExchange {
				a.status = 503
			}
			return true
		}, exitFailed, " errors"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := startFake(t, &fakeServer{spoil: test.spoil})
			var stdout, stderr bytes.Buffer
			code := execute(t.Context(), []string{"--address", f.address, "-c", "2", "--sessions", "20", "--warm-up", "0s", "-d", "100ms"}, &stdout, &stderr)
			lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
			if last := lines[len(lines)-1]; code != test.code || !strings.HasSuffix(last, test.want) {
				t.Errorf("exit code %d, last line %q, want %d, %q", code, last, test.code, test.want)
			}
			if stderr.Len() > 0 {
				t.Errorf("standard error %q, want nothing: neither progress nor more than the report", stderr.String())
			}
		})
	}
}

func TestFaultsAreMerged(t *testing.T) {
	example := func() string { return "first" }
	a, b := faults{}, faults{}
	lost, refused := faultKey{op: opExchange, fault: faultConnection}, faultKey{op: opPatch, fault: faultStatus, status: 503}
	a.add(lost, example)
	b.add(lost, example)
	b.add(refused, example)
	b.add(refused, example)
	b.add(refused, example)
	a.merge(b)
	if a[lost].count != 2 || a[refused].count != 3 || a[refused].example != "first" || b[refused].count != 3 {
		t.Errorf("merged: %+v and %+v, want 2 and 3", *a[lost], *a[refused])
	}
	if got := a.sorted(); got[0] != refused || got[1] != lost || got[0].String() != "wrong status 503" {
		t.Errorf("sorted: %v, want the most frequent first", got)
	}
}

func TestLatencyPercentiles(t *testing.T) {
	r := newRecorder()
	for i := range 10_000 {
		r.record([]sample{{latency: int64(i+1) * int64(time.Microsecond), op: opExchange}})
	}
	r.record([]sample{{latency: math.MaxInt64, op: opPatch}, {latency: -5, op: opPatch}})
	got := newLatency(r.latencies[opExchange])
	for _, test := range []struct{ got, want float64 }{
		{got.Min, 1}, {got.Mean, 5000}, {got.P50, 5000}, {got.P75, 7500}, {got.P90, 9000},
		{got.P99, 9900}, {got.P999, 9990}, {got.P9999, 9999}, {got.Max, 10_000},
	} {
		if math.Abs(test.got-test.want) > test.want/500 {
			t.Errorf("latency %v, want %v within 0.2 %%", test.got, test.want)
		}
	}
	if n := r.latencies[opPatch].TotalCount(); n != 2 {
		t.Errorf("%d latencies out of range are kept, want 2", n)
	}
}

func TestPlot(t *testing.T) {
	f := startFake(t, new(fakeServer))
	path := filepath.Join(t.TempDir(), "latency.svg")
	code, _ := runLoad(t, f, "-c", "2", "--sessions", "50", "--rate", "1000", "-d", "200ms", "--mix", "exchange=9,validate=1", "--plot", path, "--plot-title", "A < B")
	svg, err := os.ReadFile(path)
	if code != exitOK || err != nil {
		t.Fatalf("exit code %d, %v, want a plot", code, err)
	}
	var texts []string
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("not XML: %v", err)
		}
		if text, ok := token.(xml.CharData); ok {
			texts = append(texts, string(text))
		}
	}
	all := strings.Join(texts, "\n")
	for _, want := range []string{"A < B", "99.99 %", "50 %", "latency (ms)", "exchange", "validate", "all"} {
		if !strings.Contains(all, want) {
			t.Errorf("the plot's texts lack %q: %q", want, texts)
		}
	}
}

func TestPlotOfNothing(t *testing.T) {
	l := newLoad(&Config{Connections: 1, Pipeline: 1, MetaSize: 115})
	var svg bytes.Buffer
	if err := plotLatencies(&svg, "none", newReport(l)); err != nil || !strings.Contains(svg.String(), "</svg>") {
		t.Errorf("plotLatencies = %v, want an empty plot", err)
	}
}

func TestPlotThatCanNotBeWritten(t *testing.T) {
	var stdout, stderr bytes.Buffer
	path := filepath.Join(t.TempDir(), "none", "latency.svg")
	code := execute(t.Context(), []string{"--plot", path}, &stdout, &stderr)
	if code != exitFailed || !strings.Contains(stderr.String(), path) {
		t.Errorf("exit code %d, %q, want %d and the path, before any load", code, stderr.String(), exitFailed)
	}
}

func TestNines(t *testing.T) {
	for _, test := range []struct{ quantile, want float64 }{{0, 0}, {0.9, 1}, {0.99, 2}, {0.9999, 4}} {
		if got := nines(test.quantile); math.Abs(got-test.want) > 1e-9 {
			t.Errorf("nines(%v) = %v, want %v", test.quantile, got, test.want)
		}
		if got := quantile(test.want); math.Abs(got-test.quantile) > 1e-9 {
			t.Errorf("quantile(%v) = %v, want %v", test.want, got, test.quantile)
		}
	}
}

func TestProgressLine(t *testing.T) {
	l := newLoad(&Config{Connections: 1, Pipeline: 1, Sessions: 200, MetaSize: 115, WarmUp: time.Second, Duration: 10 * time.Second})
	l.recorder.created.Store(50)
	if got, want := l.progressLine(0, 1000), "sessions  [=======                       ]  25 %  1000/s  0 errors"; got != want {
		t.Errorf("preload: %q, want %q", got, want)
	}
	l.beginLoad()
	if got, want := l.progressLine(l.begin+int64(time.Second/2), 5), "warm-up   [===============               ]  50 %  5/s  0 errors"; got != want {
		t.Errorf("warm-up: %q, want %q", got, want)
	}
	l.recorder.faulty.Store(3)
	if got, want := l.progressLine(l.end+1, 5), "measuring [==============================] 100 %  5/s  3 errors"; got != want {
		t.Errorf("end: %q, want %q", got, want)
	}
}

func TestNoProgressWithoutATerminal(t *testing.T) {
	r, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer pipe.Close()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for name, w := range map[string]io.Writer{"pipe": pipe, "null device": null, "buffer": new(bytes.Buffer)} {
		if isTerminal(w) {
			t.Errorf("a %s counts as a terminal, want not", name)
		}
	}
}

func TestDrawProgress(t *testing.T) {
	l := newLoad(&Config{Connections: 1, Pipeline: 1, Sessions: 10, MetaSize: 115, Duration: time.Second})
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		drawProgress(w, l, done)
		w.Close()
	}()
	first := make([]byte, 200)
	n, _ := r.Read(first)
	close(done)
	rest, _ := io.ReadAll(r)
	text := string(first[:n]) + string(rest)
	if !strings.HasPrefix(text, clearLine+"sessions") && !strings.HasPrefix(text, clearLine) || !strings.Contains(text, "sessions  [") {
		t.Errorf("progress %q, want a bar", text)
	}
	if !strings.HasSuffix(text, clearLine) {
		t.Errorf("progress %q, want it cleared at the end", text)
	}
}
