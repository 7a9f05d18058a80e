package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// report is what a run has found.
type report struct {
	results results
	machine *machine
	plan    plan
	date    time.Time
}

// write writes the report and its plots.
func (r *report) write(out output) error {
	text := &bytes.Buffer{}
	r.writeText(text, out)
	return errors.Join(os.WriteFile(out.path(".md"), text.Bytes(), 0o644), writePlots(r.results, out.path("")))
}

// writeText writes the report in Markdown, for plots that lie beside it.
func (r *report) writeText(w io.Writer, out output) {
	r.writeHead(w, out)
	r.writeTargets(w)
	r.writeMachine(w)
	plot := func(name string) { fmt.Fprintf(w, "![%s](%s)\n\n", name, out.file("-"+name+".svg")) }
	r.writeExchange(w)
	plot("exchange")
	r.writeShards(w)
	plot("shards")
	r.writeMemory(w)
	plot("memory")
	r.writePolicies(w)
	r.writePurge(w)
	r.writeHandler(w)
	r.writeCallers(w)
	r.writeMiddleware(w)
	r.writeLoad(w)
	plot("latency-full")
	r.writeHalfRate(w)
	plot("latency-half")
	r.writeDurable(w)
	plot("durable")
	r.writeShared(w)
	r.writeTuning(w)
	r.writeCommands(w)
}

func (r *report) writeHead(w io.Writer, out output) {
	fmt.Fprintf(w, "# Benchmarks of %s, %s\n\n", r.date.Format("2 January 2006"), r.machine.cpu)
	if r.plan.quick {
		fmt.Fprint(w, "**A quick run, to try the measuring itself: its figures are worth nothing.**\n\n")
	}
	fmt.Fprintf(w, "Compare the figures of this page with each other and not with those of another machine. "+
		"They are medians, where there are several rounds; memory, purges, start-ups and tuning were measured once. A ratio of the server to a peer under load is the median of the rounds' ratios, with the lowest and the highest of them in brackets: "+
		"both sides of a round were measured within seconds of each other. "+
		"All lines that the figures come from are in [%[1]s](%[1]s), for `make bench-compare`.\n\n", out.file(".txt"))
}

func (r *report) writeTargets(w io.Writer) {
	fmt.Fprint(w, "## Targets\n\n")
	rows := [][]string{{"what", "target", "measured", "met"}}
	for _, t := range r.results.targets() {
		measured := number(t.value)
		if measured != nothing {
			measured += t.unit
		}
		rows = append(rows, []string{t.what, t.want(), measured, t.met()})
	}
	writeTable(w, rows...)
}

func (r *report) writeMachine(w io.Writer) {
	m := r.machine
	kind := "physical machine"
	if m.virtual {
		kind = "virtual machine"
	}
	fmt.Fprint(w, "## Machine and versions\n\n")
	rows := [][]string{
		{"processor", fmt.Sprintf("%s, %d cores, %s", m.cpu, m.cores, kind)},
		{"memory", fmt.Sprintf("%.1f GiB", float64(m.memory)/(1<<30))},
		{"kernel", m.kernel},
		{"transparent huge pages", m.hugePages},
		{"file system of the data", m.fileSystem},
		{"load average before", fmt.Sprintf("%.2f", m.load)},
	}
	for _, v := range m.versions {
		rows = append(rows, []string{v.name, v.version})
	}
	fmt.Fprint(w, "| | |\n|---|---|\n")
	for _, row := range rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
	}
	fmt.Fprintln(w)
}

// engineNames are those of the benchmarks' engines, for readers.
var engineNames = map[string]string{"ours": "Token Server", "map": "map + RWMutex", "otter": "otter", "bigcache": "bigcache"}

var (
	engineOrder = []string{"ours", "map", "otter", "bigcache"}
	sizes       = []int{1e4, 1e5, 1e6, most}
)

// sizesOf returns the numbers of sessions for which there are results.
func (rs results) sizesOf(name func(engine string, sessions int) string) []int {
	var found []int
	for _, n := range sizes {
		if rs[name("ours", n)] != nil {
			found = append(found, n)
		}
	}
	return found
}

func (r *report) writeExchange(w io.Writer) {
	fmt.Fprintf(w, "## An exchange in the store\n\nNanoseconds by live sessions, with %d bytes of metadata, picked uniformly at random, on all processors. "+
		"Ours has a random nonce and two digests in it; the peers look up, remove and insert under a new random token. "+
		"The engines took turns, each in a process of its own. Ours asks Linux for huge pages, the peers do not; bigcache can't remove and return in one step, so that two could win there. In brackets, how many times as long as ours, the median of the rounds.\n\n", metaSize)
	ns := r.results.sizesOf(exchangeName)
	rows := [][]string{sizesHead("engine", ns)}
	for _, engine := range engineOrder {
		row := []string{engineNames[engine]}
		for _, n := range ns {
			cell := number(r.results.median(exchangeName(engine, n), "ns/op"))
			if engine != "ours" {
				cell += " (" + number(median(r.results.roundRatios(exchangeName(engine, n), exchangeName("ours", n), "ns/op"))) + ")"
			}
			row = append(row, cell)
		}
		rows = append(rows, row)
	}
	writeTable(w, rows...)

	fmt.Fprint(w, "Each operation of ours at 10⁶ sessions in 64 shards:\n\n")
	rows = [][]string{{"operation", "ns", "allocations"}}
	for _, op := range []string{"exchange", "patch", "validate", "create", "delete"} {
		name := "Store/op=" + op + "/sessions=1000000/shards=64"
		rows = append(rows, []string{op, number(r.results.median(name, "ns/op")), number(r.results.median(name, "allocs/op"))})
	}
	writeTable(w, rows...)
}

// sizesHead returns the head of a table with a column for each number of sessions.
func sizesHead(first string, ns []int) []string {
	head := []string{first}
	for _, n := range ns {
		head = append(head, powerOfTen(n))
	}
	return head
}

var (
	shardCounts     = []int{1, 4, 16, 64, 256, 1024}
	goroutineCounts = []int{64, 256}
)

func shardsName(shards, goroutines int) string {
	return fmt.Sprintf("Shards/shards=%d/goroutines=%d", shards, goroutines)
}

func (r *report) writeShards(w io.Writer) {
	fmt.Fprint(w, "## Shards\n\nMillions of exchanges a second among 10⁶ sessions, by shards and by goroutines that exchange at the same time.\n\n")
	rows := [][]string{{"shards"}}
	for _, g := range goroutineCounts {
		rows[0] = append(rows[0], fmt.Sprintf("%d goroutines", g))
	}
	for _, shards := range shardCounts {
		if r.results[shardsName(shards, goroutineCounts[0])] == nil {
			continue
		}
		row := []string{strconv.Itoa(shards)}
		for _, g := range goroutineCounts {
			row = append(row, number(1e3/r.results.median(shardsName(shards, g), "ns/op")))
		}
		rows = append(rows, row)
	}
	writeTable(w, rows...)
}

func (r *report) writeMemory(w io.Writer) {
	fmt.Fprint(w, "## Memory\n\nBytes of heap a session, its metadata included, by sessions.\n\n")
	ns := r.results.sizesOf(memoryName)
	table := func(unit string) {
		rows := [][]string{sizesHead("engine", ns)}
		for _, engine := range engineOrder {
			row := []string{engineNames[engine]}
			for _, n := range ns {
				row = append(row, number(r.results.median(memoryName(engine, n), unit)))
			}
			rows = append(rows, row)
		}
		writeTable(w, rows...)
	}
	table("B/session")
	fmt.Fprint(w, "Milliseconds of processor time that a full garbage collection takes with them loaded.\n\n")
	table("gc-cpu-ms/op")
	r.writeResident(w)
}

func (r *report) writeResident(w io.Writer) {
	n := r.plan.residentSessions
	fmt.Fprintf(w, "Bytes of resident memory by which a running server grows for each of %s sessions.\n\n", powerOfTen(n))
	rows := [][]string{{"server", "bytes a session", "against Redis"}}
	for _, c := range contenders[:2] {
		rows = append(rows, []string{
			c.name, number(r.results.median(residentName(c.name, n), "B/session")),
			number(r.results.ratio(residentName(c.name, n), residentName("redis-server", n), "B/session")),
		})
	}
	writeTable(w, rows...)
}

func (r *report) writePurge(w io.Writer) {
	fmt.Fprint(w, "## Purge\n\n")
	rows := [][]string{{"expired", "among", "all, ms", "longest hold of a lock, µs"}}
	for _, n := range []int{1e6, most} {
		for _, expired := range []int{1e3, 1e4, 1e5} {
			name := purgeName(expired, n)
			if r.results[name] == nil {
				continue
			}
			rows = append(rows, []string{
				powerOfTen(expired), powerOfTen(n),
				number(r.results.median(name, "ns/op") / 1e6), number(r.results.median(name, "longest-hold-ns") / 1e3),
			})
		}
	}
	writeTable(w, rows...)
}

func (r *report) writeHandler(w io.Writer) {
	fmt.Fprint(w, "## The handler without a network\n\nNanoseconds a request, client included, over fasthttp's in-memory listener, beside a handler of constant bytes.\n\n")
	rows := [][]string{{"pipelined", "exchange", "constant", "ratio"}}
	for _, depth := range pipelines {
		exchange, constant := handlerName("exchange", depth), handlerName("constant", depth)
		rows = append(rows, []string{
			strconv.Itoa(depth), number(r.results.median(exchange, "ns/op")), number(r.results.median(constant, "ns/op")),
			number(r.results.ratio(exchange, constant, "ns/op")),
		})
	}
	writeTable(w, rows...)
}

func handlerName(handler string, depth int) string {
	return fmt.Sprintf("Handler/handler=%s/depth=%d", handler, depth)
}

func (r *report) writeLoad(w io.Writer) {
	fmt.Fprintf(w, "## Under load\n\n%d connections as fast as they go, %d bytes of metadata, %s sessions, rounds of %s: %d. "+
		"Every server was pinned to processor %d, Go programs with GOMAXPROCS=1, and the load to processor %d. "+
		"Every answer but the floor's was checked. For Redis an exchange is one EVALSHA on one key: GET, compare, SET with PX; its client makes the digests. "+
		"The floor is bare fasthttp with a constant body of the same size, under its own headers. "+
		"Processor time is the kernel's account of the server's process. Where a server was not busy all the time, the load was the slower side: compare the processor time, not the throughput.\n\n",
		connections, metaSize, powerOfTen(r.plan.sessions), r.plan.duration, r.plan.rounds, serverCPU, loadCPU)
	rows := [][]string{{"server", "pipelined", "requests/s", "CPU µs a request", "busy, %", "p50, µs", "p99, µs", "p99.9, µs"}}
	for _, pipeline := range pipelines {
		for _, c := range contenders {
			row := []string{c.name, strconv.Itoa(pipeline)}
			for _, unit := range []string{"req/s", "cpu-us/req", "busy-%", "p50-us", "p99-us", "p99.9-us"} {
				row = append(row, number(r.results.median(loadName(c.name, pipeline), unit)))
			}
			rows = append(rows, row)
		}
	}
	writeTable(w, rows...)
	r.writeLoadRatios(w)
}

func (r *report) writeLoadRatios(w io.Writer) {
	rows := [][]string{{"token-server against", "pipelined", "requests/s", "CPU a request"}}
	for _, pipeline := range pipelines {
		for _, peer := range contenders[1:] {
			row := []string{peer.name, strconv.Itoa(pipeline)}
			for _, unit := range []string{"req/s", "cpu-us/req"} {
				row = append(row, spread(r.results.roundRatios(loadName("token-server", pipeline), loadName(peer.name, pipeline), unit)))
			}
			rows = append(rows, row)
		}
	}
	writeTable(w, rows...)
}

func (r *report) writeHalfRate(w io.Writer) {
	p := r.plan
	rate := r.results.median(halfRateName(caseLive), "req/s")
	fmt.Fprintf(w, "## Latency while sessions expire\n\nMicroseconds at %s requests/s, half of the top rate, in an open loop: latency counts from when a request should have left. "+
		"The server holds %s sessions at rest beside those of the load. *expiring*: they all expire, and are purged, during the measurement, evenly within %s. *live*: they stay. "+
		"*floor*: constant answers, no sessions. The processors are shared out as above, and the purge runs every %s on that of the requests. A measurement that could not keep up its rate, or whose purge was not complete, was taken again, at most twice. Where the floor's p99.9 is not below that of *live*, the machine decides the tail, and the ratio says little about the purge.\n\n",
		number(rate), powerOfTen(p.expiring), p.expirySpread, purgeInterval)
	rows := [][]string{append([]string{"case"}, percentileNames...)}
	for _, name := range []string{caseFloor, caseLive, caseExpiring} {
		row := []string{name}
		for _, percentile := range percentileNames {
			row = append(row, number(r.results.median(halfRateName(name), percentile+"-us")))
		}
		rows = append(rows, row)
	}
	writeTable(w, rows...)
	ratios := r.results.roundRatios(halfRateName(caseExpiring), halfRateName(caseLive), "p99.9-us")
	fmt.Fprintf(w, "p99.9, expiring against live: %s.\n\n", spread(ratios))
}

// writeCommands writes what was run, for a host and port.
func (r *report) writeCommands(w io.Writer) {
	fmt.Fprint(w, "## Commands\n\n`make bench` does it all. This is what it runs, beside a server whose sessions expire and one that is filled with 10⁶; the exchanges engine by engine, in turns, and a new server for each load. With PORT for a free port and DIR for a new data directory:\n\n```sh\n")
	for _, g := range slices.Concat(r.plan.exchanges, r.plan.benchmarks) {
		fmt.Fprintln(w, shellLine("go test", append(g.args(""), "./bench")))
	}
	for _, c := range contenders {
		writeCommand(w, serverCPU, c.program, c.args("127.0.0.1", "PORT"))
		for _, pipeline := range pipelines {
			writeCommand(w, loadCPU, c.load, c.loadArgs("127.0.0.1:PORT", r.plan.fullLoad(connections, pipeline)))
		}
	}
	r.writeKeeperCommands(w)
	r.writeSharedCommands(w)
	r.writeTuningCommands(w)
	fmt.Fprint(w, "```\n")
}

// shellLine quotes what a shell would not take as it is.
func shellLine(program string, args []string) string {
	line := program
	for _, arg := range args {
		if arg == "" || strings.ContainsAny(arg, "^$()|?*{}' ") {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		line += " " + arg
	}
	return line
}
