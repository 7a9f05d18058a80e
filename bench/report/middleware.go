package main

import (
	"fmt"
	"io"
)

// webAppsBy are the ways in which a web application keeps sessions, from none on.
var webAppsBy = []string{"none", "securecookie", "session", "scs"}

func middlewareName(by string) string { return "Middleware/by=" + by }

const applicationTime = "app-ns/op"

func (rs results) middlewareTargets() []target {
	against := func(by string) float64 {
		return median(rs.roundRatios(middlewareName("session"), middlewareName(by), applicationTime))
	}
	return []target{{
		what:   "CPU of a web application with the middleware, against one with a cookie signed in memory",
		value:  against("securecookie"),
		limit:  1.5,
		unit:   " ×",
		atMost: true,
	}, {
		what:   "and against one with scs on Redis",
		value:  against("scs"),
		limit:  1,
		unit:   " ×",
		atMost: true,
	}}
}

func (r *report) writeMiddleware(w io.Writer) {
	fmt.Fprint(w, "## The Go middleware\n\nMicroseconds of a web application's processor time a page of 4 KiB, and times that with a cookie signed in memory.\n\n")
	rows := [][]string{{"sessions", "µs", "ratio"}}
	for _, by := range webAppsBy {
		name := middlewareName(by)
		rows = append(rows, []string{by, number(r.results.median(name, applicationTime) / 1e3), number(r.results.ratio(name, middlewareName("securecookie"), applicationTime))})
	}
	writeTable(w, rows...)
}
