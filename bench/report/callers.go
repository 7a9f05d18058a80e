package main

import (
	"fmt"
	"io"
	"strconv"
)

// callersBy are the ways in which a server knows who calls, from none on.
var callersBy = []string{"anybody", "secret", "tls", "tls+secret", "certificate"}

func callersName(by string, batch int) string {
	return fmt.Sprintf("Callers/by=%s/batch=%d", by, batch)
}

func handshakesName(by string) string { return "Handshakes/by=" + by }

// consoleName is the benchmark of ten viewers of the console, and of none.
const consoleName = "Console"

const serverTime = "server-ns/op"

func (rs results) callersTargets() []target {
	return []target{{
		what:   "server CPU of an exchange, ten viewers of the console against none",
		value:  rs.median(consoleName, "ratio"),
		limit:  1.05,
		unit:   " ×",
		atMost: true,
	}, {
		what:   "server CPU of an exchange with a secret, against one that anybody may make",
		value:  median(rs.roundRatios(callersName("secret", 1), callersName("anybody", 1), serverTime)),
		limit:  1.03,
		unit:   " ×",
		atMost: true,
	}}
}

func (r *report) writeCallers(w io.Writer) {
	fmt.Fprint(w, "## Callers, TLS and the console\n\nMicroseconds of the server's processor time an exchange, and times that where anybody may call.\n\n")
	rows := [][]string{{"callers", "one by one", "", "in batches of " + strconv.Itoa(batchItems), ""}}
	for _, by := range callersBy {
		row := []string{by}
		for _, batch := range []int{1, batchItems} {
			name := callersName(by, batch)
			row = append(row, number(r.results.median(name, serverTime)/1e3), number(r.results.ratio(name, callersName("anybody", batch), serverTime)))
		}
		rows = append(rows, row)
	}
	writeTable(w, rows...)
	fmt.Fprint(w, "The 99th percentile of honest callers' latency, in microseconds, while others make handshakes, and times that without them.\n\n")
	rows = [][]string{{"callers", "handshakes/s", "p99", "ratio"}}
	for _, by := range []string{"tls", "certificate"} {
		name := handshakesName(by)
		rows = append(rows, []string{
			by, number(r.results.median(name, "handshakes/s")), number(r.results.median(name, "p99-ns") / 1e3), number(r.results.median(name, "p99-ratio")),
		})
	}
	writeTable(w, rows...)
	fmt.Fprintf(w, "Ten viewers of the console: %s times the server's processor time an exchange that it takes without them.\n\n",
		number(r.results.median(consoleName, "ratio")))
}
