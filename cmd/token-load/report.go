package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// report is what a run has found, as --json writes it. Counts, throughput and latencies are
// those of right answers to requests of the measurement; errors are those of the whole run.
type report struct {
	Address     string            `json:"address"`
	Loop        string            `json:"loop"` // closed or open
	Rate        int               `json:"rate"` // requests a second, 0 in a closed loop
	Connections int               `json:"connections"`
	Pipeline    int               `json:"pipeline"`
	Batch       int               `json:"batch"`
	Client      bool              `json:"client"`
	Sessions    int64             `json:"sessions"` // created before the load
	EndSessions int               `json:"sessions_at_end"`
	MetaSize    int               `json:"meta_size"`
	Mix         map[string]uint32 `json:"mix"`
	Seed        int               `json:"seed"`
	Checked     bool              `json:"checked"`

	PreloadSeconds float64 `json:"preload_seconds"`
	WarmUpSeconds  float64 `json:"warm_up_seconds"`
	Seconds        float64 `json:"seconds"`
	Interrupted    bool    `json:"interrupted"`

	Requests   int64                      `json:"requests"`
	Throughput float64                    `json:"throughput"` // requests a second
	Latency    latency                    `json:"latency_us"`
	Operations map[string]operationReport `json:"operations"`
	Behind     float64                    `json:"behind_us"`  // the longest that a request of the measurement left after its intended start
	NeverSent  int64                      `json:"never_sent"` // requests of the measurement whose intended start had passed; no latency has them

	Errors     []errorReport `json:"errors"`
	ErrorCount int64         `json:"error_count"`
	OK         bool          `json:"ok"`

	histograms map[string]*hdrhistogram.Histogram
}

type operationReport struct {
	Requests   int64   `json:"requests"`
	Throughput float64 `json:"throughput"`
	Errors     int64   `json:"errors"`
	Latency    latency `json:"latency_us"`
}

// latency is in microseconds.
type latency struct {
	Min   float64 `json:"min"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P75   float64 `json:"p75"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p99.9"`
	P9999 float64 `json:"p99.99"`
	Max   float64 `json:"max"`
}

// errorReport counts one kind of error of one operation; the operation is "-" for what concerns
// a connection.
type errorReport struct {
	Kind      string `json:"kind"`
	Operation string `json:"operation"`
	Count     int64  `json:"count"`
	Example   string `json:"example"` // the first answer or error of the kind
}

// allOperations is the name of the sum over the operations.
const allOperations = "all"

func newReport(l *load) *report {
	c := l.config
	r := &report{
		Address: c.Address, Loop: "closed", Rate: c.Rate, Connections: c.Connections, Pipeline: c.Pipeline, Batch: c.Batch, Client: c.Client,
		Sessions: l.recorder.created.Load(), MetaSize: c.MetaSize, Mix: map[string]uint32{}, Seed: c.Seed, Checked: !c.Unchecked,
		PreloadSeconds: l.preloaded.Seconds(), WarmUpSeconds: l.warmedUp().Seconds(), Seconds: l.measured().Seconds(),
		Interrupted: l.stopped.Load(), Operations: map[string]operationReport{}, Errors: []errorReport{},
		histograms: map[string]*hdrhistogram.Histogram{},
	}
	if c.Rate > 0 {
		r.Loop = "open"
	}
	for _, w := range l.workers {
		r.Behind = max(r.Behind, microseconds(float64(w.behind)))
		r.NeverSent += w.neverSent
		r.EndSessions += len(w.pool.sessions)
	}
	errorsOf := r.addErrors(l.faults())
	r.addOperations(l.recorder, c, errorsOf)
	return r
}

// addErrors returns how many errors each operation has.
func (r *report) addErrors(met faults) map[operation]int64 {
	errorsOf := map[operation]int64{}
	for _, key := range met.sorted() {
		known := met[key]
		r.Errors = append(r.Errors, errorReport{key.String(), key.op.String(), known.count, known.example})
		r.ErrorCount += known.count
		errorsOf[key.op] += known.count
	}
	r.OK = r.ErrorCount == 0
	return errorsOf
}

func (r *report) addOperations(rec *recorder, c *Config, errorsOf map[operation]int64) {
	all := newHistogram()
	for o := range operationCount {
		h := rec.latencies[o]
		if c.Mix.weights[o] > 0 {
			r.Mix[o.String()] = c.Mix.weights[o]
		}
		if h.TotalCount() == 0 && errorsOf[o] == 0 {
			continue
		}
		all.Merge(h)
		r.histograms[o.String()] = h
		r.Operations[o.String()] = operationReport{
			Requests: h.TotalCount(), Throughput: r.perSecond(h), Errors: errorsOf[o], Latency: newLatency(h),
		}
	}
	r.histograms[allOperations] = all
	r.Requests, r.Throughput, r.Latency = all.TotalCount(), r.perSecond(all), newLatency(all)
}

func (r *report) perSecond(h *hdrhistogram.Histogram) float64 {
	if r.Seconds == 0 {
		return 0
	}
	return float64(h.TotalCount()) / r.Seconds
}

func newLatency(h *hdrhistogram.Histogram) latency {
	if h.TotalCount() == 0 {
		return latency{}
	}
	at := func(percentile float64) float64 { return microseconds(float64(h.ValueAtPercentile(percentile))) }
	return latency{
		Min: microseconds(float64(h.Min())), Mean: microseconds(h.Mean()), Max: microseconds(float64(h.Max())),
		P50: at(50), P75: at(75), P90: at(90), P99: at(99), P999: at(99.9), P9999: at(99.99),
	}
}

func microseconds(nanoseconds float64) float64 { return nanoseconds / float64(time.Microsecond) }

// err returns errFaulty if the report has errors.
func (r *report) err() error {
	if r.OK {
		return nil
	}
	return errFaulty
}

func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// writeText writes the report for people. Its last line is OK or the number of errors.
func (r *report) writeText(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	p := message.NewPrinter(language.English) // for its 1,234,567
	r.writeHead(w, p)
	r.writeTable(w, p)
	r.writeErrors(w, p)
	return w.Flush()
}

func (r *report) writeHead(w io.Writer, p *message.Printer) {
	loop := "closed loop"
	if r.Loop == "open" {
		loop = p.Sprintf("open loop of %d requests/s", r.Rate)
	}
	p.Fprintf(w, "%s: %s, %d connections, %s, metadata of %d bytes, seed %s\n",
		r.Address, loop, r.Connections, r.together(), r.MetaSize, fmt.Sprint(r.Seed))
	p.Fprintf(w, "%d sessions created in %.2f s, %d at the end\n", r.Sessions, r.PreloadSeconds, r.EndSessions)
	p.Fprintf(w, "%d requests in %.2f s after a warm-up of %.2f s\n", r.Requests, r.Seconds, r.WarmUpSeconds)
	p.Fprintf(w, "throughput: %.0f requests/s\n", r.Throughput)
	if r.Loop == "open" {
		p.Fprintf(w, "behind the schedule: %.1f µs at most; %d requests never sent\n", r.Behind, r.NeverSent)
	}
	if r.NeverSent > 0 && !r.Interrupted {
		p.Fprintln(w, "the rate was not kept: the latencies lack those of the requests never sent")
	}
	if r.Interrupted {
		p.Fprintln(w, "interrupted before its end")
	}
}

// together says how requests travel together.
func (r *report) together() string {
	if r.Client {
		return "of the Go client"
	}
	if r.Batch > 1 {
		return fmt.Sprintf("batches of %d", r.Batch)
	}
	return fmt.Sprintf("pipeline %d", r.Pipeline)
}

func (r *report) writeTable(w io.Writer, p *message.Printer) {
	p.Fprint(w, "\nlatency in µs\trequests\tmean\tp50\tp75\tp90\tp99\tp99.9\tp99.99\tmax\t\n")
	row := func(name string, requests int64, l latency) {
		p.Fprintf(w, "%s\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t\n",
			name, requests, l.Mean, l.P50, l.P75, l.P90, l.P99, l.P999, l.P9999, l.Max)
	}
	for o := range operationCount {
		if op, ok := r.Operations[o.String()]; ok {
			row(o.String(), op.Requests, op.Latency)
		}
	}
	row(allOperations, r.Requests, r.Latency)
	p.Fprintln(w)
}

func (r *report) writeErrors(w io.Writer, p *message.Printer) {
	for _, e := range r.Errors {
		p.Fprintf(w, "%d × %s: %s, the first: %s\n", e.Count, e.Operation, e.Kind, e.Example)
	}
	switch {
	case r.ErrorCount == 1:
		p.Fprintln(w, "1 error")
	case r.ErrorCount > 1:
		p.Fprintf(w, "%d errors\n", r.ErrorCount)
	case r.Requests == 0:
		p.Fprintln(w, "no errors, but nothing was measured")
	case r.Checked:
		p.Fprintln(w, "OK: every answer was right")
	default:
		p.Fprintln(w, "OK: every status was right, nothing else was checked")
	}
}
