package server

import (
	"context"
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
func listed(t testing.TB, r reply) []string {
	t.Helper()
	var answer struct {
		Ok struct {
			Sessions []struct {
				Created, Expires time.Time
				Meta             json.RawMessage
			}
		}
	}
	decoder := json.NewDecoder(strings.NewReader(r.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&answer); err != nil || r.status != 200 || r.contentType() != "application/json" || answer.Ok.Sessions == nil {
		t.Errorf("sessions of a subject: %v, %v", r, err)
	}
	var metas []string
	for _, session := range answer.Ok.Sessions {
		metas = append(metas, string(session.Meta))
	}
	return metas
}

const noSessions = `{"Ok":{"sessions":[]}}`

// Metadata is listed as it is, the newest session first; an exchange changes
// when a session expires, and not its place.
func TestSubjectSessions(t *testing.T) {
	withPolicies(t, shard.Config{}, func(t *testing.T, d *direct) { // begins at midnight
		create := func(fields string) string { return d.do(t, "POST", "/token", `{"subject":"ann",`+fields+`}`).body }
		first := create(`"meta":{ "n" : 1.0, "s":"\u00e9\/" }`)
		time.Sleep(90 * time.Second)
		create(`"meta":{},"lifetime":"4 days"`)
		time.Sleep(time.Second - 1)
		create(`"meta":{"n":[]},"lifetime":"30min"`)
		d.do(t, "POST", "/token", `{"meta":{},"subject":"bob"}`)
		time.Sleep(time.Hour - 91*time.Second + 1)
		d.do(t, "PUT", "/token", exchangeBody(first, `{"n":2}`))

		want := `{"Ok":{"sessions":[` +
			`{"created":"2000-01-01T00:01:30Z","expires":"2000-01-05T00:01:30Z","meta":{}},` +
			`{"created":"2000-01-01T00:00:00Z","expires":"2000-01-01T03:00:00Z","meta":{"n":2,"s":"\u00e9\/"}}]}}`
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
	list func(subject string, limit int) ([]token.Session, bool, error)
}

func (s *subjectStore) SubjectSessions(_ context.Context, subject []byte, limit int) ([]token.Session, bool, error) {
	return s.list(string(subject), limit)
}

// Times are in UTC, whatever the store says, and no part of them but seconds.
func TestSubjectSessionsFormat(t *testing.T) {
	zone := time.FixedZone("", -(3*3600 + 1800))
	created := time.Date(2026, 11, 24, 23, 59, 59, 999_999_999, zone)
	store := &subjectStore{list: func(subject string, limit int) ([]token.Session, bool, error) {
		if subject != "ann/é" || limit != 1000 {
			t.Errorf("SubjectSessions(%q, %d), want ann/é and 1000", subject, limit)
		}
		return []token.Session{
			{Created: created, Expires: created.Add(time.Hour), Meta: []byte(`{"a":"\"}"}`)},
			{Created: created.Add(-time.Hour), Expires: created.Add(time.Second), Meta: []byte(`{}`)},
		}, true, nil
	}}
	want := `{"Ok":{"sessions":[{"created":"2026-11-25T03:29:59Z","expires":"2026-11-25T04:29:59Z","meta":{"a":"\"}"}},` +
		`{"created":"2026-11-25T02:29:59Z","expires":"2026-11-25T03:30:00Z","meta":{}}],"more":true}}`
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
	all, more := strings.CutSuffix(r.body, `],"more":true}}`)
	r.body = all + "]}}"
	if got := listed(t, r); !more || !slices.Equal(got, newest(1000, 1000)) {
		t.Errorf("of 1001 sessions are listed %d, with more: %v", len(got), more)
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

// A list has 16 MiB of metadata at most, so that nobody makes the server build
// one of gigabytes.
func TestSubjectSessionsBytes(t *testing.T) {
	const mebibyte, most = 1 << 20, 16
	c := serve(t, Config{Store: newStore(t, shard.Config{MaxMeta: mebibyte}), MaxBody: 2 * mebibyte}).dial(t)
	const frame = len(`{"n":10,"s":""}`)
	fill := strings.Repeat("x", mebibyte-frame)
	for i := range most + 2 {
		c.createFor("ann", fmt.Sprintf(`{"n":%d,"s":"%s"}`, 10+i, fill))
	}
	r := c.do("POST", "/subject/sessions", subjectBody("ann"))
	all, more := strings.CutSuffix(r.body, `],"more":true}}`)
	r.body = all + "]}}"
	if got := listed(t, r); len(got) != most || !more || !strings.HasPrefix(got[0], `{"n":27,`) {
		t.Errorf("%d sessions are listed, more: %v, want the newest %d", len(got), more, most)
	}
	if over := len(r.body) - most*mebibyte; over > 100*(1+most) {
		t.Errorf("the list has %d bytes beside metadata, want at most 100 a session", over)
	}
	c.wantEnded("ann", most+2)
}
