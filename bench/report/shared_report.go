package main

import (
	"fmt"
	"io"
	"strconv"
)

// sharedStoreRatios returns the store's exchanges a second against redis-benchmark's, one
// request a reply, in order of size.
func (rs results) sharedStoreRatios(callers int) []float64 {
	return rs.roundRatios(sharedStoreName(callers), sharedPeerName(callers, 1), "exchanges/s")
}

// sharedBatchRatios returns those in batches over HTTP against redis-benchmark's, pipelined as
// deep, in order of size.
func (rs results) sharedBatchRatios() []float64 {
	load, peer := rs[sharedBatchName]["req/s"], rs[sharedPeerName(batchConnections, batchItems)]["exchanges/s"]
	both := results{"load": {"rate": load}, "peer": {"rate": peer}}
	return both.roundRatios("load", "peer", "rate")
}

func (rs results) sharedTargets() (ts []target) {
	for _, callers := range sharedCallers {
		ts = append(ts, target{
			what:  fmt.Sprintf("shared store, %d callers, exchanges/s against redis-benchmark's EVALSHA of the same script", callers),
			value: median(rs.sharedStoreRatios(callers)), limit: 1.2, unit: " ×",
		})
	}
	return append(ts, target{
		what:  fmt.Sprintf("shared mode over HTTP in batches of %d, exchanges/s against the same, %d pipelined", batchItems, batchItems),
		value: median(rs.sharedBatchRatios()), limit: 0.7, unit: " ×",
	})
}

// sharedRows are the measurements, for readers.
var sharedRows = []struct{ title, name, rate, engine, server string }{
	{"the store, 1 caller", sharedStoreName(1), "exchanges/s", "engine-ns/exchange", "store-ns/exchange"},
	{"the store, 64 callers", sharedStoreName(64), "exchanges/s", "engine-ns/exchange", "store-ns/exchange"},
	{"the store, 512 callers", sharedStoreName(512), "exchanges/s", "engine-ns/exchange", "store-ns/exchange"},
	{"the store, batches of 64", sharedStoreBatchName, "exchanges/s", "engine-ns/exchange", "store-ns/exchange"},
	{"redis-benchmark, 64 connections", sharedPeerName(64, 1), "exchanges/s", "engine-ns/exchange", ""},
	{"redis-benchmark, 512 connections", sharedPeerName(512, 1), "exchanges/s", "engine-ns/exchange", ""},
	{"redis-benchmark, 64 pipelined", sharedPeerName(batchConnections, batchItems), "exchanges/s", "engine-ns/exchange", ""},
	{"HTTP, 64 connections", sharedName, "req/s", "engine-cpu-us/req", "cpu-us/req"},
	{"HTTP, batches of 64", sharedBatchName, "req/s", "engine-cpu-us/req", "cpu-us/req"},
}

func (r *report) writeShared(w io.Writer) {
	fmt.Fprintf(w, "## Shared mode\n\nExchanges of %s sessions with %d bytes of metadata on one redis-server, in turn, rounds: %d. "+
		"The engine was pinned to processor %d; the token server, or the store alone in a test, and the load shared processor %d. "+
		"redis-benchmark sends an EVALSHA of the same script for one of as many sessions, whose digest stays the same. "+
		"Processor time is of the engine, and of the token server or of the store with its callers.\n\n",
		powerOfTen(r.plan.sessions), metaSize, r.plan.rounds, serverCPU, loadCPU)
	rows := [][]string{{"exchanges by", "a second", "engine CPU, µs", "server CPU, µs"}}
	for _, row := range sharedRows {
		scale := 1.0
		if row.rate == "exchanges/s" {
			scale = 1e-3
		}
		cells := []string{row.title, number(r.results.median(row.name, row.rate))}
		for _, unit := range []string{row.engine, row.server} {
			cells = append(cells, number(scale*r.results.median(row.name, unit)))
		}
		rows = append(rows, cells)
	}
	writeTable(w, rows...)
	r.writeSharedRatios(w)
}

func (r *report) writeSharedRatios(w io.Writer) {
	rows := [][]string{{"exchanges/s", "ratio"}}
	for _, callers := range sharedCallers {
		rows = append(rows, []string{
			"the store against redis-benchmark, " + strconv.Itoa(callers) + " callers", spread(r.results.sharedStoreRatios(callers)),
		})
	}
	rows = append(rows, []string{"HTTP in batches against redis-benchmark, 64 pipelined", spread(r.results.sharedBatchRatios())})
	writeTable(w, rows...)
	name := sharedResidentName(r.plan.residentSessions)
	fmt.Fprintf(w, "Each of %s sessions takes %s bytes in the engine by its own account, and %s of resident memory.\n\n",
		powerOfTen(r.plan.residentSessions), number(r.results.median(name, "B/session")), number(r.results.median(name, "resident-B/session")))
}

// writeSharedCommands writes what measureShared runs.
func (r *report) writeSharedCommands(w io.Writer) {
	for _, g := range r.plan.sharedBenchmarks() {
		writeCommand(w, loadCPU, "go", append(append([]string{"test"}, g.sharedArgs("")...), "./valkey"))
	}
	writeCommand(w, serverCPU, "redis-server", sharedEngineArgs("127.0.0.1", "PORT"))
	writeCommand(w, loadCPU, "token-server", sharedServerArgs("127.0.0.1:PORT")("127.0.0.1", "PORT"))
	for _, load := range []shape{r.plan.batchLoad(), r.plan.fullLoad(connections, 1)} {
		writeCommand(w, loadCPU, tokenServer.load, tokenServer.loadArgs("127.0.0.1:PORT", load))
	}
}
