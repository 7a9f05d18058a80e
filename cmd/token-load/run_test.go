package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestGoodServer(t *testing.T) {
	tests := []struct {
		name string
		args []string
	}{
		{"closed", nil},
		{"closed, pipelined", []string{"--pipeline", "16"}},
		{"open", []string{"--rate", "2000"}},
		{"open, pipelined", []string{"--rate", "3000", "--pipeline", "8"}},
		{"closed, in batches", []string{"--batch", "16"}},
		{"open, in batches", []string{"--rate", "3000", "--batch", "8"}},
		{"closed, by the client", []string{"--client"}},
		{"open, by the client", []string{"--client", "--rate", "2000"}},
		{"large batches", []string{"--batch", "50", "--meta-size", "2000"}},
		{"large metadata", []string{"--pipeline", "8", "--meta-size", "20000"}},
		{"smallest metadata", []string{"--meta-size", fmt.Sprint(minMetaSize)}},
		{"as many sessions as a batch needs", []string{"--connections", "1", "--pipeline", "50", "--sessions", "50"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := startFake(t, new(fakeServer))
			args := append([]string{"--connections", "4", "--sessions", "200", "--mix", everyOperation, "-d", "300ms"}, test.args...)
			code, r := runLoad(t, f, args...)
			if code != exitOK || !r.OK || r.ErrorCount != 0 {
				t.Errorf("exit code %d, errors %+v, want none", code, r.Errors)
			}
			for o := range operationCount {
				if got := r.Operations[o.String()]; got.Requests == 0 || got.Latency.P9999 < got.Latency.P50 || got.Latency.Min <= 0 {
					t.Errorf("operation %s: %+v, want requests and latencies", o, got)
				}
			}
			if got := float64(r.Requests) / r.Seconds; math.Abs(got-r.Throughput) > 1 {
				t.Errorf("throughput %v, want %d requests / %v s", r.Throughput, r.Requests, r.Seconds)
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			if got, want := r.EndSessions, len(f.sessions); got != want {
				t.Errorf("sessions at the end: %d, want the server's %d", got, want)
			}
		})
	}
}

// With --batch nothing travels alone, and what is wrong with one item is its own fault.
func TestBatches(t *testing.T) {
	f := startFake(t, new(fakeServer))
	args := []string{"--connections", "2", "--sessions", "64", "--batch", "32", "--mix", everyOperation, "-d", "300ms"}
	code, r := runLoad(t, f, args...)
	if got, least := f.batches.Load(), r.Requests/32; code != exitOK || r.Batch != 32 || got < least || got > 2*least+100 {
		t.Errorf("exit code %d, %d batches for %d requests, %+v, want %d or some more", code, got, r.Requests, r.Errors, least)
	}
	wrong := startFake(t, &fakeServer{spoil: func(op operation, a *fakeAnswer, _ http.ResponseWriter) bool {
		if op == opValidate {
			a.body = invalidTokenBody
		}
		return true
	}})
	code, r = runLoad(t, wrong, args...)
	if code != exitFailed || len(r.Errors) != 1 || r.Errors[0].Kind != "live token refused" || r.Errors[0].Operation != "validate" {
		t.Errorf("exit code %d, errors %+v, want that live tokens were refused to validates", code, r.Errors)
	}
}

func TestCutItem(t *testing.T) {
	tests := []struct {
		rest         string
		last         bool
		item, behind string
		ok           bool
	}{
		{`{"a":"}\"{"},{"b":1}]}`, false, `{"a":"}\"{"}`, `{"b":1}]}`, true},
		{`{"b":{"c":{}}}]}`, true, `{"b":{"c":{}}}`, ``, true},
		{`{"b":1}]}`, false, "", "", false},   // one too few
		{`{"b":1},{}]}`, true, "", "", false}, // one too many
		{`{"b":1`, false, "", "", false},
		{`5,{}`, false, "", "", false},
		{``, true, "", "", false},
	}
	for _, tt := range tests {
		item, behind, ok := cutItem([]byte(tt.rest), tt.last)
		if ok != tt.ok || ok && (string(item) != tt.item || string(behind) != tt.behind) {
			t.Errorf("cutItem(%s, %v) = %s, %s, %v, want %s, %s, %v", tt.rest, tt.last, item, behind, ok, tt.item, tt.behind, tt.ok)
		}
	}
}

// A server that writes its answers before it reads on must not block a batch whose requests and
// answers are both larger than the socket buffers.
func TestMoreThanTheSocketBuffersHold(t *testing.T) {
	f := startFake(t, new(fakeServer))
	code, r := runLoad(t, f, "--connections", "1", "--pipeline", "256", "--sessions", "256", "--meta-size", "100000",
		"--mix", "create=1,exchange=1", "-d", "100ms", "--timeout", "1m")
	if code != exitOK || r.Requests < 256 {
		t.Errorf("exit code %d, %d requests, errors %+v, want a whole batch", code, r.Requests, r.Errors)
	}
}

func TestConnections(t *testing.T) {
	f := startFake(t, new(fakeServer))
	_, r := runLoad(t, f, "--connections", "7", "--sessions", "70", "-d", "100ms")
	if got := f.connections.Load(); got != 7 || r.Connections != 7 {
		t.Errorf("%d connections, %d in the report, want 7", got, r.Connections)
	}
}

// Every way in which an answer can be wrong must be found, told apart and make the exit code 1.
func TestFaultsAreFound(t *testing.T) {
	replace := func(only operation, change func(a *fakeAnswer)) func(operation, *fakeAnswer, http.ResponseWriter) bool {
		return func(op operation, a *fakeAnswer, _ http.ResponseWriter) bool {
			if op == only {
				change(a)
			}
			return true
		}
	}
	body := func(only operation, from, to string) func(operation, *fakeAnswer, http.ResponseWriter) bool {
		return replace(only, func(a *fakeAnswer) { a.body = strings.Replace(a.body, from, to, 1) })
	}
	write := func(text string) func(operation, *fakeAnswer, http.ResponseWriter) bool {
		return func(op operation, _ *fakeAnswer, w http.ResponseWriter) bool {
			if op == opValidate {
				hijack(w, text)
			}
			return op != opValidate
		}
	}
	const head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
	tests := []struct {
		name  string
		want  string
		spoil func(operation, *fakeAnswer, http.ResponseWriter) bool
	}{
		{"loses a session", "live token refused", replace(opExchange, func(a *fakeAnswer) { a.body = invalidTokenBody })},
		{"loses a session, patch", "live token refused", replace(opPatch, func(a *fakeAnswer) { a.body = invalidTokenBody })},
		{"loses a session, validate", "live token refused", replace(opValidate, func(a *fakeAnswer) { a.body = invalidTokenBody })},
		{"other user", "wrong metadata", body(opExchange, metaUser, metaUser+"f")},
		{"changed filler", "wrong metadata", replace(opExchange, func(a *fakeAnswer) {
			a.body = a.body[:len(a.body)-8] + "*" + a.body[len(a.body)-7:]
		})},
		{"patch not merged", "wrong metadata", body(opPatch, metaVisits+"0000000", metaVisits+"f000000")},
		{"white space in metadata", "wrong metadata", body(opValidate, metaUser, `{"user": "`)},
		{"metadata of another session", "wrong metadata", body(opValidate, metaUser+"0", metaUser+"1")},
		{"no metadata", "missing metadata", replace(opExchange, func(a *fakeAnswer) {
			a.body = a.body[:len(okTokenStart)+tokenSize] + `"}}`
		})},
		{"empty metadata", "missing metadata", replace(opExchange, func(a *fakeAnswer) {
			a.body = a.body[:len(okTokenStart)+tokenSize] + okMeta + "{}" + okEnd
		})},
		{"null metadata", "missing metadata", replace(opValidate, func(a *fakeAnswer) {
			a.body = validStart + "null" + validExpires + "9" + okEnd
		})},
		{"same token", "token not renewed", sameToken()},
		{"short token", "wrong body", replace(opExchange, func(a *fakeAnswer) { a.body = okTokenStart + `abc","meta":{}}}` })},
		{"bad token", "ill-formed token", body(opExchange, okTokenStart, okTokenStart+"+")},
		{"not an answer", "wrong body", replace(opExchange, func(a *fakeAnswer) { a.body = "{}" })},
		{"cut answer", "wrong body", replace(opExchange, func(a *fakeAnswer) { a.body = a.body[:len(a.body)-2] })},
		{"zero seconds left", "wrong body", body(opValidate, "7200", "0")},
		{"half seconds left", "wrong body", body(opValidate, "7200", "1.5")},
		{"engine away", "wrong status 503", replace(opExchange, func(a *fakeAnswer) { a.status = 503 })},
		{"full", "wrong status 507", replace(opPatch, func(a *fakeAnswer) { a.status = 507 })},
		{"200 for a delete", "wrong status 200", replace(opDelete, func(a *fakeAnswer) { a.status = 200 })},
		{"delete with a body", "wrong body", replace(opDelete, func(a *fakeAnswer) { a.body = "ok" })},
		{"replay answered otherwise", "wrong body", replace(opReplay, func(a *fakeAnswer) { a.body = `{"Err":"Spent"}` })},
		{"parameters in the type", "wrong content type", replace(opExchange, func(a *fakeAnswer) { a.contentType += "; charset=utf-8" })},
		{"type of a validate", "wrong content type", replace(opValidate, func(a *fakeAnswer) { a.contentType = "text/json" })},
		{"type of an error", "wrong content type", replace(opReplay, func(a *fakeAnswer) { a.contentType = "text/plain" })},
		{"may be cached", "wrong cache control", replace(opReplay, func(a *fakeAnswer) { a.cacheControl = "private" })},
		{"closes", "connection lost", write("")},
		{"closes within an answer", "connection lost", write(head + "Content-Length: 100\r\n\r\n{")},
		{"not HTTP", "malformed answer", write("hello\r\n\r\n")},
		{"chunked", "malformed answer", write(head + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")},
		{"two answers", "unasked answer", write(head + "Content-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := startFake(t, &fakeServer{spoil: test.spoil})
			code, r := runLoad(t, f, "--connections", "2", "--sessions", "50", "--mix", everyOperation, "--rate", "2000", "-d", "150ms")
			if code != exitFailed || r.OK {
				t.Errorf("exit code %d, ok %v, want %d, false", code, r.OK, exitFailed)
			}
			if r.count(test.want) == 0 {
				t.Errorf("errors %+v, want %q", r.Errors, test.want)
			}
		})
	}
}

// sameToken answers the second exchange with the token of the first one's answer, which a load
// of one session presents.
func sameToken() func(operation, *fakeAnswer, http.ResponseWriter) bool {
	var latest atomic.Pointer[string]
	return func(op operation, a *fakeAnswer, _ http.ResponseWriter) bool {
		if op == opExchange || op == opCreate {
			at := 0
			if op == opExchange {
				at = len(okTokenStart)
			}
			token := a.body[at:][:tokenSize]
			if before := latest.Swap(&token); before != nil && op == opExchange {
				a.body = strings.Replace(a.body, token, *before, 1)
			}
		}
		return true
	}
}

func TestSpentTokenThatIsAccepted(t *testing.T) {
	f := startFake(t, &fakeServer{acceptSpent: true})
	code, r := runLoad(t, f, "--connections", "2", "--sessions", "50", "--mix", "exchange=9,replay=1", "--rate", "1000", "-d", "200ms")
	if code != exitFailed || r.count("spent token accepted") == 0 {
		t.Errorf("exit code %d, errors %+v, want %d and accepted spent tokens", code, r.Errors, exitFailed)
	}
	if got, want := r.count("spent token accepted"), r.Operations["replay"].Errors; got != want || got != r.ErrorCount {
		t.Errorf("%d accepted, %d errors of replays, %d in all, want the same", got, want, r.ErrorCount)
	}
}

// A fault in one answer must not turn the answers after it into faults.
func TestOneFaultIsCountedOnce(t *testing.T) {
	var done atomic.Bool
	f := startFake(t, &fakeServer{spoil: func(op operation, a *fakeAnswer, _ http.ResponseWriter) bool {
		if op == opPatch && !done.Swap(true) {
			a.body = invalidTokenBody
		}
		return true
	}})
	code, r := runLoad(t, f, "--connections", "2", "--sessions", "20", "--pipeline", "4", "--mix", everyOperation, "-d", "200ms")
	if code != exitFailed || r.ErrorCount != 1 || r.count("live token refused") != 1 {
		t.Errorf("exit code %d, errors %+v, want %d and one live token refused", code, r.Errors, exitFailed)
	}
}

// A lost answer leaves its session in a state that nobody knows: the load must go on without
// it, on a new connection, and must not send the exchange again.
func TestLostAnswerIsNotSentAgain(t *testing.T) {
	var lost atomic.Int64
	f := startFake(t, &fakeServer{spoil: func(op operation, _ *fakeAnswer, w http.ResponseWriter) bool {
		if op == opExchange && lost.Add(1) <= 3 {
			hijack(w, "")
			return false
		}
		return true
	}})
	code, r := runLoad(t, f, "--connections", "2", "--sessions", "20", "--mix", "exchange=1", "-d", "200ms")
	if code != exitFailed || r.count("connection lost") != 3 || r.ErrorCount != 3 {
		t.Errorf("exit code %d, errors %+v, want %d and three lost connections", code, r.Errors, exitFailed)
	}
	if r.EndSessions != 17 || r.Requests == 0 {
		t.Errorf("%d sessions at the end after %d requests, want 17 after some", r.EndSessions, r.Requests)
	}
	if got := f.received()[opReplay]; got != 0 {
		t.Errorf("%d exchanges of spent tokens, want none", got)
	}
}

func TestAnswerThatDoesNotCome(t *testing.T) {
	release := make(chan struct{})
	f := startFake(t, &fakeServer{spoil: func(op operation, _ *fakeAnswer, _ http.ResponseWriter) bool {
		if op == opValidate {
			<-release
		}
		return true
	}})
	defer close(release)
	code, r := runLoad(t, f, "--connections", "1", "--sessions", "20", "--mix", "validate=1", "-d", "100ms", "--timeout", "500ms")
	if code != exitFailed || r.count("timeout") == 0 {
		t.Errorf("exit code %d, errors %+v, want %d and timeouts", code, r.Errors, exitFailed)
	}
}

func TestConnectionThatIsAnnouncedToClose(t *testing.T) {
	var n atomic.Int64
	f := startFake(t, &fakeServer{spoil: func(_ operation, _ *fakeAnswer, w http.ResponseWriter) bool {
		if n.Add(1)%50 == 0 {
			w.Header().Set("Connection", "close")
		}
		return true
	}})
	code, r := runLoad(t, f, "--connections", "2", "--sessions", "20", "--mix", everyOperation, "--rate", "1000", "-d", "300ms")
	if code != exitOK || r.Requests != 300 {
		t.Errorf("exit code %d, %d requests, errors %+v, want a load that goes on", code, r.Requests, r.Errors)
	}
}

func TestSessionsThatCanNotBeCreated(t *testing.T) {
	f := startFake(t, &fakeServer{spoil: func(op operation, a *fakeAnswer, _ http.ResponseWriter) bool {
		a.status, a.body = 507, `{"Err":"StoreFull"}`
		return true
	}})
	var stdout, stderr bytes.Buffer
	code := execute(t.Context(), []string{"--address", f.address}, &stdout, &stderr)
	if code != exitFailed || !strings.Contains(stderr.String(), "507") || !strings.Contains(stderr.String(), "StoreFull") {
		t.Errorf("exit code %d, %q, want %d and the status and body", code, stderr.String(), exitFailed)
	}
}

func TestNoServer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	var stdout, stderr bytes.Buffer
	code := execute(t.Context(), []string{"--address", listener.Addr().String(), "-c", "2"}, &stdout, &stderr)
	if code != exitFailed || !strings.Contains(stderr.String(), "connect") {
		t.Errorf("exit code %d, %q, want %d and the reason", code, stderr.String(), exitFailed)
	}
}

// While a server stalls, an open loop goes on counting: of 1.5 s of requests 0.5 s are late, by
// 0 to 0.5 s. A generator that waited for the answers would only see one slow request for each
// connection.
func TestOpenLoopCountsAStall(t *testing.T) {
	f := startFake(t, &fakeServer{stallAfter: 300 * time.Millisecond, stall: 500 * time.Millisecond})
	code, r := runLoad(t, f, "--connections", "4", "--sessions", "100", "--mix", "exchange=1", "--rate", "1000", "-d", "1500ms")
	if code != exitOK {
		t.Errorf("exit code %d, errors %+v, want %d", code, r.Errors, exitOK)
	}
	// A third of the requests has a latency spread evenly over the stall: at p90 it is 350 ms.
	if r.Latency.P90 < 200e3 || r.Latency.Max < 450e3 {
		t.Errorf("p90 %v µs, max %v µs, want at least 200 ms and 450 ms", r.Latency.P90, r.Latency.Max)
	}
	if r.Behind < 300e3 {
		t.Errorf("behind %v µs, want at least 300 ms", r.Behind)
	}
	if want := int64(1500); r.Requests+r.NeverSent != want {
		t.Errorf("%d requests and %d never sent, want %d together", r.Requests, r.NeverSent, want)
	}
}

// The same stall in a closed loop shows once for each connection.
func TestClosedLoopSeesAStallOnce(t *testing.T) {
	f := startFake(t, &fakeServer{stallAfter: 100 * time.Millisecond, stall: 500 * time.Millisecond})
	_, r := runLoad(t, f, "--connections", "4", "--sessions", "100", "--mix", "exchange=1", "-d", "1s")
	if r.Latency.Max < 450e3 || r.Latency.P50 > 200e3 {
		t.Errorf("p50 %v µs, max %v µs, want the stall in the maximum alone", r.Latency.P50, r.Latency.Max)
	}
}

func TestOpenLoopKeepsItsRate(t *testing.T) {
	f := startFake(t, new(fakeServer))
	_, r := runLoad(t, f, "--connections", "3", "--sessions", "100", "--rate", "700", "-d", "1s", "--warm-up", "200ms")
	if want := int64(700); r.Requests+r.NeverSent != want {
		t.Errorf("%d requests and %d never sent in a second, want %d", r.Requests, r.NeverSent, want)
	}
}

// A schedule that no server could keep: what could not be sent is reported.
func TestOpenLoopTellsWhatItNeverSent(t *testing.T) {
	f := startFake(t, new(fakeServer))
	_, r := runLoad(t, f, "--connections", "1", "--sessions", "10", "--rate", "5000000", "-d", "200ms", "--timeout", "1s")
	if r.NeverSent == 0 || r.Requests == 0 || r.Behind < 100e3 {
		t.Errorf("%d requests, %d never sent, %v µs behind, want some, some, over 100 ms", r.Requests, r.NeverSent, r.Behind)
	}
	if want := int64(1_000_000); r.Requests+r.NeverSent != want {
		t.Errorf("%d requests and %d never sent, want %d together", r.Requests, r.NeverSent, want)
	}
}

// The backlog of a warm-up above the server's capacity must not keep the measurement from
// beginning.
func TestOpenLoopLeavesTheBacklogOfTheWarmUpBehind(t *testing.T) {
	f := startFake(t, new(fakeServer))
	_, r := runLoad(t, f, "--connections", "2", "--sessions", "10", "--rate", "1000000", "--warm-up", "300ms", "-d", "200ms", "--timeout", "100ms")
	if r.Requests == 0 || r.Behind == 0 || r.Behind > 350e3 {
		t.Errorf("%d requests, %v µs behind, want some, up to the length of the measurement and the timeout", r.Requests, r.Behind)
	}
	if want := int64(200_000); r.Requests+r.NeverSent != want {
		t.Errorf("%d requests and %d never sent, want the measurement's %d together", r.Requests, r.NeverSent, want)
	}
}

func TestMixIsKept(t *testing.T) {
	f := startFake(t, new(fakeServer))
	_, r := runLoad(t, f, "--connections", "2", "--sessions", "500", "--rate", "4000", "--pipeline", "64", "-d", "1s",
		"--mix", "create=10,exchange=40,patch=20,validate=15,delete=10,replay=5")
	for name, weight := range r.Mix {
		want := float64(weight) / 100 * float64(r.Requests)
		// Six standard deviations, and the few replays that had no token to spend yet.
		if got := float64(r.Operations[name].Requests); math.Abs(got-want) > 6*math.Sqrt(want)+20 {
			t.Errorf("%s: %v of %d requests, want about %v", name, got, r.Requests, want)
		}
	}
}

func TestSameSeedSameChoices(t *testing.T) {
	var counts [2][operationCount]int
	for i := range counts {
		f := startFake(t, new(fakeServer))
		runLoad(t, f, "--connections", "2", "--sessions", "50", "--mix", everyOperation, "--rate", "1000", "-d", "300ms")
		counts[i] = f.received()
	}
	if counts[0] != counts[1] {
		t.Errorf("operations %v and %v, want the same", counts[0], counts[1])
	}
}

func TestWarmUpIsNotCounted(t *testing.T) {
	f := startFake(t, new(fakeServer))
	_, r := runLoad(t, f, "--connections", "1", "--sessions", "50", "--mix", "exchange=1", "--rate", "500", "-d", "200ms", "--warm-up", "400ms")
	if got, want := r.Requests+r.NeverSent, int64(100); got != want {
		t.Errorf("%d requests measured, want %d", got, want)
	}
	if got, want := f.received()[opExchange], 300; got > want || got <= 100 {
		t.Errorf("%d requests sent, want up to %d, with those of the warm-up", got, want)
	}
}

func TestSignalEndsItEarlyWithAReport(t *testing.T) {
	for _, rate := range []string{"0", "100"} {
		ctx, cancel := context.WithCancel(t.Context())
		var n atomic.Int64
		f := startFake(t, &fakeServer{spoil: func(op operation, _ *fakeAnswer, _ http.ResponseWriter) bool {
			if op != opCreate && n.Add(1) == 20 {
				cancel()
			}
			return true
		}})
		var stdout, stderr bytes.Buffer
		code := execute(ctx, []string{"--address", f.address, "-c", "2", "--sessions", "10", "--rate", rate,
			"--mix", "exchange=1", "--warm-up", "0s", "-d", "1h"}, &stdout, &stderr)
		if code != exitOK || !strings.Contains(stdout.String(), "interrupted") || !strings.HasSuffix(stdout.String(), "OK: every answer was right\n") {
			t.Errorf("rate %s: exit code %d, report %q, want %d and an early end", rate, code, stdout.String(), exitOK)
		}
	}
}

func TestSignalBeforeTheMeasurement(t *testing.T) {
	for _, rate := range []string{"0", "100000"} {
		ctx, cancel := context.WithCancel(t.Context())
		f := startFake(t, &fakeServer{spoil: func(op operation, _ *fakeAnswer, _ http.ResponseWriter) bool {
			if op != opCreate {
				cancel()
			}
			return true
		}})
		var stdout, stderr bytes.Buffer
		code := execute(ctx, []string{"--address", f.address, "-c", "2", "--sessions", "10", "--rate", rate, "--warm-up", "1h", "--json"}, &stdout, &stderr)
		var r report
		if err := json.Unmarshal(stdout.Bytes(), &r); err != nil || code != exitOK {
			t.Fatalf("rate %s: exit code %d, %v, want %d and a report", rate, code, err, exitOK)
		}
		if !r.Interrupted || r.Requests != 0 || r.NeverSent != 0 || r.WarmUpSeconds <= 0 || r.WarmUpSeconds > 60 {
			t.Errorf("rate %s: interrupted %v, %d requests, %d never sent, %v s of warm-up, want true, none, none, what it took",
				rate, r.Interrupted, r.Requests, r.NeverSent, r.WarmUpSeconds)
		}
	}
}

func TestSignalBeforeAnything(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr bytes.Buffer
	code := execute(ctx, []string{"--address", "192.0.2.1:9", "-c", "2", "--sessions", "10"}, &stdout, &stderr)
	if code != exitOK || !strings.HasSuffix(stdout.String(), "no errors, but nothing was measured\n") {
		t.Errorf("exit code %d, %q, %q, want %d and a report of nothing", code, stdout.String(), stderr.String(), exitOK)
	}
}

func TestUncheckedTakesAConstantAnswer(t *testing.T) {
	f := startFake(t, &fakeServer{spoil: func(_ operation, a *fakeAnswer, _ http.ResponseWriter) bool {
		*a = fakeAnswer{200, jsonType, "", `{"Ok":{"token":"x","meta":{}}}`}
		return true
	}})
	code, r := runLoad(t, f, "--unchecked", "-c", "2", "--sessions", "10", "--mix", "exchange=9,patch=1", "-d", "100ms")
	if code != exitOK || r.Checked || r.Requests == 0 {
		t.Errorf("exit code %d, checked %v, %d requests, errors %+v, want a load", code, r.Checked, r.Requests, r.Errors)
	}
}
