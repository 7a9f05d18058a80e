package server

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenserver/shard"
)

func subjectBody(subject string) string { return `{"subject":"` + subject + `"}` }

// createFor begins a session of a subject and returns its token.
func (c *client) createFor(subject, meta string) string {
	c.t.Helper()
	r := c.do("POST", "/token", `{"meta":`+meta+`,"subject":"`+subject+`"}`)
	if r.status != 200 || !isToken(r.body) {
		c.t.Fatalf("POST for subject %.100q: %v", subject, r)
	}
	return r.body
}

// wantEnded ends a subject's sessions and checks how many there were.
func (c *client) wantEnded(subject string, want int) {
	c.t.Helper()
	r := c.do("DELETE", "/subject", subjectBody(subject))
	if want := fmt.Sprintf(`{"Ok":{"ended":%d}}`, want); r.status != 200 || r.contentType() != "application/json" || r.body != want {
		c.t.Errorf("DELETE of subject %.100q: %v, want %s", subject, r, want)
	}
}

var endedText = regexp.MustCompile(`^\{"Ok":\{"ended":[0-9]+\}\}$`)

// goodSubjects are subjects as JSON has them, without the quotes.
var goodSubjects = map[string]string{
	"a letter":                      `u`,
	"blank":                         ` `,
	"null byte":                     `\u0000`,
	"quote":                         `\"`,
	"with a line feed":              `a\nb`,
	"256 letters":                   strings.Repeat("u", 256),
	"256 bytes of two each":         strings.Repeat("é", 128),
	"256 bytes of three each":       strings.Repeat("€", 85) + "u",
	"256 bytes of four each":        strings.Repeat("😀", 64),
	"256 letters escaped":           strings.Repeat(`\u0075`, 255) + "v",
	"256 bytes of two each escaped": strings.Repeat(`\u00e9`, 127) + "ü",
	"256 bytes in surrogate pairs":  strings.Repeat(`\ud83d\ude00`, 63) + "🚀",
	"256 short escapes":             strings.Repeat(`\n`, 256),
	"JSON":                          `{\"subject\":\"x\"}`,
	"no string within it":           `null`,
}

// badSubjects are wrong values of a subject.
var badSubjects = map[string]string{
	"number":                        `42`,
	"zero":                          `0`,
	"true":                          `true`,
	"false":                         `false`,
	"array":                         `["user-42"]`,
	"object":                        `{"name":"user-42"}`,
	"empty":                         `""`,
	"257 letters":                   `"` + strings.Repeat("u", 257) + `"`,
	"257 bytes of two each":         `"` + strings.Repeat("é", 128) + `u"`,
	"258 bytes of three each":       `"` + strings.Repeat("€", 86) + `"`,
	"257 bytes of four each":        `"` + strings.Repeat("😀", 64) + `u"`,
	"257 letters escaped":           `"` + strings.Repeat(`\u0075`, 257) + `"`,
	"257 bytes of two each escaped": `"` + strings.Repeat(`\u00e9`, 128) + `u"`,
	"257 bytes in surrogate pairs":  `"` + strings.Repeat(`\ud83d\ude00`, 64) + `u"`,
	"257 short escapes":             `"` + strings.Repeat(`\n`, 257) + `"`,
	"much too long":                 `"` + strings.Repeat(marker, 5000) + `"`,
}

func TestSubjects(t *testing.T) {
	store := newStore(t, shard.Config{})
	c := serve(t, Config{Store: store}).dial(t)
	for name, subject := range goodSubjects {
		c.createFor(subject, `{"is":"`+name+`"}`)
	}
	if got, want := store.Stats().Subjects, int64(len(goodSubjects)); got != want {
		t.Errorf("there are %d subjects, want %d", got, want)
	}
	for name, subject := range goodSubjects {
		c.wantSessions(subject, `{"is":"`+name+`"}`)
		c.wantEnded(subject, 1)
		c.wantSessions(subject)
	}
	if got := store.Stats(); got.Sessions != 0 || got.Subjects != 0 {
		t.Errorf("%d sessions and %d subjects are left", got.Sessions, got.Subjects)
	}
}

// A subject is known by its bytes, after unescaping and in no other way.
func TestSubjectsAreComparedAfterUnescaping(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	others := []string{"User-é", "user-E", "user-é ", " user-é", `user-e\u0301`, `user-é\u0000`, "user-", "user"}
	for _, other := range others {
		c.createFor(other, `{"other":1}`)
	}
	for _, spelling := range []string{"user-é", `user-\u00e9`, `\u0075ser-\u00E9`, `us\u0065r\u002d\u00e9`} {
		for _, name := range []string{`"subject"`, `"s\u0075bject"`, ` "\u0073ubject" `} {
			if r := c.do("POST", "/token", `{"meta":{"n":1},`+name+`:"user-é"}`); !isToken(r.body) {
				t.Fatalf("POST with field %s: %v", name, r)
			}
			if got := listed(t, c.do("POST", "/subject/sessions", "{"+name+`:"`+spelling+`"}`)); len(got) != 1 {
				t.Errorf("field %s with %s lists %q, want one session", name, spelling, got)
			}
			if r := c.do("DELETE", "/subject", "{"+name+`:"`+spelling+`"}`); r.body != `{"Ok":{"ended":1}}` {
				t.Errorf("field %s with %s: %v, want one session ended", name, spelling, r)
			}
		}
	}
	for _, other := range others {
		c.wantEnded(other, 1)
	}
}

func TestEndSubject(t *testing.T) {
	for name, grace := range map[string]time.Duration{"strict": 0, "grace": time.Minute} {
		t.Run(name, func(t *testing.T) {
			c := serve(t, Config{Store: newStore(t, shard.Config{Grace: grace})}).dial(t)
			fresh := c.createFor("ann", `{"n":1}`)
			spent := c.createFor("ann", `{"n":2}`)
			current, _ := c.exchange(spent, "")
			deleted := c.createFor("ann", `{"n":3}`)
			c.do("DELETE", "/token", tokenBody(deleted))
			bob, nobody := c.createFor("bob", `{"n":4}`), c.create(`{"n":5}`)

			r := c.do("DELETE", "/subject", ` { "subject" : "ann" , "meta" : 1, "token" : 2, "lifetime":"x" } `)
			if r.status != 200 || r.body != `{"Ok":{"ended":2}}` {
				t.Errorf("DELETE of a subject: %v, want 2 ended", r)
			}
			r.wantHeaders(t, map[string]string{"Content-Type": "application/json", "Content-Length": "18", "Cache-Control": "no-store"})
			for _, tok := range []string{fresh, spent, current, deleted} {
				c.do("POST", "/token/validate", tokenBody(tok)).wantInvalidToken(t)
				c.do("PUT", "/token", tokenBody(tok)).wantInvalidToken(t)
				if r := c.do("DELETE", "/token", tokenBody(tok)); r.status != 202 {
					t.Errorf("DELETE of a token that is over: %v, want 202", r)
				}
			}
			c.wantEnded("ann", 0)
			c.wantSessions("ann")
			c.wantSessions("bob", `{"n":4}`)
			c.exchange(bob, "")
			c.exchange(nobody, "")

			again := c.createFor("ann", `{"n":6}`) // a later session is not concerned
			c.exchange(again, "")
			c.wantSessions("ann", `{"n":6}`)
		})
	}
}

func TestUnknownSubject(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	tok := c.create(`{"subject":"ann"}`) // that is metadata
	for range 2 {
		c.wantEnded("ann", 0)
		r := c.do("POST", "/subject/sessions", subjectBody("ann"))
		if r.status != 200 || r.body != noSessions {
			t.Errorf("sessions of an unknown subject: %v, want %s", r, noSessions)
		}
		r.wantHeaders(t, map[string]string{"Content-Type": "application/json", "Content-Length": "22", "Cache-Control": "no-store"})
	}
	c.exchange(tok, "")
}

// Nothing that is wrong with a new session's fields begins one.
func TestSubjectRefused(t *testing.T) {
	store := newStore(t, shard.Config{})
	c := serve(t, Config{Store: store}).dial(t)
	bodies := []string{
		`{"meta":{},"subject":"ann","subject":"ann"}`,
		`{"subject":"ann","meta":{},"subject":"` + marker + `"}`,
		`{"meta":{},"subject":"ann","s\u0075bject":"ann"}`,
		`{"\u0073ubject":"ann","meta":{},"subjec\u0074":"ann"}`,
		`{"meta":{},"subject":null,"subject":"ann"}`,
		`{"meta":{},"subject":"ann","subject":null}`,
		`{"subject":"ann"}`,
		`{"subject":"ann","meta":null}`,
		`{"subject":"ann","meta":[]}`,
	}
	for _, subject := range badSubjects {
		bodies = append(bodies, `{"meta":{},"subject":`+subject+`}`, `{"subject":`+subject+`,"meta":{},"lifetime":"1h"}`)
	}
	for _, body := range bodies {
		if r := c.do("POST", "/token", body); r.status != 422 || r.code() != "InvalidRequest" {
			t.Errorf("POST of %.200s: %v, want 422 InvalidRequest", body, r)
		}
	}
	if got := store.Stats(); got.Created != 0 || got.Sessions != 0 || got.Subjects != 0 {
		t.Errorf("%d sessions and %d subjects were created", got.Created, got.Subjects)
	}
	c.wantEnded("ann", 0)
}

// Fields are looked at before the size of the metadata and the room for it.
func TestSubjectIsCheckedBeforeTheStore(t *testing.T) {
	store := newMishap(t)
	s := serve(t, Config{Store: store})
	store.set(func(call string) error {
		t.Errorf("%s was called", call)
		return errors.New(marker)
	})
	c := s.dial(t)
	c.do("POST", "/token", `{"subject":"","meta":`+large(10_000)+`}`).wantError(t, 422, "InvalidRequest")
	c.do("POST", "/token", `{"lifetime":"","meta":{}}`).wantError(t, 422, "InvalidRequest")
	c.do("DELETE", "/subject", `{"subject":""}`).wantError(t, 422, "InvalidRequest")
	c.do("POST", "/subject/sessions", `{"subject":""}`).wantError(t, 422, "InvalidRequest")
}

// Only a new session has a subject and a lifetime: elsewhere these fields may be
// anything, any number of times.
func TestExchangeIgnoresSubjectAndLifetime(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	tok := c.createFor("ann", `{"a":1}`)
	rest := []string{
		`"subject":"bob"`, `"subject":null`, `"subject":"","subject":1`, `"lifetime":"96h"`, `"lifetime":5,"lifetime":"x"`,
		`"subject":` + badSubjects["much too long"] + `,"lifetime":"30min"`,
	}
	for _, fields := range rest {
		next, meta, ok := c.do("PUT", "/token", `{"token":"`+tok+`",`+fields+`}`).exchanged()
		if !ok || meta != `{"a":1}` {
			t.Fatalf("PUT with %.100s: metadata %s, %v", fields, meta, ok)
		}
		tok = next
		r := c.do("POST", "/token/validate", `{`+fields+`,"token":"`+tok+`"}`)
		if !strings.HasSuffix(r.body, `"expires_in":7200}}`) {
			t.Errorf("validate with %.100s: %v", fields, r)
		}
	}
	c.wantSessions("bob")
	c.wantSessions("ann", `{"a":1}`)
	if r := c.do("DELETE", "/token", `{`+rest[2]+`,"token":"`+tok+`",`+rest[4]+`}`); r.status != 202 {
		t.Errorf("DELETE with other fields: %v", r)
	}
	c.wantSessions("ann")
}

// Whoever exchanges while all sessions of a subject are ended gets no further:
// a session that existed at the call is over at its answer.
func TestEndSubjectAgainstExchanges(t *testing.T) {
	rounds := 50
	if testing.Short() {
		rounds = 10
	}
	for name, grace := range map[string]time.Duration{"strict": 0, "grace": time.Minute} {
		t.Run(name, func(t *testing.T) {
			store := newStore(t, shard.Config{Grace: grace})
			s := serve(t, Config{Store: store})
			c := s.dial(t)
			bob := c.createFor("bob", `{}`)
			runners := make([]*runner, 8)
			for i := range runners {
				runners[i] = &runner{client: s.dial(t)}
			}
			for range rounds {
				var over atomic.Bool
				var running, all sync.WaitGroup
				for _, r := range runners {
					r.token = c.createFor("ann", `{"n":0}`)
					running.Add(1)
					all.Go(func() { r.run(&running, &over) })
				}
				running.Wait()
				c.wantEnded("ann", len(runners))
				over.Store(true)
				all.Wait()
				for _, r := range runners {
					c.do("PUT", "/token", tokenBody(r.token)).wantInvalidToken(t)
				}
				c.wantSessions("ann")
			}
			c.exchange(bob, "")
			if got := store.Stats(); got.Sessions != 1 || got.Subjects != 1 {
				t.Errorf("%d sessions of %d subjects live, want bob's alone", got.Sessions, got.Subjects)
			}
		})
	}
}

// runner exchanges as fast as it can.
type runner struct {
	*client
	token string
}

// run exchanges until the session is over, and reports a success that began
// after that. It tells when the first exchange is done.
func (r *runner) run(running *sync.WaitGroup, over *atomic.Bool) {
	for n := 1; ; n++ {
		late := over.Load()
		if _, err := r.conn.Write([]byte(requestText("PUT", "/token", exchangeBody(r.token, fmt.Sprintf(`{"n":%d}`, n))))); err != nil {
			r.t.Errorf("sending: %v", err)
		}
		answer, err := r.tryReceive("PUT")
		next, meta, ok := answer.exchanged()
		if n == 1 {
			running.Done()
		}
		switch {
		case ok && !late && meta == fmt.Sprintf(`{"n":%d}`, n):
			r.token = next
			continue
		case ok || err != nil || answer.body != invalidToken:
			r.t.Errorf("exchange %d: %v, %v, after the end: %v", n, answer, err, late)
		}
		return
	}
}

// No log shows whose a session is, or what was sent as its lifetime.
func TestLogShowsNothingOfSubjects(t *testing.T) {
	store := newMishap(t)
	s, log := debugLog(t, Config{Store: store, Dump: true})
	c := s.dial(t)
	bodies := []string{
		`{"meta":{"n":1},"subject":"` + marker + `","lifetime":"47h"}`,
		`{"meta":{},"subject":"` + marker + `","lifetime":"` + marker + `"}`,
		`{"meta":{},"subject":"` + marker + `","subject":"` + marker + `","lifetime":47}`,
		`{"meta":{},"subject":["` + marker + `"]}`,
		subjectBody(marker), subjectBody(marker) + "x", subjectBody(marker + `","subject":"`),
	}
	send := func() {
		for _, body := range bodies {
			for _, target := range []string{"POST /token", "DELETE /subject", "POST /subject/sessions", "GET /subject", "DELETE /" + marker} {
				method, path, _ := strings.Cut(target, " ")
				s.do(t, method, path, body)
			}
		}
		for _, request := range calls {
			method, path, body := request(somewhere)
			s.do(t, method, path, body)
		}
	}
	c.createFor(marker, `{"dumped":1}`)
	c.do("HEAD", "/dump", "")
	log.await(t, "dump complete", 1)
	send()
	store.set(func(string) error { return errEngine })
	send()
	store.set(func(string) error { panic("a panic") })
	send()
	s.shutdown(t)
	text := log.String()
	for _, secret := range []string{marker, "47h", fmt.Sprintf("%x", marker), fmt.Sprint([]byte(marker))} {
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("log shows %q: … %.400s", secret, text[max(i-200, 0):])
		}
	}
	for _, want := range []string{`"path":"/subject/sessions","status":200`, `"path":"/subject","status":503`, `"status":500`, `"dumped"`} {
		if !strings.Contains(text, want) {
			t.Errorf("log has no %s", want)
		}
	}
}

// After a failure of the store, subjects are as they were.
func TestSubjectUnavailable(t *testing.T) {
	store := newMishap(t)
	s, log := debugLog(t, Config{Store: store})
	c := s.dial(t)
	c.createFor(marker, `{"a":1}`)
	store.set(func(string) error { return errEngine })
	c.do("DELETE", "/subject", subjectBody(marker)).wantError(t, 503, "StoreUnavailable")
	c.do("POST", "/subject/sessions", subjectBody(marker)).wantError(t, 503, "StoreUnavailable")
	log.await(t, `"level":"ERROR","msg":"store failed","error":"engine is away"`, 1)
	store.clear()
	c.wantSessions(marker, `{"a":1}`)
	c.wantEnded(marker, 1)
}
