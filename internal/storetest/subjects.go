package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"tokenserver/token"
)

func (h Harness) subjectTests() []test {
	lifetime, _, _ := h.phases()
	plain := Config{Lifetime: time.Hour}
	expiring := Config{Lifetime: lifetime}
	large := Config{Lifetime: time.Hour, MaxMeta: token.MaxListing + 1}
	grace := Config{Lifetime: time.Hour, Grace: time.Minute}
	revoke := Config{Lifetime: time.Hour, Grace: time.Minute, RevokeOnReuse: true}
	return []test{
		{name: "End", cfg: plain, run: testEndSubject},
		{name: "EndCountsLive", cfg: expiring, run: testEndCountsLive},
		{name: "EndExchanged", cfg: grace, run: testEndExchanged},
		{name: "EndMany", cfg: plain, run: testEndMany},
		{name: "Names", cfg: plain, run: testSubjectNames},
		{name: "Nobody", cfg: plain, run: testSubjectNobody},
		{name: "List", cfg: expiring, run: testSubjectSessions},
		{name: "ListLimit", cfg: plain, run: testSubjectSessionsLimit},
		{name: "ListLive", cfg: expiring, run: testSubjectSessionsLive},
		{name: "ListRevoked", cfg: revoke, run: testSubjectSessionsRevoked},
		{name: "ListIsACopy", cfg: plain, run: testSubjectSessionsCopy},
		{name: "ListOverExpired", cfg: expiring, run: testSubjectSessionsOverExpired},
		{name: "ListBytes", cfg: large, run: testSubjectSessionsBytes},
		{name: "SessionNames", cfg: plain, run: testSessionNames},
		{name: "Pages", cfg: plain, run: testSubjectPages},
		{name: "PagesOfMany", cfg: plain, run: testSubjectPagesOfMany},
		{name: "PagesBytes", cfg: large, run: testSubjectPagesBytes},
		{name: "PagesChange", cfg: plain, run: testSubjectPagesChange},
		{name: "PagesUnknown", cfg: expiring, run: testSubjectPagesUnknown},
		{name: "EndSession", cfg: expiring, run: testEndSession},
		{name: "EndSessionOfMany", cfg: plain, run: testEndSessionOfMany},
		{name: "EndSessionOfNobody", cfg: grace, run: testEndSessionOfNobody},
		{name: "EndOthers", cfg: plain, run: testEndOthers},
		{name: "EndOthersMany", cfg: plain, run: testEndOthersMany},
		{name: "EndOthersRefused", cfg: expiring, run: testEndOthersRefused},
		{name: "EndOthersInGrace", cfg: revoke, run: testEndOthersInGrace},
		{name: "EndOthersRacesExchanges", cfg: plain, run: testEndOthersRacesExchanges},
		{name: "EndOthersRacesExchangesInGrace", cfg: revoke, run: testEndOthersRacesExchanges},
		{name: "EndOthersRacesCreates", cfg: plain, run: testEndOthersRacesCreates},
		{name: "EndRacesExchanges", cfg: plain, run: testEndRacesExchanges},
		{name: "EndRacesExchangesInGrace", cfg: revoke, run: testEndRacesExchanges},
		{name: "EndRacesCreates", cfg: plain, run: testEndRacesCreates},
		{name: "EndRacesEnd", cfg: grace, run: testEndRacesEnd},
	}
}

// createManyFor creates n sessions of a subject, a little apart, so that it is
// certain which is newer.
func (t *tester) createManyFor(subject string, n int) (tokens []token.Token, metas []string) {
	t.Helper()
	for i := range n {
		metas = append(metas, fmt.Sprintf(`{"%s":%d}`, subject, i))
		tokens = append(tokens, t.createFor(subject, metas[i]))
		time.Sleep(2 * time.Millisecond)
	}
	return tokens, metas
}

func testEndSubject(t *tester) {
	t.endSubject("ada", 0)
	ada, _ := t.createManyFor("ada", 3)
	bob, bobs := t.createManyFor("bob", 2)
	plain := t.create(`{"plain":1}`)
	t.endSubject("ada", 3)
	for _, tok := range ada {
		t.invalid(tok)
	}
	t.endSubject("ada", 0)
	t.endSubject("carol", 0)
	t.wantListed(append(bobs, `{"plain":1}`))
	t.exchange(plain, "", `{"plain":1}`)
	t.exchange(bob[0], "", bobs[0])

	// The subject begins anew.
	again := t.createFor("ada", `{"again":1}`)
	t.subjectSessions("ada", 10, false, `{"again":1}`)
	again = t.exchange(again, "", `{"again":1}`)
	t.endSubject("ada", 1)
	t.invalid(again)
	t.endSubject("bob", 2)
	t.wantListed([]string{`{"plain":1}`})
}

func testEndCountsLive(t *tester) {
	lifetime, _, _ := t.phases()
	deleted, expired := t.createFor("ada", `{"deleted":1}`), t.createFor("ada", `{"expired":1}`)
	longer := t.createNew(token.NewSession{Subject: []byte("ada"), Meta: []byte(`{"longer":1}`), Lifetime: 4 * lifetime})
	t.delete(deleted)
	t.sleepUntil(t.now().Add(lifetime))
	t.endSubject("ada", 1)
	t.invalid(longer)
	t.invalid(expired)
	t.endSubject("ada", 0)
	t.wantListed(nil)
}

// testEndExchanged ends sessions whose tokens and metadata have changed.
func testEndExchanged(t *tester) {
	var all []token.Token
	for n := range 4 * token.GraceDepth {
		tok := t.createFor("ada", `{"a":1}`)
		chain := t.exchangeTimes(n%(token.GraceDepth+2), tok, `{"a":1}`)
		grown := text("b", 100*n+20)
		current := t.exchange(chain[len(chain)-1], grown, `{"a":1,`+grown[1:])
		all = append(append(all, chain...), current)
	}
	t.endSubject("ada", 4*token.GraceDepth)
	for _, tok := range all {
		t.invalid(tok)
	}
	t.wantListed(nil)
}

// testEndMany has more sessions than one would end in a single step.
func testEndMany(t *tester) {
	const n = 1500
	var tokens []token.Token
	for i := range n {
		tokens = append(tokens, t.createFor("ada", fmt.Sprintf(`{"n":%d}`, i)))
	}
	kept := t.createFor("bob", `{"kept":1}`)
	for _, tok := range tokens[:100] {
		t.delete(tok)
	}
	list, more, err := t.store.SubjectSessions(t.Context(), []byte("ada"), token.Page{Limit: 1000})
	if len(list) != 1000 || !more || err != nil {
		t.Fatalf("SubjectSessions = %d sessions, more: %v, error %v, want 1000, true", len(list), more, err)
	}
	t.endSubject("ada", n-100)
	for _, tok := range tokens {
		t.exchangeError(tok, "", token.ErrInvalid)
	}
	t.wantListed([]string{`{"kept":1}`})
	t.exchange(kept, "", `{"kept":1}`)
}

// subjectNames are names that are not each other's.
var subjectNames = []string{
	"a", "A", "aa", "a ", "a\x00", "\x00", "\x00\x00", "ä", "a\u0308", "*", "a*", "?", "[a]", "{a}", "a:b", "a:", ":", "\n",
	"user-42", "user-4", "ada@example.com", strings.Repeat("a", 255), strings.Repeat("a", 256), strings.Repeat("😀", 64),
}

func testSubjectNames(t *tester) {
	name := make([]byte, 0, 256)
	for i, subject := range subjectNames {
		name = append(name[:0], subject...)
		t.createNew(token.NewSession{Subject: name, Meta: fmt.Appendf(nil, `{"n":%d}`, i)})
		spoil(name)
	}
	for i, subject := range subjectNames {
		t.subjectSessions(subject, 10, false, fmt.Sprintf(`{"n":%d}`, i))
		t.endSubject(subject, 1)
		t.subjectSessions(subject, 10, false)
	}
	t.wantListed(nil)
}

func testSubjectNobody(t *tester) {
	tok, _ := t.create(`{"a":1}`), t.createFor("ada", `{"b":1}`)
	t.subjectSessions("", 10, false)
	t.endSubject("", 0)
	t.wantListed([]string{`{"a":1}`, `{"b":1}`})
	t.exchange(tok, "", `{"a":1}`)
}

// testEndRacesExchanges ends sessions that are being exchanged all the time:
// none survives, whatever its owner has got meanwhile.
func testEndRacesExchanges(t *tester) {
	const rounds, sessions = 50, 4
	for range t.rounds(rounds) {
		tokens, _ := t.createManyFor("ada", sessions)
		kept := t.createFor("bob", `{"kept":1}`)
		var exchanged atomic.Int64
		var ended atomic.Bool
		atOnce(sessions+1, func(i int) {
			if i == sessions {
				for exchanged.Load() < 2*sessions {
					time.Sleep(time.Microsecond) // lets a fake clock go on, too
				}
				if got, err := t.store.EndSubject(t.Context(), []byte("ada")); got != sessions || err != nil {
					t.Errorf("EndSubject = %d, error %v, want %d", got, err, sessions)
				}
				ended.Store(true)
				return
			}
			for !ended.Load() {
				tokens[i] = t.exchangeIfLive(tokens[i])
				exchanged.Add(1)
				time.Sleep(time.Microsecond)
			}
		})
		for _, tok := range tokens {
			t.invalid(tok)
		}
		t.subjectSessions("ada", 10, false)
		t.exchange(kept, "", `{"kept":1}`)
	}
	t.check(t.T, t.store)
}

// exchangeIfLive returns the token after tok, or tok if its session has ended.
func (t *tester) exchangeIfLive(tok token.Token) token.Token {
	x, err := t.store.Exchange(t.Context(), tok, token.Patch{}, nil)
	if err == nil {
		return x.Token
	}
	if !errors.Is(err, token.ErrInvalid) {
		t.Errorf("Exchange = error %v, want none or %v", err, token.ErrInvalid)
	}
	return tok
}

// testEndRacesCreates ends a subject's sessions while more are created: what
// had been created before the call has ended after it, and what is created
// after it lives.
func testEndRacesCreates(t *tester) {
	for range t.rounds(raceRounds) {
		t.raceCreates(func() {
			if _, err := t.store.EndSubject(t.Context(), []byte("ada")); err != nil {
				t.Errorf("EndSubject = error %v", err)
			}
		})
		if _, err := t.store.EndSubject(t.Context(), []byte("ada")); err != nil {
			t.Fatalf("EndSubject = error %v", err)
		}
		t.wantListed(nil)
	}
	t.check(t.T, t.store)
}

const raceRounds = 10

// raceCreates calls end again and again while sessions of ada's are created, and expects
// that the last call has ended what it has to.
func (t *tester) raceCreates(end func()) {
	t.Helper()
	const creators, creates, ends = 3, 40, 8
	var clock atomic.Int64
	var created [creators][]timedToken
	var ended [ends]timedCall
	atOnce(creators+1, func(i int) {
		if i < creators {
			for range creates {
				created[i] = append(created[i], t.createTimed(&clock, "ada"))
			}
			return
		}
		for i := range ended {
			time.Sleep(4 * time.Microsecond)
			ended[i].begin = clock.Add(1)
			end()
			ended[i].end = clock.Add(1)
		}
	})
	t.wantEnded(ended[ends-1], slices.Concat(created[:]...))
}

// wantEnded expects that of all sessions created those have ended that were there when
// they were ended last, and those live that came later.
func (t *tester) wantEnded(last timedCall, created []timedToken) {
	t.Helper()
	for _, c := range created {
		_, _, err := t.store.Validate(t.Context(), c.token, nil)
		mustEnd, mustLive := c.end < last.begin, c.begin > last.end
		if lives := err == nil; mustEnd && lives || mustLive && !lives {
			t.Fatalf("a session created at %d…%d lives: %v, its subject's sessions were ended last at %d…%d",
				c.begin, c.end, lives, last.begin, last.end)
		}
	}
}

// timedCall is when a call began and ended, on a clock that only counts.
type timedCall struct{ begin, end int64 }

type timedToken struct {
	timedCall
	token token.Token
}

func (t *tester) createTimed(clock *atomic.Int64, subject string) (c timedToken) {
	c.begin = clock.Add(1)
	var err error
	if c.token, err = t.store.Create(t.Context(), token.NewSession{Subject: []byte(subject), Meta: []byte(`{}`)}); err != nil {
		t.Errorf("Create = error %v", err)
	}
	c.end = clock.Add(1)
	time.Sleep(time.Microsecond)
	return c
}

// testEndRacesEnd ends a subject's sessions several times at once: each session
// is counted once.
func testEndRacesEnd(t *tester) {
	const rounds, callers, sessions = 20, 4, 100
	for range t.rounds(rounds) {
		for range sessions {
			t.createFor("ada", `{}`)
		}
		var sum atomic.Int64
		atOnce(callers, func(int) {
			n, err := t.store.EndSubject(t.Context(), []byte("ada"))
			if err != nil {
				t.Errorf("EndSubject = error %v", err)
			}
			sum.Add(int64(n))
		})
		if sum.Load() != sessions {
			t.Fatalf("%d sessions ended by %d calls at once, want %d", sum.Load(), callers, sessions)
		}
	}
	t.check(t.T, t.store)
}
