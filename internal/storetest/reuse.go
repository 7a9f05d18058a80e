package storetest

import (
	"errors"
	"time"

	"tokenserver/token"
)

func (h Harness) reuseTests() []test {
	grace, _ := h.grace()
	lifetime, _, _ := h.phases()
	revoke := Config{Lifetime: time.Hour, Grace: grace, RevokeOnReuse: true, MaxMeta: 1024}
	reject, long, expiring := revoke, revoke, revoke
	reject.RevokeOnReuse = false
	long.Grace = time.Minute
	expiring.Lifetime = lifetime
	return []test{
		{name: "Late", cfg: revoke, run: testRevokeLate},
		{name: "LateAmongOthers", cfg: revoke, run: testRevokeInWindowOfNext},
		{name: "WrongNonce", cfg: long, run: testRevokeWrongNonce},
		{name: "Thief", cfg: long, run: testRevokeThief},
		{name: "InWindow", cfg: revoke, run: testRevokeNotInWindow},
		{name: "Validate", cfg: revoke, run: testValidateNeverRevokes},
		{name: "Unknown", cfg: long, run: testRevokeNotUnknown},
		{name: "Expired", cfg: expiring, run: testRevokeNotExpired},
		{name: "Subject", cfg: long, run: testRevokeNotSubject},
		{name: "Reject", cfg: reject, run: testReject},
		{name: "AtOnce", cfg: long, run: testRevokeAtOnce},
	}
}

// uses are what ends a session that it comes too late for.
var uses = map[string]func(*tester, token.Token){
	"exchange":           func(t *tester, tok token.Token) { t.exchangeError(tok, "", token.ErrInvalid) },
	"exchange, patch":    func(t *tester, tok token.Token) { t.exchangeError(tok, `{"b":1}`, token.ErrInvalid) },
	"exchange, too much": func(t *tester, tok token.Token) { t.exchangeError(tok, text("b", 2000), token.ErrInvalid) },
	"delete":             func(t *tester, tok token.Token) { t.delete(tok) },
}

// testRevokeLate uses a spent token when its window has just closed.
func testRevokeLate(t *tester) {
	grace, _ := t.grace()
	other := t.create(`{"other":1}`)
	for name, use := range uses {
		t.Log(name)
		a := t.create(`{"a":1}`)
		b := t.exchange(a, "", `{"a":1}`)
		spent := t.now()
		t.sleepUntilBefore(spent.Add(grace))
		t.replay(a, b, "", `{"a":1}`)
		t.sleepUntil(spent.Add(grace))
		t.live(b, `{"a":1}`)
		use(t, a)
		t.invalid(b)
		t.invalid(a)
		t.wantListed([]string{`{"other":1}`})
	}
	t.exchange(other, "", `{"other":1}`)
}

// testRevokeInWindowOfNext uses a token after its window, but in that of the next one.
func testRevokeInWindowOfNext(t *tester) {
	grace, gap := t.grace()
	a := t.create(`{"a":1}`)
	b := t.exchange(a, "", `{"a":1}`)
	start := t.now()
	t.sleepUntil(start.Add(gap))
	c := t.exchange(b, "", `{"a":1}`)
	t.sleepUntil(start.Add(grace))
	t.replay(b, c, "", `{"a":1}`)
	t.exchangeError(a, "", token.ErrInvalid)
	t.invalid(c)
	t.invalid(b)
	t.wantListed(nil)
}

// testRevokeWrongNonce uses nonces that the session never had: the id alone
// was in nobody's hands but those of its tokens' holders.
func testRevokeWrongNonce(t *tester) {
	for name, use := range uses {
		t.Log(name)
		a, other := t.create(`{"a":1}`), t.create(`{"other":1}`)
		wrong := a
		wrong.Nonce[15] ^= 1
		use(t, wrong)
		t.invalid(a)
		t.wantListed([]string{`{"other":1}`})
		use(t, token.Token{ID: other.ID})
		t.invalid(other)
	}
}

// testRevokeThief has a thief who exchanges a stolen token so often that the
// victim's can't be proved to have been the session's.
func testRevokeThief(t *tester) {
	for name, use := range uses {
		for _, exchanges := range []int{token.GraceDepth + 1, 10, 5 * token.GraceDepth} {
			t.Log(name)
			other := t.create(`{"other":1}`)
			chain := t.exchangeTimes(exchanges, t.create(`{"a":1}`), `{"a":1}`)
			use(t, chain[0])
			for _, tok := range chain {
				t.invalid(tok)
			}
			t.wantListed([]string{`{"other":1}`})
			t.delete(other)
		}
	}
}

func testRevokeNotInWindow(t *tester) {
	grace, _ := t.grace()
	meta := `{"a":1}`
	chain := t.exchangeTimes(token.GraceDepth, t.create(meta), meta)
	spent := t.now()
	current := chain[token.GraceDepth]
	for _, tok := range chain[:token.GraceDepth] {
		t.replay(tok, current, "", meta)
		t.replay(tok, current, `{"a":1}`, meta)
		t.exchangeError(tok, text("b", 2000), token.ErrMetaTooLarge)
		t.live(tok, meta)
	}
	t.sleepUntil(spent.Add(grace))
	t.exchange(current, "", meta)
}

func testValidateNeverRevokes(t *tester) {
	grace, _ := t.grace()
	meta := `{"a":1}`
	chain := t.exchangeTimes(token.GraceDepth+2, t.create(meta), meta)
	t.sleepUntil(t.now().Add(grace))
	current := chain[token.GraceDepth+2]
	for _, tok := range append(chain[:token.GraceDepth+2], current.Next(), token.Token{ID: current.ID}) {
		if _, _, err := t.store.Validate(t.Context(), tok, nil); !errors.Is(err, token.ErrInvalid) {
			t.Fatalf("Validate(late token) = error %v, want %v", err, token.ErrInvalid)
		}
		t.live(current, meta)
	}
	t.exchange(current, "", meta)
}

func testRevokeNotUnknown(t *tester) {
	live, ended := t.create(`{"a":1}`), t.create(`{"b":1}`)
	t.delete(ended)
	for range 10 {
		t.invalid(token.Generate())
		t.invalid(token.Token{})
		t.invalid(token.Token{Nonce: live.Nonce})
		t.invalid(ended)
	}
	t.wantListed([]string{`{"a":1}`})
	t.exchange(live, "", `{"a":1}`)
}

// testRevokeNotExpired uses the tokens of a session that has expired.
func testRevokeNotExpired(t *tester) {
	lifetime, _, _ := t.phases()
	a := t.create(`{"a":1}`)
	b := t.exchange(a, "", `{"a":1}`)
	t.sleepUntil(t.now().Add(lifetime))
	other := t.create(`{"other":1}`)
	t.invalid(a)
	t.invalid(b)
	t.wantListed([]string{`{"other":1}`})
	t.exchange(other, "", `{"other":1}`)
}

// testRevokeNotSubject holds that only the one session goes, not all those of
// its subject.
func testRevokeNotSubject(t *tester) {
	for name, use := range uses {
		t.Log(name)
		kept := t.createFor("ada", `{"kept":1}`)
		chain := t.exchangeTimes(token.GraceDepth+1, t.createFor("ada", `{"a":1}`), `{"a":1}`)
		use(t, chain[0])
		t.invalid(chain[token.GraceDepth+1])
		t.subjectSessions("ada", 10, false, `{"kept":1}`)
		t.exchange(kept, "", `{"kept":1}`)
		t.endSubject("ada", 1)
	}
}

func testReject(t *tester) {
	grace, _ := t.grace()
	meta := `{"a":1}`
	chain := t.exchangeTimes(token.GraceDepth+2, t.create(meta), meta)
	t.sleepUntil(t.now().Add(grace))
	current := chain[token.GraceDepth+2]
	for _, tok := range append(chain[:token.GraceDepth+2], current.Next(), token.Token{ID: current.ID}) {
		for _, use := range uses {
			use(t, tok)
			t.live(current, meta)
		}
	}
	t.exchange(current, "", meta)
}

// testRevokeAtOnce has the thief and the victim call at the same time: whoever
// is first, the session does not survive.
func testRevokeAtOnce(t *tester) {
	for range t.rounds(200) {
		other := t.create(`{"other":1}`)
		chain := t.exchangeTimes(token.GraceDepth+1, t.create(`{"a":1}`), `{"a":1}`)
		tokens := []token.Token{chain[token.GraceDepth+1]}
		atOnce(2, func(i int) {
			x, err := t.store.Exchange(t.Context(), [...]token.Token{chain[0], chain[token.GraceDepth+1]}[i], token.Patch{}, nil)
			switch {
			case err == nil && i == 1:
				tokens = append(tokens, x.Token)
			case !errors.Is(err, token.ErrInvalid):
				t.Errorf("Exchange by the victim: %v, = error %v, want %v", i == 0, err, token.ErrInvalid)
			}
		})
		for _, tok := range tokens {
			t.invalid(tok)
		}
		t.exchange(other, "", `{"other":1}`)
	}
	t.check(t.T, t.store)
}
