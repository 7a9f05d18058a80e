package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Names of benchmarks in ./bench.

func durableName(store, fsync string, goroutines int) string {
	return fmt.Sprintf("Durable/fsync=%s/goroutines=%d/store=%s", fsync, goroutines, store)
}

func startUpName(sessions int) string { return fmt.Sprintf("StartUp/sessions=%d", sessions) }

const syncName = "Sync"

func policyName(policy string) string { return "Policy/policy=" + policy + "/sessions=1000000" }

func policyMemoryName(policy string) string {
	return "PolicyMemory/policy=" + policy + "/sessions=1000000"
}

func (r *report) writeDurable(w io.Writer) {
	fmt.Fprint(w, "## Durable mode\n\n")
	fmt.Fprintf(w, "As many requests as there can be, of %s sessions in a new data directory, rounds of %s: %d. Here servers and loads all may use all processors; Redis executes on one thread, as it comes. "+
		"*always*: an answer waits until the disk has what it says, with `appendfsync always` for Redis. *everysec*: the disk has it within a second. *memory*: not at all. "+
		"What the flags under [Commands](#commands) do not say is at its default. A sync of %d bytes by one writer takes %s µs on this disk.\n\n",
		powerOfTen(r.plan.sessions), r.plan.duration, r.plan.rounds, syncBytes, number(r.results.median(syncName, "ns/op")/1e3))
	rows := [][]string{{"server", "keeps", "connections", "requests/s", "CPU µs a request", "p50, µs", "p99, µs", "p99.9, µs"}}
	for _, connections := range keeperConnections {
		for _, k := range keepers {
			row := []string{k.name, k.keeps, strconv.Itoa(connections)}
			for _, unit := range []string{"req/s", "cpu-us/req", "p50-us", "p99-us", "p99.9-us"} {
				row = append(row, number(r.results.median(keeperName(k.name, k.keeps, connections), unit)))
			}
			rows = append(rows, row)
		}
	}
	writeTable(w, rows...)
	r.writeKeeperRatios(w)
	r.writeDurableStore(w)
	r.writeStartUp(w)
}

// syncBytes is what BenchmarkSync syncs: a session's value.
const syncBytes = 26 + metaSize

// keeperPairs are the comparisons that are aimed at.
var keeperPairs = []struct {
	what               string
	keeps              string // of the Token Server
	other, othersKeeps string
	limit              float64
	aim                string
}{
	{"--fsync always against Redis with appendfsync always", keepsAlways, "redis-server", keepsAlways, 1, "the aim is 1.2"},
	{"--fsync everysec against memory mode", keepsEverySec, "token-server", keepsMemory, 0.7, ""},
}

// keeperRatios returns those of each round's throughput, in order of size.
func (rs results) keeperRatios(pair, connections int) []float64 {
	p := keeperPairs[pair]
	return rs.roundRatios(keeperName("token-server", p.keeps, connections), keeperName(p.other, p.othersKeeps, connections), "req/s")
}

func (r *report) writeKeeperRatios(w io.Writer) {
	rows := [][]string{{"requests/s", "connections", "ratio"}}
	for i, pair := range keeperPairs {
		for _, connections := range keeperConnections {
			rows = append(rows, []string{pair.what, strconv.Itoa(connections), spread(r.results.keeperRatios(i, connections))})
		}
	}
	writeTable(w, rows...)
}

var fsyncs = []string{keepsAlways, keepsEverySec}

// storeRatios returns our exchanges a second against Pebble's writes, in order of size.
func (rs results) storeRatios(fsync string, goroutines int) []float64 {
	return rs.roundRatios(durableName("pebble", fsync, goroutines), durableName("ours", fsync, goroutines), "ns/op")
}

func (r *report) writeDurableStore(w io.Writer) {
	fmt.Fprint(w, "The store alone, without a network, beside bare Pebble with the same options and the same values, in thousands a second. "+
		"Pebble gets a batch for each write and gathers only their syncs; ours decides first, with a random nonce and two digests, and then writes many changes in one batch.\n\n")
	rows := [][]string{{"--fsync", "goroutines", "exchanges", "Pebble's writes", "ratio"}}
	for _, fsync := range fsyncs {
		for _, goroutines := range goroutineCounts {
			thousands := func(store string) string {
				return number(1e6 / r.results.median(durableName(store, fsync, goroutines), "ns/op"))
			}
			rows = append(rows, []string{
				fsync, strconv.Itoa(goroutines), thousands("ours"), thousands("pebble"), spread(r.results.storeRatios(fsync, goroutines)),
			})
		}
	}
	writeTable(w, rows...)
}

func (r *report) writeStartUp(w io.Writer) {
	fmt.Fprint(w, "Opening a data directory that was closed in good order, with its files in the system's cache:\n\n")
	rows := [][]string{{"sessions", "seconds", "bytes of disk a session"}}
	for _, n := range []int{1e6, most} {
		name := startUpName(n)
		if r.results[name] != nil {
			rows = append(rows, []string{powerOfTen(n), number(r.results.median(name, "ns/op") / 1e9), number(r.results.median(name, "disk-B/session"))})
		}
	}
	writeTable(w, rows...)
}

// policies are those of ./bench, for readers.
var policies = []struct{ name, title string }{
	{"none", "none"},
	{"grace", "`--grace 5s`"},
	{"subject", "a subject each, `--max-lifetime 24h`"},
}

func (r *report) writePolicies(w io.Writer) {
	fmt.Fprint(w, "## Session policies\n\nWhat they cost in the store, at 10⁶ sessions: an exchange and the heap. In brackets, against none.\n\n")
	rows := [][]string{{"policy", "ns", "bytes a session", "allocations"}}
	for _, p := range policies {
		against := func(name, none, unit string) string {
			return fmt.Sprintf("%s (%s)", number(r.results.median(name, unit)), number(r.results.ratio(name, none, unit)))
		}
		rows = append(rows, []string{
			p.title, against(policyName(p.name), policyName("none"), "ns/op"),
			against(policyMemoryName(p.name), policyMemoryName("none"), "B/session"),
			number(r.results.median(policyName(p.name), "allocs/op")),
		})
	}
	writeTable(w, rows...)
}

// writeKeeperCommands writes what measureDurable runs, with DIR for a new data directory.
func (r *report) writeKeeperCommands(w io.Writer) {
	for _, k := range keepers {
		writeCommand(w, anyCPU, k.program, k.allArgs("127.0.0.1", "PORT", "DIR"))
		for _, connections := range keeperConnections {
			writeCommand(w, anyCPU, k.load, k.loadArgs("127.0.0.1:PORT", r.plan.fullLoad(connections, 1)))
		}
	}
}

// writeCommand writes a line for a shell.
func writeCommand(w io.Writer, cpu int, program string, args []string) {
	env, words := commandOn(cpu, program, args)
	words = append(env, words...)
	fmt.Fprintln(w, strings.TrimSpace(shellLine(words[0], words[1:])))
}
