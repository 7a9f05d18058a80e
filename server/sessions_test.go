package server

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenserver/shard"
	"tokenserver/token"
)

// wantSessions lists a subject's sessions and checks their metadata.
func (c *client) wantSessions(subject string, want ...string) {
	c.t.Helper()
	got := listed(c.t, c.do("POST", "/subject/sessions", subjectBody(subject)))
	if !slices.Equal(got, want) {
		c.t.Errorf("sessions of %.100q have metadata %.500q, want %.500q", subject, got, want)
	}
}

// listed returns the metadata of the sessions in an answer that lists all of them.
func listed(t testing.TB, r reply) (metas []string) {
	t.Helper()
	sessions, more := page(t, r)
	for _, session := range sessions {
		metas = append(metas, string(session.Meta))
	}
	if more {
		t.Errorf("sessions of a subject: %v, want no more of them", r)
	}
	return metas
}

type listedSession struct {
	Session          string
	Created, Expires time.Time
	Meta             json.RawMessage
}

// page returns the sessions in an answer, and whether there are more.
func page(t testing.TB, r reply) (sessions []listedSession, more bool) {
	t.Helper()
	var answer struct {
		Ok struct {
			Sessions []listedSession
			More     bool
		}
	}
	decoder := json.NewDecoder(strings.NewReader(r.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&answer); err != nil || r.status != 200 || r.contentType() != "application/json" || answer.Ok.Sessions == nil {
		t.Errorf("sessions of a subject: %v, %v", r, err)
	}
	for _, session := range answer.Ok.Sessions {
		if len(session.Session) != token.EncodedNameLen {
			t.Errorf("a session has the name %q", session.Session)
		}
	}
	return answer.Ok.Sessions, answer.Ok.More
}

// nameOf computes a session's name from a token, as a client may.
func nameOf(t testing.TB, tok string) string {
	t.Helper()
	id, err := base64.RawURLEncoding.DecodeString(tok)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(id[:8])
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

const noSessions = `{"Ok":{"sessions":[]}}`

// Metadata is listed as it is, the newest session first; an exchange changes
// when a session expires, and not its place.
func TestSubjectSessions(t *testing.T) {
	withPolicies(t, shard.Config{}, func(t *testing.T, d *direct) { // begins at midnight
		create := func(fields string) string { return d.do(t, "POST", "/token", `{"subject":"ann",`+fields+`}`).body }
		first := create(`"meta":{ "n" : 1.0, "s":"\u00e9\/" }`)
		time.Sleep(90 * time.Second)
		second := create(`"meta":{},"lifetime":"4 days"`)
		time.Sleep(time.Second - 1)
		create(`"meta":{"n":[]},"lifetime":"30min"`)
		d.do(t, "POST", "/token", `{"meta":{},"subject":"bob"}`)
		time.Sleep(time.Hour - 91*time.Second + 1)
		d.do(t, "PUT", "/token", exchangeBody(first, `{"n":2}`))

		want := `{"Ok":{"sessions":[` +
			`{"session":"` + nameOf(t, second) + `","created":"2000-01-01T00:01:30Z","expires":"2000-01-05T00:01:30Z","meta":{}},` +
			`{"session":"` + nameOf(t, first) + `","created":"2000-01-01T00:00:00Z","expires":"2000-01-01T03:00:00Z","meta":{"n":2,"s":"\u00e9\/"}}]}}`
		if r := d.do(t, "POST", "/subject/sessions", subjectBody("ann")); r.body != want || r.status != 200 {
			t.Errorf("sessions of a subject: %v, want\n%s", r, want)
		}
		time.Sleep(2 * time.Hour) // the first expires at this moment
		if got := listed(t, d.do(t, "POST", "/subject/sessions", subjectBody("ann"))); !slices.Equal(got, []string{"{}"}) {
			t.Errorf("sessions that are not over = %q, want one", got)
		}
		if r := d.do(t, "DELETE", "/subject", subjectBody("ann")); r.body != `{"Ok":{"ended":1}}` {
			t.Errorf("DELETE of a subject: %v, want one ended", r)
		}
		time.Sleep(96 * time.Hour)
		if r := d.do(t, "DELETE", "/subject", subjectBody("bob")); r.body != `{"Ok":{"ended":0}}` {
			t.Errorf("DELETE of a subject whose session has expired: %v, want none ended", r)
		}
	})
}

// subjectStore is a Store that lists what a test wants.
type subjectStore struct {
	Store
	list func(subject string, page token.Page) ([]token.Session, bool, error)
}

func (s *subjectStore) SubjectSessions(_ context.Context, subject []byte, page token.Page) ([]token.Session, bool, error) {
	return s.list(string(subject), page)
}

// Times are in UTC, whatever the store says, and no part of them but seconds.
func TestSubjectSessionsFormat(t *testing.T) {
	zone := time.FixedZone("", -(3*3600 + 1800))
	created := time.Date(2026, 11, 24, 23, 59, 59, 999_999_999, zone)
	store := &subjectStore{list: func(subject string, page token.Page) ([]token.Session, bool, error) {
		if want := (token.Page{Limit: 1000}); subject != "ann/é" || page != want {
			t.Errorf("SubjectSessions(%q, %v), want ann/é and %v", subject, page, want)
		}
		return []token.Session{
			{Name: token.ID{}.Name(), Created: created, Expires: created.Add(time.Hour), Meta: []byte(`{"a":"\"}"}`)},
			{Name: token.ID{1}.Name(), Created: created.Add(-time.Hour), Expires: created.Add(time.Second), Meta: []byte(`{}`)},
		}, true, nil
	}}
	want := `{"Ok":{"sessions":[{"session":"r1Vw9aGBC3r3jK9L","created":"2026-11-25T03:29:59Z","expires":"2026-11-25T04:29:59Z","meta":{"a":"\"}"}},` +
		`{"session":"` + token.ID{1}.Name().String() + `","created":"2026-11-25T02:29:59Z","expires":"2026-11-25T03:30:00Z","meta":{}}],"more":true}}`
	r := serve(t, Config{Store: store}).do(t, "POST", "/subject/sessions", subjectBody(`ann\/\u00e9`))
	if r.body != want {
		t.Errorf("sessions of a subject: %s, want\n%s", r.body, want)
	}
	r.wantHeaders(t, map[string]string{
		"Content-Type": "application/json", "Content-Length": fmt.Sprint(len(want)), "Cache-Control": "no-store",
	})
}

func TestSubjectSessionsLimit(t *testing.T) {
	store := newStore(t, shard.Config{})
	c := serve(t, Config{Store: store}).dial(t)
	var tokens []string
	for i := range 1000 {
		tokens = append(tokens, c.createFor("ann", fmt.Sprintf(`{"n":%d}`, i)))
	}
	newest := func(n, last int) (want []string) {
		for i := range n {
			want = append(want, fmt.Sprintf(`{"n":%d}`, last-i))
		}
		return want
	}
	c.wantSessions("ann", newest(1000, 999)...)
	tokens = append(tokens, c.createFor("ann", `{"n":1000}`))

	r := c.do("POST", "/subject/sessions", subjectBody("ann"))
	if !strings.HasSuffix(r.body, `],"more":true}}`) {
		t.Errorf("of 1001 sessions are listed %.100s, want more", r.body)
	}
	r.body = strings.Replace(r.body, `,"more":true`, "", 1)
	if got := listed(t, r); !slices.Equal(got, newest(1000, 1000)) {
		t.Errorf("of 1001 sessions are listed %d, want the newest 1000", len(got))
	}
	for _, tok := range tokens {
		id := parse(t, tok).ID
		for _, secret := range []string{tok, tok[:10], fmt.Sprintf("%x", id), fmt.Sprintf("%d", id)} {
			if strings.Contains(r.body, secret) {
				t.Fatalf("the list has %q of token %q", secret, tok)
			}
		}
	}

	c.do("DELETE", "/token", tokenBody(tokens[500])) // and there are no more than 1,000
	c.wantSessions("ann", append(newest(500, 1000), newest(500, 499)...)...)
	c.wantEnded("ann", 1000)
	if got := store.Stats(); got.Sessions != 0 || got.Subjects != 0 || got.Ended != 1000 {
		t.Errorf("%d sessions and %d subjects are left, %d are counted as ended", got.Sessions, got.Subjects, got.Ended)
	}
}

// A page has 1 MiB of metadata at most, so that nobody makes the server build one of
// gigabytes, but never no session.
func TestSubjectSessionsBytes(t *testing.T) {
	const mebibyte = 1 << 20
	c := serve(t, Config{Store: newStore(t, shard.Config{MaxMeta: 2 * mebibyte}), MaxBody: 3 * mebibyte}).dial(t)
	sized := func(n, size int) string {
		frame := len(fmt.Sprintf(`{"n":%d,"s":""}`, n))
		return fmt.Sprintf(`{"n":%d,"s":"%s"}`, n, strings.Repeat("x", size-frame))
	}
	for n, size := range []int{mebibyte / 4, mebibyte / 4, mebibyte / 4, mebibyte / 4, mebibyte / 4, mebibyte + 1, 2 * mebibyte, 100} {
		c.createFor("ann", sized(n, size))
	}
	var got []int
	after := ""
	for more := true; more; {
		r := c.do("POST", "/subject/sessions", `{"subject":"ann"`+after+`}`)
		var sessions []listedSession
		sessions, more = page(t, r)
		size := 0
		for _, session := range sessions {
			size += len(session.Meta)
		}
		if over := len(r.body) - size; over > 128*(1+len(sessions)) {
			t.Errorf("a page has %d bytes beside metadata, want at most 128 a session", over)
		}
		got = append(got, len(sessions))
		after = `,"after":"` + sessions[len(sessions)-1].Session + `"`
	}
	if want := []int{1, 1, 1, 4, 1}; !slices.Equal(got, want) {
		t.Errorf("pages have %d sessions, want %d", got, want)
	}
	c.wantEnded("ann", 8)
}

// Each session is on one page, in one order, whatever begins meanwhile.
func TestSubjectSessionsPages(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	var tokens []string
	for i := range 25 {
		tokens = append(tokens, c.createFor("ann", fmt.Sprintf(`{"n":%d}`, i)))
	}
	bob := c.createFor("bob", `{}`)
	for _, limit := range []int{1, 7, 24, 25, 26, 1000} {
		var got []string
		for after, more := "null", true; more; {
			var sessions []listedSession
			sessions, more = page(t, c.do("POST", "/subject/sessions", fmt.Sprintf(`{"subject":"ann","limit":%d,"after":%s}`, limit, after)))
			if len(sessions) > limit {
				t.Fatalf("a page of %d sessions, want at most %d", len(sessions), limit)
			}
			for _, session := range sessions {
				got = append(got, session.Session)
			}
			after = `"` + got[len(got)-1] + `"`
		}
		for i, tok := range tokens {
			if n := len(tokens); len(got) != n || got[n-1-i] != nameOf(t, tok) {
				t.Fatalf("pages of %d list %d sessions, want %d, the newest first", limit, len(got), n)
			}
		}
	}

	// Where the one before has ended, one starts again.
	first, _ := page(t, c.do("POST", "/subject/sessions", `{"subject":"ann","limit":3}`))
	next := `{"subject":"ann","limit":2,"after":"` + first[2].Session + `"}`
	tokens[22], _ = c.exchange(tokens[22], "")
	if sessions, more := page(t, c.do("POST", "/subject/sessions", next)); len(sessions) != 2 || !more || sessions[0].Session != nameOf(t, tokens[21]) {
		t.Errorf("the page after an exchange has %d sessions, want the next 2", len(sessions))
	}
	c.do("DELETE", "/token", tokenBody(tokens[22]))
	r := c.do("POST", "/subject/sessions", next)
	r.wantError(t, 422, "InvalidRequest")
	for _, after := range []string{nameOf(t, bob), nameOf(t, somewhere), "", "x", "AAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAA=", bob, marker} {
		r := c.do("POST", "/subject/sessions", `{"subject":"ann","after":"`+after+`"}`)
		r.wantError(t, 422, "InvalidRequest")
	}
	last := `{"subject":"ann","after":"` + nameOf(t, tokens[0]) + `"}`
	if r := c.do("POST", "/subject/sessions", last); r.body != noSessions {
		t.Errorf("the page after the last session: %v, want none", r)
	}
}
