package server

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"tokenserver/shard"
)

// counted returns the counters by method and code.
func (s *served) counted() map[string]uint64 {
	counts := make(map[string]uint64)
	for _, r := range s.Stats().Requests {
		counts[fmt.Sprintf("%s %d", r.Method, r.Code)] += r.Count
	}
	return counts
}

func TestStats(t *testing.T) {
	store := newMishap(t)
	s := serve(t, Config{Store: store, Dump: true, MaxBody: maxBody})
	if got := s.Stats(); len(got.Requests) != 0 || got.Durations.Sum != 0 {
		t.Errorf("Stats() of a new server = %v", got)
	}
	want := make(map[string]uint64)
	send := func(text, method string, status int) {
		t.Helper()
		c := s.dial(t) // another connection, so that all stripes are used
		defer c.conn.Close()
		c.send(text)
		if r := c.receive(method); r.status != status {
			t.Errorf("%.60q: %v, want %d", text, r, status)
		}
		want[fmt.Sprintf("%s %d", method, status)]++
	}
	for range 20 {
		send(requestText("POST", "/token", `{"meta":{}}`), "POST", 200)
		send(requestText("POST", "/token", `{`), "POST", 400)
		send(requestText("POST", "/token", `{}`), "POST", 422)
		send(requestText("PUT", "/token", tokenBody(somewhere)), "PUT", 200)
		send(requestText("PUT", "/token", "", "Content-Type: x"), "PUT", 415)
		send(requestText("DELETE", "/token", tokenBody(somewhere)), "DELETE", 202)
		send(requestText("GET", "/healthz", ""), "GET", 200)
		send(requestText("HEAD", "/dump", ""), "HEAD", 202)
		send(requestText("GET", "/", ""), "GET", 404)
		send(requestText("OPTIONS", "/token", ""), "OPTIONS", 405)
	}
	send(head+"Expect: 100-continue\r\nContent-Length: 1000000\r\n\r\n", "PUT", 413)
	send(head+"Transfer-Encoding: identity\r\n\r\n", "PUT", 400)
	store.set(func(string) error { return errEngine })
	send(requestText("PUT", "/token", tokenBody(somewhere)), "PUT", 503)
	store.set(func(string) error { panic("a panic") })
	send(requestText("PUT", "/token", tokenBody(somewhere)), "PUT", 500)
	for _, text := range []string{requestText("PATCH", "/token", ""), requestText("BREW", "/token", "")} {
		send(text, "PATCH", 405)
		delete(want, "PATCH 405")
	}
	want["other 405"] = 2
	for code, text := range map[int]string{
		400: brokenHTTP["no Host"],
		413: requestText("PUT", "/token", large(1)),
		431: head + "X: " + large(0) + "\r\n\r\n",
	} {
		send(text, "other", code)
	}

	var total uint64
	for _, n := range want {
		total += n
	}
	// An answer may arrive before it is counted.
	eventually(t, "all requests are counted", func() bool { return maps.Equal(s.counted(), want) })
	// Three requests could not be read, and one was not asked for its body.
	if got, want := sum(s.Stats().Durations.Counts), total-4; got != want {
		t.Errorf("histogram has %d requests, want the %d that could be read", got, want)
	}
	if got := s.Stats().Durations.Sum; got <= 0 || got > time.Minute {
		t.Errorf("sum of the durations = %v", got)
	}
}

var errEngine = fmt.Errorf("engine is away")

func sum(counts []uint64) (n uint64) {
	for _, c := range counts {
		n += c
	}
	return n
}

// What is not counted would be counted as other.
func TestEveryStatusIsCounted(t *testing.T) {
	statuses := []int{200, 202, unavailable.status}
	for _, a := range answers {
		statuses = append(statuses, a.status)
	}
	for _, status := range append(statuses, 401, 403, 503) {
		if got := codes[codeIndex(status)]; got != status {
			t.Errorf("status %d is counted as %d", status, got)
		}
	}
}

func TestOtherStatusIsCountedTogether(t *testing.T) {
	var c counters
	var ctx fasthttp.RequestCtx
	for _, status := range []int{100, 201, 418, 599} {
		ctx.SetStatusCode(status)
		c.count(&ctx, otherMethod)
	}
	if got := c.requests(otherMethod, otherCode); got != 4 {
		t.Errorf("%d requests with an unexpected status are counted, want 4", got)
	}
}

func TestBoundIndex(t *testing.T) {
	for i, bound := range bounds {
		if got := boundIndex(bounds[:], bound); got != i {
			t.Errorf("boundIndex(%v) = %d, want %d", bound, got, i)
		}
		if got := boundIndex(bounds[:], bound+1); got != i+1 {
			t.Errorf("boundIndex(%v) = %d, want %d", bound+1, got, i+1)
		}
		if i > 0 && bounds[i-1] >= bound {
			t.Errorf("bound %v follows %v", bound, bounds[i-1])
		}
	}
	if got := boundIndex(bounds[:], 0); got != 0 {
		t.Errorf("boundIndex(0) = %d, want 0", got)
	}
	if got, want := boundIndex(bounds[:], time.Hour), len(bounds); got != want {
		t.Errorf("boundIndex(1h) = %d, want %d", got, want)
	}
}

// A duration is the time from when a request was read to its answer.
func TestDurations(t *testing.T) {
	const work = 30 * time.Millisecond
	store := &fakeStore{Store: newStore(t, shard.Config{}), before: func(string) error {
		time.Sleep(work)
		return nil
	}}
	s := serve(t, Config{Store: store})
	c := s.dial(t)
	c.send(requestText("POST", "/token", `{"meta":{}}`)[:40])
	time.Sleep(work) // is the client's
	c.send(requestText("POST", "/token", `{"meta":{}}`)[40:])
	c.receive("POST")
	eventually(t, "the request is counted", func() bool { return s.Stats().Durations.Sum > 0 })
	durations := s.Stats().Durations
	if durations.Sum < work {
		t.Errorf("duration = %v, want at least %v", durations.Sum, work)
	}
	if got := sum(durations.Counts[boundIndex(bounds[:], work):]); got != 1 {
		t.Errorf("histogram = %v, want one request from %v on", durations.Counts, work)
	}
}

// A health check that connects and resets, and a client that is lost in the middle of a
// request, have no answer that could be counted.
func TestResetConnectionsAreNotCounted(t *testing.T) {
	s := serve(t, Config{})
	for _, text := range []string{"", "GET /heal", head, head + "Content-Length: 20\r\n\r\n{", head + "Transfer-Encoding: chunked\r\n\r\n5\r\n{", head + "Transfer-Encoding: chunked\r\n\r\n5\r"} {
		for range 5 {
			c := s.dial(t)
			if text != "" {
				c.send(text)
				time.Sleep(5 * time.Millisecond) // so that the server reads it
			}
			if err := c.conn.(*net.TCPConn).SetLinger(0); err != nil {
				t.Fatal(err)
			}
			c.conn.Close()
		}
	}
	s.dial(t).do("GET", "/healthz", "")
	for giveUp := time.Now().Add(10 * time.Second); s.Stats().Connections > 1; time.Sleep(time.Millisecond) {
		if time.Now().After(giveUp) {
			t.Fatalf("%d connections are left, want 1", s.Stats().Connections)
		}
	}
	if got, want := s.counted(), map[string]uint64{"GET 200": 1}; !maps.Equal(got, want) {
		t.Errorf("counted are %v, want %v", got, want)
	}
}

// Bounds are what dashboards are made of: those that have been there stay.
func TestBoundsOfDurations(t *testing.T) {
	if first, last := bounds[0], bounds[len(bounds)-1]; first != time.Microsecond || last != 10*time.Second {
		t.Errorf("bounds are %v … %v, want 1µs … 10s", first, last)
	}
	inMemory := 0
	for _, bound := range bounds {
		if bound <= time.Millisecond {
			inMemory++
		}
	}
	if inMemory < 9 || inMemory > 11 {
		t.Errorf("%d bounds are up to a millisecond, want about 10", inMemory)
	}
	for _, micros := range []int{50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000} {
		if !slices.Contains(bounds[:], time.Duration(micros)*time.Microsecond) {
			t.Errorf("there is no bound at %d µs", micros)
		}
	}
}

// Quantiles of what was counted are right to 5 %, wherever it lies.
func TestDurationsAreFine(t *testing.T) {
	for d := 400 * time.Nanosecond; d < 10*time.Second; d += 1 + d/97 {
		part := partIndex(d)
		least, most := time.Duration(0), partBounds[part]
		if part > 0 {
			least = partBounds[part-1]
		}
		if d < least || d > most+1 {
			t.Fatalf("%v is counted from %v to %v", d, least, most)
		}
		if middle := (least + most) / 2; (middle - d).Abs() > d/20 {
			t.Fatalf("%v is counted as %v, over 5 %% off", d, middle)
		}
		if coarse := boundIndex(bounds[:], d); part/parts != coarse {
			t.Fatalf("%v is in bucket %d for Durations, and %d for Stats", d, part/parts, coarse)
		}
	}
	if got, want := partIndex(time.Minute), len(partBounds); got != want {
		t.Errorf("place of a minute = %d, want the last, %d", got, want)
	}
}
