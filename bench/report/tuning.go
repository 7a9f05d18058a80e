package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
)

// tuning is a way to set up a Token Server or its load, to be compared with others of its group.
type tuning struct {
	group       string
	name        string // of its result
	title       string // for readers
	connections int
	pipeline    int
	env         []string // of the server
	flags       []string // of the server, besides those that all have
	mix         string   // of the load; empty for exchanges only
	unpinned    bool     // server and load share all processors
}

// The groups of tunings.
const (
	tunedLoad      = "load"
	tunedCollector = "collector" // of garbage
	tunedShards    = "shards"
)

// tunings are in the order of the report.
var tunings = []tuning{
	loadTuning(1, 1), loadTuning(8, 1), loadTuning(64, 1), loadTuning(512, 1),
	loadTuning(64, 4), loadTuning(64, 16), loadTuning(64, 64),
	collectorTuning("gogc=25", "GOGC=25"),
	collectorTuning("gogc=100", "GOGC=100"),
	collectorTuning("gogc=400", "GOGC=400"),
	collectorTuning("gogc=off/gomemlimit=1GiB", "GOGC=off", "GOMEMLIMIT=1GiB"),
	shardsTuning("1", "--shards", "1"),
	shardsTuning("default"),
}

func loadTuning(connections, pipeline int) tuning {
	return tuning{
		group: tunedLoad, name: fmt.Sprintf("connections=%d/pipeline=%d", connections, pipeline),
		title: strconv.Itoa(connections), connections: connections, pipeline: pipeline,
	}
}

// growingMix has creates in it, as an exchange leaves the collector nothing to do, and more of
// them than deletes, as a session that takes the place of another one leaves it nothing either.
const growingMix = "exchange=5,patch=1,create=3,delete=1"

// collectorTuning makes the server tell of each collection on standard error.
func collectorTuning(name string, env ...string) tuning {
	title := "`" + shellLine(env[0], env[1:]) + "`"
	return tuning{
		group: tunedCollector, name: name, title: title, connections: connections, pipeline: 1,
		env: append(env, "GODEBUG=gctrace=1"), mix: growingMix,
	}
}

// shardsTuning leaves the server all processors: with one, hardly any lock is ever waited for.
func shardsTuning(shards string, flags ...string) tuning {
	return tuning{
		group: tunedShards, name: "shards=" + shards, title: shards, connections: connections, pipeline: 1,
		flags: flags, unpinned: true,
	}
}

// firstTunings returns one of each group.
func firstTunings() []tuning {
	var firsts []tuning
	for _, t := range tunings {
		if !slices.ContainsFunc(firsts, func(f tuning) bool { return f.group == t.group }) {
			firsts = append(firsts, t)
		}
	}
	return firsts
}

func (t *tuning) resultName() string { return "Tuning/" + t.name }

// server returns what runs the server, which lies at a path. env turns into it as taskset does.
func (t *tuning) server(path string) (program string, args func(host, port string) []string) {
	own := func(host, port string) []string { return append(tokenServerArgs(host, port), t.flags...) }
	if len(t.env) == 0 {
		return path, own
	}
	return "env", func(host, port string) []string {
		return slices.Concat(t.env, []string{path}, own(host, port))
	}
}

// processors returns those of the server and of the load.
func (t *tuning) processors() (server, load int) {
	if t.unpinned {
		return anyCPU, anyCPU
	}
	return serverCPU, loadCPU
}

// contender returns the server with the load that it gets.
func (t *tuning) contender() *contender {
	c := tokenServer
	if t.mix != "" {
		c.loadFlags = []string{"--mix", t.mix, "--seed", "1"}
	}
	return &c
}

// tuningLoad is the load of a tuning.
func (p *plan) tuningLoad(t *tuning) shape {
	s := p.fullLoad(t.connections, t.pipeline)
	s.duration = p.tuningDuration
	if t.group == tunedCollector {
		s.sessions = p.collectorSessions
	}
	return s
}

// measureTuning measures each tuning once, those of a group in a row.
func (b *bench) measureTuning(ctx context.Context) error {
	for i := range b.plan.tunings {
		t := &b.plan.tunings[i]
		if err := b.measureTuned(ctx, t); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return nil
}

func (b *bench) measureTuned(ctx context.Context, t *tuning) error {
	program, args := t.server(b.programPath(tokenServer.program))
	onServer, onLoad := t.processors()
	s, err := startServer(ctx, onServer, program, args)
	if err != nil {
		return err
	}
	defer s.stop()
	m, err := b.runLoadOn(ctx, onLoad, s, t.contender(), b.plan.tuningLoad(t))
	if err != nil {
		return err
	}
	resident, err := s.resident()
	if err != nil {
		return err
	}
	s.stop()
	return b.writeTuned(t, m, resident, s.output.Bytes())
}

// writeTuned takes what the server has written since its start.
func (b *bench) writeTuned(t *tuning, m *measured, resident int64, output []byte) error {
	more := []value{{float64(resident) / (1 << 20), "resident-MiB"}}
	if t.group == tunedCollector {
		count, cpu := collections(output)
		more = append(more, value{float64(count), "collections"}, value{cpu, "gc-cpu-ms"})
	}
	return b.writeFullLoad(t.resultName(), m, more...)
}

// collection is a line of GODEBUG=gctrace=1, of which it takes the processor time in ms: of
// the stop before, of assists, background and idle workers, and of the stop after.
var collection = regexp.MustCompile(`(?m)^gc \d+ @.* ms clock, ([\d.]+)\+([\d.]+)/([\d.]+)/([\d.]+)\+([\d.]+) ms cpu,`)

// collections returns how many a server tells of, and what they took in ms.
func collections(output []byte) (count int, cpu float64) {
	for _, match := range collection.FindAllSubmatch(output, -1) {
		count++
		for _, number := range match[1:] {
			ms, _ := strconv.ParseFloat(string(number), 64) // digits and points only
			cpu += ms
		}
	}
	return count, cpu
}

func (r *report) writeTuning(w io.Writer) {
	p := r.plan
	fmt.Fprintf(w, "## Tuning\n\nWhat connections, pipelining and settings of the server change. As many requests as there can be, %[2]d bytes of metadata; "+
		"each line was measured once, for %[1]s: small differences are noise.\n\n", p.tuningDuration, metaSize)
	r.writeTunedLoad(w)
	r.writeTunedCollector(w)
	r.writeTunedShards(w)
}

func (r *report) writeTunedLoad(w io.Writer) {
	fmt.Fprintf(w, "Connections and pipelining, exchanges only, %s sessions, a processor each for server and load:\n\n", powerOfTen(r.plan.sessions))
	rows := [][]string{{"connections", "pipelined", "requests/s", "CPU µs a request", "busy, %", "p50, µs", "p99, µs"}}
	for _, t := range r.tuned(tunedLoad) {
		row := append([]string{t.title, strconv.Itoa(t.pipeline)}, r.tunedCells(&t, "req/s", "cpu-us/req", "busy-%", "p50-us", "p99-us")...)
		rows = append(rows, row)
	}
	writeTable(w, rows...)
}

func (r *report) writeTunedCollector(w io.Writer) {
	fmt.Fprintf(w, "The garbage collector, by the server's environment (the default is `GOGC=100`), with %s sessions and more, as the mix is `%s`, on the same processors. "+
		"Memory is the resident one at the end. Collections are all since the server's start, also while the first sessions came. "+
		"A GOMEMLIMIT takes the place of the one that the server gives itself, and half of it is then the default of `--max-memory`.\n\n",
		powerOfTen(r.plan.collectorSessions), growingMix)
	rows := [][]string{{"environment", "requests/s", "CPU µs a request", "p99, µs", "p99.9, µs", "memory, MiB", "CPU of collections, ms", "collections"}}
	for _, t := range r.tuned(tunedCollector) {
		rows = append(rows, append([]string{t.title},
			r.tunedCells(&t, "req/s", "cpu-us/req", "p99-us", "p99.9-us", "resident-MiB", "gc-cpu-ms", "collections")...))
	}
	writeTable(w, rows...)
}

func (r *report) writeTunedShards(w io.Writer) {
	fmt.Fprintf(w, "Shards, exchanges only, %d connections, %s sessions, server and load together on all processors:\n\n", connections, powerOfTen(r.plan.sessions))
	rows := [][]string{{"`--shards`", "requests/s", "CPU µs a request", "p50, µs", "p99, µs", "p99.9, µs"}}
	for _, t := range r.tuned(tunedShards) {
		rows = append(rows, append([]string{t.title}, r.tunedCells(&t, "req/s", "cpu-us/req", "p50-us", "p99-us", "p99.9-us")...))
	}
	writeTable(w, rows...)
}

// tuned returns the tunings of a group for which there are results.
func (r *report) tuned(group string) []tuning {
	var found []tuning
	for _, t := range tunings {
		if t.group == group && r.results[t.resultName()] != nil {
			found = append(found, t)
		}
	}
	return found
}

func (r *report) tunedCells(t *tuning, units ...string) []string {
	var cells []string
	for _, unit := range units {
		x := r.results.median(t.resultName(), unit)
		if unit == "collections" && isMeasured(x) {
			cells = append(cells, plain(x))
			continue
		}
		cells = append(cells, number(x))
	}
	return cells
}

// writeTuningCommands writes what measureTuning runs.
func (r *report) writeTuningCommands(w io.Writer) {
	for _, t := range r.plan.tunings {
		program, args := t.server(tokenServer.program)
		onServer, onLoad := t.processors()
		writeCommand(w, onServer, program, args("127.0.0.1", "PORT"))
		c := t.contender()
		writeCommand(w, onLoad, c.load, c.loadArgs("127.0.0.1:PORT", r.plan.tuningLoad(&t)))
	}
}
