package server

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"tokenserver/shard"
)

// fuzzTargets are where bodies are sent to, chosen by the letter before a body.
var fuzzTargets = map[byte]struct {
	method, path string
	statuses     []int // beside those of bodies that no request takes
}{
	'c': {"POST", "/token", []int{200, 413, 507}},
	'x': {"PUT", "/token", []int{200, 413, 507}},
	'd': {"DELETE", "/token", []int{202}},
	'v': {"POST", "/token/validate", []int{200}},
	'e': {"DELETE", "/subject", []int{200}},
	'l': {"POST", "/subject/sessions", []int{200}},
}

const fuzzSeparator = "\x1e" // of the bodies of a sequence

// FuzzBody sends sequences of bodies, in which TOKEN stands for a session's
// current token and NAME for its name. Each is answered as the contract has it, and whatever has come,
// a good exchange works afterwards.
func FuzzBody(f *testing.F) {
	for _, sequence := range [][]string{
		{`c{"meta":{}}`, `x{"token":"TOKEN"}`, `v{"token":"TOKEN"}`, `d{"token":"TOKEN"}`, `x{"token":"TOKEN"}`},
		{`x{"token":"TOKEN","meta":{"a":1.0,"a":[{}],"\u0061":null}}`, `x{"meta":{"b":{}},"token":"TOKEN"}`},
		{`x{"token":"TOKEN","token":"TOKEN"}`, `x{"t\u006fken":"TOKEN"}`, `x {"token" : "TOKEN" , "meta" : null } `},
		{`x[]`, `xnull`, `x"TOKEN"`, `x{"token":1}`, `x{"token":"TOKEN","meta":[]}`, `c{"meta":null}`, `d{}`, `v{"token":null}`},
		{`c{"meta":{"":"","\"":"\ud83d\ude00","é":"\u0000"}}`, `x{"token":"` + somewhere + `"}`, `d{"token":""}`},
		{"x{\"token\":\"TOKEN\",\"meta\":{\"a\":\"\xff\"}}", `x{"token":"\ud800"}`, "c\xef\xbb\xbf{}", `c`, `x{"token":"TOKEN"`},
		{`l{"subject":"first","limit":1}`, `l{"subject":"first","after":"NAME"}`, `l{"limit":2,"subject":"first","after":"AAAAAAAAAAAAAAAA"}`, `e{"subject":"first","keep":"TOKEN"}`, `e{"subject":"a","keep":"TOKEN"}`, `x{"token":"TOKEN"}`, `e{"keep":"TOKEN","subject":"first"}`, `e{"subject":"first","session":"NAME"}`, `l{"subject":"first"}`},
		{`e{"subject":"first","session":"NAME","keep":"TOKEN"}`, `e{"subject":"first","keep":null}`, `l{"subject":"first","limit":0}`, `l{"subject":"first","limit":null,"after":null}`},
		{`x{"token":"TOKEN","unset":["first"]}`, `x{"token":"TOKEN","meta":{"a":1,"b":2},"unset":["\u0061","c"]}`, `x{"token":"TOKEN","unset":[1]}`, `x{"unset":null,"token":"TOKEN"}`},
		{`c{"meta":{},"subject":"ann","lifetime":"12h"}`, `l{"subject":"\u0061nn"}`, `e{"subject":"ann"}`, `l{"subject":"ann"}`, `e{"subject":"first"}`},
		{`c{"lifetime":"1h 30min","meta":{"a":"b"},"l\u0069fetime":"1h"}`, `c{"meta":{},"subject":"","lifetime":null}`, `e{"subject":1}`, `l{"subject":"a","subject":"a"}`},
	} {
		f.Add([]byte(strings.Join(sequence, fuzzSeparator)))
	}
	for _, body := range malformed {
		f.Add([]byte("c" + body + fuzzSeparator + "x" + strings.Replace(body, `{"meta"`, `{"token":"TOKEN","meta"`, 1)))
	}
	d := newDirect(Config{Store: newStore(f, shard.Config{Shards: 1, MaxSessions: 100, MaxMeta: 500}), MaxBody: 10_000})
	f.Fuzz(func(t *testing.T, sequence []byte) {
		run := fuzzRun{t: t, d: d, current: d.do(t, "POST", "/token", `{"meta":{"first":1},"subject":"first"}`).body}
		for step := range bytes.SplitSeq(sequence, []byte(fuzzSeparator)) {
			run.step(string(step))
		}
		run.finish()
	})
}

type fuzzRun struct {
	t       testing.TB
	d       *direct
	current string   // token
	deleted bool     // perhaps: a DELETE was accepted, of a token or of subjects
	created []string // tokens of other sessions
}

func (run *fuzzRun) step(step string) {
	if step == "" {
		return
	}
	target, ok := fuzzTargets[step[0]]
	if !ok {
		target = fuzzTargets['x']
	}
	body := strings.NewReplacer("TOKEN", run.current, "NAME", nameOf(run.t, run.current)).Replace(step[1:])
	r := run.d.do(run.t, target.method, target.path, body)
	if r.header["Cache-Control"] == nil {
		run.t.Errorf("%s of %q: %v, want Cache-Control", target.method, body, r)
	}
	switch {
	case r.status == 400:
		r.wantError(run.t, 400, "MalformedJSON")
	case r.status == 422:
		r.wantError(run.t, 422, "InvalidRequest")
		run.wantJSON(body)
	case !slices.Contains(target.statuses, r.status):
		run.t.Errorf("%s of %q: %v, want one of %v", target.method, body, r, target.statuses)
	case r.status == 413:
		r.wantError(run.t, 413, "MetaTooLarge")
	case r.status == 507:
		r.wantError(run.t, 507, "StoreFull")
	default:
		run.wantJSON(body)
		run.accepted(step[0], r)
	}
}

// wantJSON checks that what was not found malformed is JSON.
func (run *fuzzRun) wantJSON(body string) {
	if !json.Valid([]byte(body)) {
		run.t.Errorf("body %q was accepted, which is no JSON", body)
	}
}

func (run *fuzzRun) accepted(target byte, r reply) {
	switch target {
	case 'c':
		if !isToken(r.body) || r.contentType() != "text/plain; charset=utf-8" {
			run.t.Errorf("POST: %v, want a token", r)
		}
		run.created = append(run.created, r.body)
	case 'd':
		if r.body != "" {
			run.t.Errorf("DELETE: %v, want no body", r)
		}
		run.deleted = true
	case 'v':
		if r.body != invalidToken && !strings.HasPrefix(r.body, `{"Ok":{"meta":{`) || !json.Valid([]byte(r.body)) {
			run.t.Errorf("validate: %v", r)
		}
	case 'e':
		if r.body == invalidToken {
			return // of a session to be kept
		}
		if !endedText.MatchString(r.body) {
			run.t.Errorf("DELETE of a subject: %v", r)
		}
		run.deleted = run.deleted || r.body != `{"Ok":{"ended":0}}`
	case 'l':
		if !strings.HasPrefix(r.body, `{"Ok":{"sessions":[`) || !json.Valid([]byte(r.body)) {
			run.t.Errorf("sessions of a subject: %v", r)
		}
	default:
		if r.body == invalidToken {
			return
		}
		next, _, ok := r.exchanged()
		if !ok || !json.Valid([]byte(r.body)) {
			run.t.Errorf("PUT: %v, want an exchange", r)
		}
		run.current = next
	}
}

// finish checks that the session is as it should be and that the server works,
// and ends all sessions.
func (run *fuzzRun) finish() {
	r := run.d.do(run.t, "PUT", "/token", tokenBody(run.current))
	next, _, ok := r.exchanged()
	if !ok && !(run.deleted && r.body == invalidToken) {
		run.t.Errorf("exchange after all: %v", r)
	}
	for _, tok := range append(run.created, next) {
		run.d.do(run.t, "DELETE", "/token", tokenBody(tok))
	}
	tok := run.d.do(run.t, "POST", "/token", `{"meta":{"a":1}}`).body
	next, meta, ok := run.d.do(run.t, "PUT", "/token", exchangeBody(tok, `{"b":2}`)).exchanged()
	if !ok || meta != `{"a":1,"b":2}` {
		run.t.Errorf("good exchange after all: metadata %s, %v", meta, ok)
	}
	run.d.do(run.t, "DELETE", "/token", tokenBody(next))
}
