package sessiontest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenserver/client"
	"tokenserver/client/session"
)

// Open returns a client of an empty store with the settings of cfg, and a function that
// moves its time on.
type Open func(t *testing.T, cfg Config) (c session.Client, advance func(d time.Duration))

// Run tests that a client keeps sessions as a token server does.
func Run(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		cfg  Config
		test func(s *suite)
	}{
		{"life of a session", Config{}, testLife},
		{"metadata", Config{}, testMetadata},
		{"refused", Config{}, testRefused},
		{"too large", Config{MaxMeta: 1 << 10}, testTooLarge},
		{"expiry", Config{Lifetime: time.Hour}, testExpiry},
		{"strict", Config{}, testStrict},
		{"grace", Config{Grace: 10 * time.Second}, testGrace},
		{"revoke", Config{Grace: 10 * time.Second, RevokeOnReuse: true}, testRevoke},
		{"subjects", Config{}, testSubjects},
		{"pages", Config{}, testPages},
		{"one winner", Config{}, testOneWinner},
		{"canceled", Config{}, testCanceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, advance := open(t, c.cfg)
			c.test(&suite{t, client, advance})
		})
	}
}

// suite is a test of a client.
type suite struct {
	*testing.T
	c       session.Client
	advance func(d time.Duration)
}

func (s *suite) create(begin client.NewSession) string {
	s.Helper()
	if begin.Meta == nil {
		begin.Meta = json.RawMessage(`{"a":1}`)
	}
	token, err := s.c.Create(s.Context(), begin)
	if err != nil {
		s.Fatalf("Create = %v", err)
	}
	return token
}

func (s *suite) exchange(token string, patch client.Patch, wantMeta string, wantReused bool) (next string) {
	s.Helper()
	x, err := s.c.Exchange(s.Context(), token, patch)
	if err != nil || string(x.Meta) != wantMeta || x.Reused != wantReused {
		s.Fatalf("Exchange = %s, reused %v, %v, want %s, %v", x.Meta, x.Reused, err, wantMeta, wantReused)
	}
	return x.Token
}

// invalid checks that a token is.
func (s *suite) invalid(token string) {
	s.Helper()
	_, err := s.c.Exchange(s.Context(), token, client.Patch{})
	s.is("Exchange", err, client.ErrInvalidToken)
	s.looksInvalid(token)
}

func (s *suite) looksInvalid(token string) {
	s.Helper()
	_, err := s.c.Validate(s.Context(), token)
	s.is("Validate", err, client.ErrInvalidToken)
}

func (s *suite) valid(token, wantMeta string) {
	s.Helper()
	v, err := s.c.Validate(s.Context(), token)
	if err != nil || string(v.Meta) != wantMeta {
		s.Errorf("Validate = %s, %v, want %s", v.Meta, err, wantMeta)
	}
}

func (s *suite) is(what string, got, want error) {
	s.Helper()
	if !errors.Is(got, want) {
		s.Errorf("%s = %v, want %v", what, got, want)
	}
}

func (s *suite) ended(subject string, e client.Ending, want int) {
	s.Helper()
	got, err := s.c.EndSubject(s.Context(), subject, e)
	if err != nil || got != want {
		s.Errorf("EndSubject(%q, %+v) = %d, %v, want %d", subject, e, got, err, want)
	}
}

func testLife(s *suite) {
	first := s.create(client.NewSession{})
	s.valid(first, `{"a":1}`)
	second := s.exchange(first, client.Patch{}, `{"a":1}`, false)
	if first == second || len(first) != len(second) || first[:10] != second[:10] {
		s.Error("the tokens of a session must differ but in their first 10 characters")
	}
	s.valid(second, `{"a":1}`)
	if err := s.c.Delete(s.Context(), second); err != nil {
		s.Errorf("Delete = %v", err)
	}
	s.invalid(second)
	for _, token := range []string{"", "x", first, second, strings.Repeat("A", 32), "é", strings.Repeat("A", 1000)} {
		s.invalid(token)
		if err := s.c.Delete(s.Context(), token); err != nil {
			s.Errorf("Delete of an invalid token = %v", err)
		}
	}
}

func testMetadata(s *suite) {
	token := s.create(client.NewSession{Meta: json.RawMessage(` { "a" : 1.0 , "\u0062" : "\u00e9 \" {", "c":[ 1e999, {} ] } `)})
	for _, c := range []struct {
		patch string
		unset []string
		want  string
	}{
		{"", nil, `{"a":1.0,"\u0062":"\u00e9 \" {","c":[1e999,{}]}`},
		{`{}`, nil, `{"a":1.0,"\u0062":"\u00e9 \" {","c":[1e999,{}]}`},
		{`{"b": 2, "d": null}`, nil, `{"a":1.0,"\u0062":2,"c":[1e999,{}],"d":null}`},
		{`{"\u0061":1,"a":3,"e":5}`, []string{"c", "e", "none"}, `{"a":3,"\u0062":2,"d":null}`},
		{"", []string{"a", "b", "d"}, `{}`},
		{`{"z":{"y":[]}}`, nil, `{"z":{"y":[]}}`},
	} {
		patch := client.Patch{Unset: c.unset}
		if c.patch != "" {
			patch.Meta = json.RawMessage(c.patch)
		}
		token = s.exchange(token, patch, c.want, false)
	}
}

func testRefused(s *suite) {
	deep := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	s.create(client.NewSession{Meta: json.RawMessage(deep(maxDepth))})
	s.create(client.NewSession{Meta: json.RawMessage(`{"a":"\ud83d\ude00\\ud83d"}`)})
	token := s.create(client.NewSession{})
	for _, meta := range []string{`[]`, `1`, `{`, `{"a":1}}`, "{\"a\":\"\xff\"}", `{"a":"\ud83d"}`, `{"a":"\ud83dx"}`, deep(maxDepth + 1)} {
		_, err := s.c.Create(s.Context(), client.NewSession{Meta: json.RawMessage(meta)})
		s.is("Create with "+meta, err, client.ErrInvalidRequest)
		_, err = s.c.Exchange(s.Context(), token, client.Patch{Meta: json.RawMessage(meta)})
		s.is("Exchange with "+meta, err, client.ErrInvalidRequest)
	}
	for _, begin := range []client.NewSession{
		{}, {Meta: json.RawMessage(`{}`), Lifetime: time.Second}, {Meta: json.RawMessage(`{}`), Lifetime: 97 * time.Hour},
		{Meta: json.RawMessage(`{}`), Subject: strings.Repeat("s", maxSubject+1)}, {Meta: json.RawMessage(`{}`), Subject: "\xff"},
	} {
		_, err := s.c.Create(s.Context(), begin)
		s.is(fmt.Sprintf("Create(%+v)", begin), err, client.ErrInvalidRequest)
	}
	for _, l := range []client.Listing{{Limit: -1}, {Limit: maxListed + 1}, {After: "none"}} {
		_, err := s.c.SubjectSessions(s.Context(), "s", l)
		s.is(fmt.Sprintf("SubjectSessions(%+v)", l), err, client.ErrInvalidRequest)
	}
	_, err := s.c.SubjectSessions(s.Context(), "", client.Listing{})
	s.is("SubjectSessions of no subject", err, client.ErrInvalidRequest)
	_, err = s.c.EndSubject(s.Context(), "s", client.Ending{Session: "a", Keep: token})
	s.is("EndSubject with both", err, client.ErrInvalidRequest)
	s.valid(token, `{"a":1}`)
}

func testTooLarge(s *suite) {
	large := func(n int) json.RawMessage {
		return json.RawMessage(`{"b":"` + strings.Repeat("x", n-len(`{"b":""}`)) + `"}`)
	}
	_, err := s.c.Create(s.Context(), client.NewSession{Meta: large(1<<10 + 1)})
	s.is("Create", err, client.ErrMetaTooLarge)
	s.create(client.NewSession{Meta: large(1 << 10)})
	token := s.create(client.NewSession{})
	_, err = s.c.Exchange(s.Context(), token, client.Patch{Meta: large(1 << 10)})
	s.is("Exchange", err, client.ErrMetaTooLarge)
	s.exchange(token, client.Patch{}, `{"a":1}`, false)
}

func testExpiry(s *suite) {
	token, long := s.create(client.NewSession{}), s.create(client.NewSession{Lifetime: 3 * time.Hour})
	v, err := s.c.Validate(s.Context(), token)
	if err != nil || v.ExpiresIn > time.Hour || v.ExpiresIn < 59*time.Minute || v.ExpiresIn%time.Second != 0 {
		s.Errorf("Validate = expires in %v, %v, want 1h0m0s", v.ExpiresIn, err)
	}
	s.advance(59 * time.Minute)
	token = s.exchange(token, client.Patch{}, `{"a":1}`, false)
	s.advance(59 * time.Minute)
	s.valid(token, `{"a":1}`) // which renews nothing
	s.advance(2 * time.Minute)
	s.invalid(token)
	s.valid(long, `{"a":1}`)
	s.advance(time.Hour)
	s.invalid(long)
}

func testStrict(s *suite) {
	first := s.create(client.NewSession{})
	second := s.exchange(first, client.Patch{}, `{"a":1}`, false)
	s.invalid(first)
	if err := s.c.Delete(s.Context(), first); err != nil {
		s.Errorf("Delete = %v", err)
	}
	s.exchange(second, client.Patch{}, `{"a":1}`, false)
}

func testGrace(s *suite) {
	first := s.create(client.NewSession{})
	second := s.exchange(first, client.Patch{}, `{"a":1}`, false)
	if again := s.exchange(first, client.Patch{Meta: json.RawMessage(`{"b":2}`)}, `{"a":1,"b":2}`, true); again != second {
		s.Error("a token in its grace must be answered with the newest one")
	}
	s.valid(first, `{"a":1,"b":2}`)
	s.advance(11 * time.Second)
	s.invalid(first)
	newest := second
	for range maxSpent + 1 {
		newest = s.exchange(newest, client.Patch{}, `{"a":1,"b":2}`, false)
	}
	s.invalid(second) // it is too many exchanges old
	last := s.exchange(newest, client.Patch{}, `{"a":1,"b":2}`, false)
	if err := s.c.Delete(s.Context(), newest); err != nil {
		s.Errorf("Delete in the grace = %v", err)
	}
	s.invalid(last)
}

func testRevoke(s *suite) {
	for _, how := range []func(token string){
		func(token string) { s.invalid(token) },
		func(token string) { s.c.Delete(s.Context(), token) },
	} {
		first := s.create(client.NewSession{})
		second := s.exchange(first, client.Patch{}, `{"a":1}`, false)
		s.exchange(first, client.Patch{}, `{"a":1}`, true)
		s.advance(11 * time.Second)
		s.looksInvalid(first)
		s.valid(second, `{"a":1}`)
		how(first)
		s.invalid(second)
	}
}

func testSubjects(s *suite) {
	var tokens []string
	for i := range 3 {
		tokens = append(tokens, s.create(client.NewSession{Subject: "ada", Meta: fmt.Appendf(nil, `{"n":%d}`, i)}))
		s.advance(time.Second)
	}
	other := s.create(client.NewSession{Subject: "bob"})
	list := s.list("ada", client.Listing{}, false, `{"n":2}`, `{"n":1}`, `{"n":0}`)
	tokens[0] = s.exchange(tokens[0], client.Patch{}, `{"n":0}`, false)
	again := s.list("ada", client.Listing{}, false, `{"n":2}`, `{"n":1}`, `{"n":0}`)
	for i := range list {
		if list[i].Name != again[i].Name || len(list[i].Name) != 16 || !list[i].Created.Equal(again[i].Created) {
			s.Errorf("session %d is %+v, and was %+v", i, again[i], list[i])
		}
	}
	s.ended("ada", client.Ending{Session: "none"}, 0)
	s.ended("bob", client.Ending{Session: list[0].Name}, 0)
	s.ended("ada", client.Ending{Session: list[0].Name}, 1)
	s.invalid(tokens[2])
	for _, keep := range []string{other, tokens[2], "x"} {
		_, err := s.c.EndSubject(s.Context(), "ada", client.Ending{Keep: keep})
		s.is("EndSubject that keeps another's", err, client.ErrInvalidToken)
	}
	s.ended("ada", client.Ending{Keep: tokens[1]}, 1)
	s.invalid(tokens[0])
	s.ended("ada", client.Ending{}, 1)
	s.ended("ada", client.Ending{}, 0)
	s.list("ada", client.Listing{}, false)
	s.valid(other, `{"a":1}`)
}

// list checks which sessions are listed, by their metadata.
func (s *suite) list(subject string, l client.Listing, more bool, want ...string) []client.Session {
	s.Helper()
	got, err := s.c.SubjectSessions(s.Context(), subject, l)
	if err != nil || got.More != more || len(got.Sessions) != len(want) {
		s.Fatalf("SubjectSessions(%q, %+v) = %+v, %v, want %q, more %v", subject, l, got, err, want, more)
	}
	for i, session := range got.Sessions {
		if string(session.Meta) != want[i] || !session.Created.Before(session.Expires) {
			s.Errorf("SubjectSessions(%q, %+v): session %d = %+v, want %s", subject, l, i, session, want[i])
		}
	}
	return got.Sessions
}

func testPages(s *suite) {
	for i := range 5 {
		s.create(client.NewSession{Subject: "ada", Meta: fmt.Appendf(nil, `{"n":%d}`, i)})
		s.advance(time.Second)
	}
	first := s.list("ada", client.Listing{Limit: 2}, true, `{"n":4}`, `{"n":3}`)
	second := s.list("ada", client.Listing{Limit: 2, After: first[1].Name}, true, `{"n":2}`, `{"n":1}`)
	s.list("ada", client.Listing{Limit: 2, After: second[1].Name}, false, `{"n":0}`)
	s.ended("ada", client.Ending{Session: first[1].Name}, 1)
	_, err := s.c.SubjectSessions(s.Context(), "ada", client.Listing{After: first[1].Name})
	s.is("SubjectSessions after one that has ended", err, client.ErrInvalidRequest)
}

func testOneWinner(s *suite) {
	token := s.create(client.NewSession{})
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			switch _, err := s.c.Exchange(s.Context(), token, client.Patch{}); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, client.ErrInvalidToken):
				s.Errorf("Exchange = %v", err)
			}
		})
	}
	wg.Wait()
	if got := won.Load(); got != 1 {
		s.Errorf("%d of 16 exchanges won, want 1", got)
	}
}

func testCanceled(s *suite) {
	token := s.create(client.NewSession{})
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	_, err := s.c.Exchange(ctx, token, client.Patch{})
	s.is("Exchange", err, client.ErrUnavailable)
	s.is("Exchange", err, context.Canceled)
	s.exchange(token, client.Patch{}, `{"a":1}`, false)
}
