package server

import (
	"strings"
	"testing"
	"time"

	"tokenserver/shard"
)

// goodLifetimes are lifetimes as JSON has them, with the seconds that they are.
var goodLifetimes = map[string]int{
	`30min`: 1800, `96h`: 345600, `12h`: 43200, `4days`: 345600, `1d`: 86400, `1h 30min`: 5400, `1h30m`: 5400, `1.5h`: 5400,
	`1min`: 60, `60s`: 60, `0.5min 30s`: 60, `60000000000ns`: 60, `15m`: 900, // less than the server's own may be
	`1800s`: 1800, `1800000ms`: 1800, `1800000000000ns`: 1800, ` 12h `: 43200, `\t1\t h`: 3600, `95h 59min 60s`: 345600,
	`\u0031\u0032\u0068`: 43200, `1\u0020h`: 3600, `1800000000µs`: 1800, `1800000000\u03bcs`: 1800, `0.5 h`: 1800, `007200s`: 7200,
	// Of 64 bytes, however they are spelled.
	`1h` + strings.Repeat(" ", 62): 3600, `1h` + strings.Repeat(`\u0020`, 62): 3600,
}

// badLifetimes are wrong values of a lifetime.
var badLifetimes = []string{
	`12`, `43200`, `0`, `-1`, `1e9`, `true`, `["12h"]`, `{"h":12}`,
	`""`, `" "`, `"0"`, `"0s"`, `"0h"`, `"12"`, `"43200"`, `"59s"`, `"0.9min"`, `"59999ms"`, `"59999999999ns"`, `"1ns"`,
	`"97h"`, `"96h 1ns"`, `"4days 1s"`, `"5d"`, `"100000h"`, `"999999999999999999h"`, `"1h 99999999999999999999999999999999999h"`,
	`"-12h"`, `"+12h"`, `"12h -1h"`, `"12hours"`, `"12H"`, `"12 h."`, `"1,5h"`, `".5h"`, `"1.h"`, `"1e1h"`, `"0x12h"`, `"1w"`, `"PT12H"`,
	`"h"`, `"12h\n"`, `"12h\u0000"`, `"12h,"`, `"` + marker + `"`, `"infinity"`, `"max"`,
	`"1h` + strings.Repeat(" ", 63) + `"`, `"1h` + strings.Repeat(`\u0020`, 63) + `"`, `"` + strings.Repeat("1s ", 1800) + `"`,
	`"` + strings.Repeat("0", 63) + `1h"`, `"0.` + strings.Repeat("0", 20_000) + `1h 1h"`,
}

func TestLifetimeRefused(t *testing.T) {
	store := newStore(t, shard.Config{})
	c := serve(t, Config{Store: store}).dial(t)
	bodies := []string{
		`{"meta":{},"lifetime":"12h","lifetime":"12h"}`,
		`{"lifetime":"12h","meta":{},"l\u0069fetime":"12h"}`,
		`{"\u006cifetime":"12h","meta":{},"lifetim\u0065":"13h"}`,
		`{"meta":{},"lifetime":null,"lifetime":"12h"}`,
		`{"meta":{},"lifetime":"12h","lifetime":null}`,
		`{"lifetime":"12h"}`,
	}
	for _, lifetime := range badLifetimes {
		bodies = append(bodies, `{"meta":{},"lifetime":`+lifetime+`}`, `{"lifetime":`+lifetime+`,"subject":"ann","meta":{}}`)
	}
	for _, body := range bodies {
		if r := c.do("POST", "/token", body); r.status != 422 || r.code() != "InvalidRequest" {
			t.Errorf("POST of %.200s: %v, want 422 InvalidRequest", body, r)
		}
	}
	if got := store.Stats(); got.Created != 0 || got.Sessions != 0 || got.Subjects != 0 {
		t.Errorf("%d sessions and %d subjects were created", got.Created, got.Subjects)
	}
	for _, body := range []string{`{"meta":{},"Lifetime":1}`, `{"LIFETIME":"1s","meta":{},"life":null,"lifetime ":""}`} { // are ignored
		if r := c.do("POST", "/token", body); r.status != 200 || !isToken(r.body) {
			t.Errorf("POST of %s: %v, want a token", body, r)
		}
	}
}

// A session's own lifetime is in place of the server's, to the nanosecond, and
// each exchange renews it.
func TestLifetimes(t *testing.T) {
	for text, seconds := range goodLifetimes {
		withPolicies(t, shard.Config{}, func(t *testing.T, d *direct) {
			r := d.do(t, "POST", "/token", `{"lifetime":"`+text+`","meta":{}}`)
			if !isToken(r.body) {
				t.Fatalf("POST with lifetime %q: %v", text, r)
			}
			tok, lifetime := r.body, time.Duration(seconds)*time.Second
			for range 3 {
				d.wantExpiresIn(t, tok, seconds)
				time.Sleep(lifetime - time.Second - 1)
				d.wantExpiresIn(t, tok, 2)
				time.Sleep(time.Second)
				d.wantExpiresIn(t, tok, 1)
				next, _, ok := d.do(t, "PUT", "/token", tokenBody(tok)).exchanged()
				if !ok {
					t.Fatalf("lifetime %q: PUT in the last moment failed", text)
				}
				tok = next
			}
			time.Sleep(lifetime)
			d.do(t, "POST", "/token/validate", tokenBody(tok)).wantInvalidToken(t)
			d.do(t, "PUT", "/token", tokenBody(tok)).wantInvalidToken(t)
		})
	}
}

// A lifetime is its own session's alone.
func TestLifetimesAreApart(t *testing.T) {
	withPolicies(t, shard.Config{Grace: time.Second}, func(t *testing.T, d *direct) {
		short := d.do(t, "POST", "/token", `{"meta":{},"lifetime":"30min"}`).body
		usual := d.do(t, "POST", "/token", `{"meta":{}}`).body
		long := d.do(t, "POST", "/token", `{"meta":{},"lifetime":"4days"}`).body
		d.wantExpiresIn(t, short, 1800)
		d.wantExpiresIn(t, usual, 7200)
		d.wantExpiresIn(t, long, 345600)
		time.Sleep(30 * time.Minute)
		d.do(t, "PUT", "/token", tokenBody(short)).wantInvalidToken(t)
		d.wantExpiresIn(t, usual, 5400)
		d.wantExpiresIn(t, long, 343800)
	})
}

// The absolute deadline is the same after a thousand exchanges, and a session's
// own lifetime does not go beyond it.
func TestMaxLifetime(t *testing.T) {
	const limit = 3 * time.Hour
	for _, fields := range []string{``, `,"lifetime":"30min"`, `,"lifetime":"96h"`} {
		withPolicies(t, shard.Config{MaxLifetime: limit, Grace: time.Second}, func(t *testing.T, d *direct) {
			end := time.Now().Add(limit)
			tok := d.do(t, "POST", "/token", `{"meta":{}`+fields+`}`).body
			lifetime := map[string]int{``: 7200, `,"lifetime":"30min"`: 1800, `,"lifetime":"96h"`: 10800}[fields]
			for n := range 1000 {
				left := int((time.Until(end) + time.Second - 1) / time.Second)
				d.wantExpiresIn(t, tok, min(lifetime, left))
				time.Sleep(limit / 1001)
				next, _, ok := d.do(t, "PUT", "/token", tokenBody(tok)).exchanged()
				if !ok {
					t.Fatalf("fields %q: exchange %d failed", fields, n)
				}
				d.do(t, "PUT", "/token", tokenBody(tok)).wantReplay(t, next, `{}`)
				tok = next
			}
			time.Sleep(time.Until(end) - 1)
			d.wantExpiresIn(t, tok, 1)
			time.Sleep(time.Nanosecond)
			d.do(t, "PUT", "/token", tokenBody(tok)).wantInvalidToken(t)
		})
	}
}
