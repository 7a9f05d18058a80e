package storetest

import (
	"fmt"
	"slices"
	"time"

	"tokenserver/token"
)

// testSubjectSessions lists sessions with all that is told of them, which an
// exchange does not make newer.
func testSubjectSessions(t *tester) {
	lifetime, _, _ := t.phases()
	const gap = 20 * time.Millisecond
	t.subjectSessions("ada", 10, false)
	start := t.now()
	first := t.createFor("ada", `{"n":1}`)
	time.Sleep(gap)
	t.createFor("ada", `{"n":2}`)
	t.createFor("bob", `{"n":3}`)
	time.Sleep(gap)
	t.createNew(token.NewSession{Subject: []byte("ada"), Meta: []byte(`{"n":4}`), Lifetime: 2 * lifetime})
	time.Sleep(gap)
	first = t.exchange(first, `{"m":1}`, `{"n":1,"m":1}`)
	got := t.subjectSessions("ada", 10, false, `{"n":4}`, `{"n":2}`, `{"n":1,"m":1}`)
	want := []struct{ created, expires time.Duration }{
		{2 * gap, 2*gap + 2*lifetime}, {gap, gap + lifetime}, {0, 3*gap + lifetime},
	}
	for i, s := range got {
		t.expiresIn(s.Created, t.until(start.Add(want[i].created)))
		t.expiresIn(s.Expires, t.until(start.Add(want[i].expires)))
	}
	t.exchange(first, "", `{"n":1,"m":1}`)
	t.subjectSessions("bob", 10, false, `{"n":3}`)
}

func testSubjectSessionsLimit(t *tester) {
	const n = 20
	tokens, metas := t.createManyFor("ada", n)
	t.createManyFor("bob", 3)
	newestFirst := slices.Clone(metas)
	slices.Reverse(newestFirst)
	for _, limit := range []int{1, 2, n - 1, n, n + 1, 1000} {
		t.subjectSessions("ada", limit, limit < n, newestFirst[:min(limit, n)]...)
	}
	// Sessions leave the ends of the list, and its middle.
	for i, gone := range []int{n - 1, 0, n / 2} {
		t.delete(tokens[gone])
		newestFirst = slices.DeleteFunc(newestFirst, func(meta string) bool { return meta == metas[gone] })
		rest := n - 1 - i
		t.subjectSessions("ada", rest, false, newestFirst...)
		t.subjectSessions("ada", rest-1, true, newestFirst[:rest-1]...)
	}
}

func testSubjectSessionsLive(t *tester) {
	lifetime, _, _ := t.phases()
	long := func(meta string) token.Token {
		return t.createNew(token.NewSession{Subject: []byte("ada"), Meta: []byte(meta), Lifetime: 4 * lifetime})
	}
	long(`{"n":1}`)
	time.Sleep(2 * time.Millisecond)
	deleted := long(`{"n":2}`)
	for i := range 5 {
		t.createFor("ada", fmt.Sprintf(`{"expires":%d}`, i))
	}
	t.delete(deleted)
	t.sleepUntil(t.now().Add(lifetime))
	t.subjectSessions("ada", 1, false, `{"n":1}`)
	last := long(`{"n":3}`)
	t.subjectSessions("ada", 1, true, `{"n":3}`)
	t.subjectSessions("ada", 2, false, `{"n":3}`, `{"n":1}`)
	t.delete(last)
	t.subjectSessions("ada", 2, false, `{"n":1}`)
	t.wantListed([]string{`{"n":1}`})
}

func testSubjectSessionsRevoked(t *tester) {
	_, metas := t.createManyFor("ada", 2)
	chain := t.exchangeTimes(token.GraceDepth+1, t.createFor("ada", `{"stolen":1}`), `{"stolen":1}`)
	t.subjectSessions("ada", 10, false, `{"stolen":1}`, metas[1], metas[0])
	t.exchangeError(chain[0], "", token.ErrInvalid)
	t.subjectSessions("ada", 10, false, metas[1], metas[0])
	t.endSubject("ada", 2)
}

func testSubjectSessionsCopy(t *tester) {
	tokens, metas := t.createManyFor("ada", 3)
	for _, s := range t.subjectSessions("ada", 10, false, metas[2], metas[1], metas[0]) {
		spoil(s.Meta)
	}
	for i, tok := range tokens {
		t.exchange(tok, "", metas[i])
	}
}

// testSubjectSessionsOverExpired lists what lives behind more sessions than a
// listing has, all of which have expired.
func testSubjectSessionsOverExpired(t *tester) {
	const expired, live = 2500, 3
	lifetime, _, _ := t.phases()
	var want []string
	for i := range live {
		meta := fmt.Sprintf(`{"live":%d}`, i)
		t.createNew(token.NewSession{Subject: []byte("ada"), Meta: []byte(meta), Lifetime: 4 * time.Hour})
		want = append([]string{meta}, want...)
		time.Sleep(2 * time.Millisecond)
	}
	for range expired {
		t.createFor("ada", `{"expires":1}`)
	}
	t.sleepUntil(t.now().Add(lifetime))
	t.subjectSessions("ada", live-1, true, want[:live-1]...)
	t.subjectSessions("ada", live, false, want...)
	t.subjectSessions("ada", 1000, false, want...)
	t.endSubject("ada", live)
}

// testSubjectSessionsBytes lists sessions with more metadata than a listing has.
func testSubjectSessionsBytes(t *tester) {
	const fit = 4
	create := func(name string, size int) (token.Token, string) {
		meta := text(name, size)
		tok := t.createFor("ada", meta)
		time.Sleep(2 * time.Millisecond)
		return tok, meta
	}
	var tokens []token.Token
	var want []string // the newest first
	for i := range fit {
		tok, meta := create(fmt.Sprint("n", i), token.MaxListing/fit)
		tokens, want = append(tokens, tok), append([]string{meta}, want...)
	}
	t.subjectSessions("ada", 1000, false, want...)
	t.subjectSessions("ada", fit-1, true, want[:fit-1]...)
	small, meta := create("s", 10)
	t.subjectSessions("ada", 1000, true, append([]string{meta}, want[:fit-1]...)...)
	t.delete(small)
	t.subjectSessions("ada", 1000, false, want...)

	// One that has more than all may have together is listed alone.
	_, meta = create("l", token.MaxListing+1)
	t.subjectSessions("ada", 1000, true, meta)
	for _, tok := range tokens {
		t.delete(tok)
	}
	t.subjectSessions("ada", 1000, false, meta)
	t.endSubject("ada", 1)
}
