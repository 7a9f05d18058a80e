package storetest

import (
	"errors"
	"fmt"
	"time"

	"tokenserver/token"
)

// grace is a grace whose end is waited for, and gap a time between two
// exchanges that is well within it.
func (h Harness) grace() (grace, gap time.Duration) {
	if h.realTime() {
		return realLifetime, realLifetime / 2
	}
	return 5 * time.Second, time.Second
}

func (h Harness) graceTests() []test {
	grace, _ := h.grace()
	short := Config{Lifetime: time.Hour, Grace: grace, MaxMeta: 1024}
	long := Config{Lifetime: time.Hour, Grace: time.Minute, MaxMeta: 1024}
	return []test{
		{name: "Windows", cfg: short, run: testGraceWindows},
		{name: "MintsNothing", cfg: long, run: testReplayMintsNothing},
		{name: "RenewsNothing", cfg: short, run: testReplayRenewsNothing},
		{name: "MergesPatch", cfg: long, run: testReplayMergesPatch},
		{name: "Steps", cfg: long, run: testGraceDepth},
		{name: "Validate", cfg: short, run: testValidateReplay},
		{name: "Delete", cfg: long, run: testDeleteReplay},
		{name: "DeleteLate", cfg: short, run: testDeleteLate},
		{name: "MetaTooLarge", cfg: short, run: testReplayTooLarge},
		{name: "Ended", cfg: long, run: testReplayEnded},
		{name: "WrongNonce", cfg: long, run: testWrongNonce},
		{name: "Unknown", cfg: long, run: testUnknown},
		{name: "SessionsAreApart", cfg: long, run: testReplaysApart},
		{name: "Buffers", cfg: long, run: testReplayBuffers},
		{name: "TenAtOnce", cfg: long, run: testTenAtOnce},
		{name: "TenAtOnceWithout", cfg: Config{Lifetime: time.Hour}, run: testTenAtOnceWithout},
	}
}

// testGraceWindows exchanges a, then b a little later: each has its own window,
// in which c answers it, however often it is asked.
func testGraceWindows(t *tester) {
	grace, gap := t.grace()
	meta := `{"a":1}`
	a := t.create(meta)
	b := t.exchange(a, "", meta)
	start := t.now()
	endOfA := start.Add(grace)
	t.replay(a, b, "", meta)
	t.sleepUntil(start.Add(gap))
	t.replay(a, b, "", meta)
	c := t.exchange(b, "", meta)
	endOfB := t.now().Add(grace)

	both := func() {
		t.Helper()
		t.replay(b, c, "", meta)
		t.replay(a, c, "", meta)
		t.live(a, meta)
		t.live(b, meta)
	}
	both()
	if !t.realTime() {
		t.sleepUntil(endOfA.Add(-time.Millisecond))
		both()
	}
	t.sleepUntilBefore(endOfA)
	both()
	t.sleepUntil(endOfA)
	t.invalid(a)
	t.sleepUntilBefore(endOfB)
	t.replay(b, c, "", meta)
	t.live(b, meta)
	t.invalid(a)
	t.sleepUntil(endOfB)
	t.invalid(b)
	if !t.realTime() {
		time.Sleep(time.Millisecond)
		t.invalid(a)
		t.invalid(b)
	}
	t.exchange(c, "", meta)
}

func testReplayMintsNothing(t *tester) {
	meta := `{"a":1}`
	a := t.create(meta)
	b := t.exchange(a, "", meta)
	for range 3 * token.GraceDepth {
		t.replay(a, b, "", meta)
		t.replay(a, b, `{"a":1}`, meta)
		t.live(b, meta)
	}
	c := t.exchange(b, "", meta)
	for range 3 * token.GraceDepth {
		t.replay(a, c, "", meta)
		t.replay(b, c, "", meta)
	}
	t.exchange(c, "", meta)
	t.wantListed([]string{meta})
}

// testReplayRenewsNothing replays at the end of a window, which moves neither
// the end of the window nor that of the session.
func testReplayRenewsNothing(t *tester) {
	grace, _ := t.grace()
	meta := `{"a":1}`
	a := t.create(meta)
	b := t.exchange(a, "", meta)
	spent := t.now()
	t.sleepUntilBefore(spent.Add(grace))
	for _, patch := range []string{"", `{"a":1}`, `{}`} {
		t.replay(a, b, patch, meta)
		t.expiresIn(t.live(b, meta), t.until(spent.Add(time.Hour)))
		t.expiresIn(t.live(a, meta), t.until(spent.Add(time.Hour)))
	}
	t.sleepUntil(spent.Add(grace))
	t.invalid(a)
	t.expiresIn(t.live(b, meta), t.until(spent.Add(time.Hour)))
}

func testReplayMergesPatch(t *tester) {
	a := t.create(`{"n":1}`)
	b := t.exchange(a, `{"b":1}`, `{"n":1,"b":1}`)
	t.replay(a, b, `{"n":2,"c":[1]}`, `{"n":2,"b":1,"c":[1]}`)
	t.live(b, `{"n":2,"b":1,"c":[1]}`)
	t.replay(a, b, "", `{"n":2,"b":1,"c":[1]}`)
	c := t.exchange(b, `{"c":null}`, `{"n":2,"b":1,"c":null}`)
	t.replay(a, c, `{"n":3}`, `{"n":3,"b":1,"c":null}`)
	t.replay(b, c, `{"b":3}`, `{"n":3,"b":3,"c":null}`)
	t.replay(a, c, `["b"]`, `{"n":3,"c":null}`)
	t.replay(b, c, `{"b":4,"d":1}["c","d"]`, `{"n":3,"b":4}`)
	t.exchange(c, "", `{"n":3,"b":4}`)
}

// testGraceDepth exchanges a token until its ancestors can't be told.
func testGraceDepth(t *tester) {
	meta := `{"a":1}`
	chain := []token.Token{t.create(meta)}
	for n := range 3 * token.GraceDepth {
		current := t.exchange(chain[n], "", meta)
		chain = append(chain, current)
		for i, spent := range chain[:n+1] {
			if age := n + 1 - i; age <= token.GraceDepth {
				t.live(spent, meta)
				t.replay(spent, current, "", meta)
			} else {
				t.invalid(spent)
			}
		}
	}
}

func testValidateReplay(t *tester) {
	grace, _ := t.grace()
	meta := `{"a":1}`
	a := t.create(meta)
	b := t.exchange(a, "", meta)
	spent := t.now()
	for range 3 * token.GraceDepth {
		t.expiresIn(t.live(a, meta), time.Hour)
	}
	c := t.exchange(b, `{"a":2}`, `{"a":2}`)
	t.live(a, `{"a":2}`)
	t.sleepUntilBefore(spent.Add(grace))
	t.live(a, `{"a":2}`)
	t.sleepUntil(spent.Add(grace))
	for range 3 {
		if _, _, err := t.store.Validate(t.Context(), a, nil); !errors.Is(err, token.ErrInvalid) {
			t.Fatalf("Validate(spent token after its grace) = error %v, want %v", err, token.ErrInvalid)
		}
	}
	t.exchange(c, "", `{"a":2}`)
}

func testDeleteReplay(t *tester) {
	other := t.create(`{"other":1}`)
	for age := 1; age <= token.GraceDepth; age++ {
		chain := t.exchangeTimes(age, t.create(`{"a":1}`), `{"a":1}`)
		t.delete(chain[0])
		for _, tok := range chain {
			t.invalid(tok)
		}
		t.wantListed([]string{`{"other":1}`})
	}
	t.exchange(other, "", `{"other":1}`)
}

// testDeleteLate deletes with tokens that have no grace any more, where reuse
// is only answered.
func testDeleteLate(t *tester) {
	grace, _ := t.grace()
	meta := `{"a":1}`
	chain := t.exchangeTimes(token.GraceDepth+1, t.create(meta), meta)
	spent := t.now()
	current := chain[token.GraceDepth+1]
	t.delete(chain[0])
	t.live(current, meta)
	t.sleepUntil(spent.Add(grace))
	for _, tok := range chain[:token.GraceDepth+1] {
		t.delete(tok)
		t.live(current, meta)
	}
	t.exchange(current, "", meta)
}

func testReplayTooLarge(t *tester) {
	grace, _ := t.grace()
	const limit = 1024
	meta := `{"a":1}`
	a := t.create(meta)
	b := t.exchange(a, "", meta)
	spent := t.now()
	t.sleepUntilBefore(spent.Add(grace))
	t.exchangeError(a, text("b", limit-len(`"a":1,`)+1), token.ErrMetaTooLarge)
	t.exchangeError(a, text("a", 64*limit), token.ErrMetaTooLarge)
	t.expiresIn(t.live(b, meta), t.until(spent.Add(time.Hour)))
	patch := text("b", limit-len(`"a":1,`))
	t.replay(a, b, patch, `{"a":1,`+patch[1:])
	t.replay(a, b, `{"b":2}`, `{"a":1,"b":2}`)
	t.sleepUntil(spent.Add(grace))
	t.exchangeError(a, text("b", 2*limit), token.ErrInvalid)
	t.exchange(b, "", `{"a":1,"b":2}`)
}

// testReplayEnded has tokens in their grace whose session is gone.
func testReplayEnded(t *tester) {
	a := t.createFor("ada", `{"a":1}`)
	b := t.exchange(a, "", `{"a":1}`)
	t.delete(b)
	t.invalid(a)
	a = t.createFor("ada", `{"a":1}`)
	b = t.exchange(a, "", `{"a":1}`)
	t.endSubject("ada", 1)
	t.invalid(a)
	t.invalid(b)
	t.wantListed(nil)
}

// testReplaysApart replays the tokens of many sessions, all of them in their grace.
func testReplaysApart(t *tester) {
	const n = 200
	tokens, metas := t.createMany(n)
	var current [n]token.Token
	for i, tok := range tokens {
		current[i] = t.exchange(t.exchange(tok, "", metas[i]), "", metas[i])
	}
	for i, tok := range tokens {
		mixed := token.Token{ID: tok.ID, Nonce: tokens[(i+1)%n].Nonce}
		t.exchangeError(mixed, "", token.ErrInvalid)
		t.replay(tok, current[i], "", metas[i])
	}
}

func testReplayBuffers(t *tester) {
	a := t.create(`{"a":1}`)
	b := t.exchange(a, "", `{"a":1}`)
	for _, room := range []int{0, 5, 4000} {
		dst := append(make([]byte, 0, len("prefix")+room), "prefix"...)
		for _, patch := range []string{"", `{"a":1}`} {
			p := patchOf(patch)
			x, err := t.store.Exchange(t.Context(), a, p, dst)
			if got, want := string(x.Meta), `prefix{"a":1}`; err != nil || got != want {
				t.Fatalf("Exchange(spent token, patch %q, dst with room for %d) = %q, error %v, want %q",
					patch, room, got, err, want)
			}
			spoil(p.Meta)
			spoil(x.Meta[len("prefix"):])
		}
		meta, _, err := t.store.Validate(t.Context(), a, dst)
		if got, want := string(meta), `prefix{"a":1}`; err != nil || got != want {
			t.Fatalf("Validate(spent token, dst with room for %d) = %q, error %v, want %q", room, got, err, want)
		}
		if _, err := t.store.Exchange(t.Context(), a, patchOf(text("b", 2000)), dst); err == nil || string(dst) != "prefix" {
			t.Fatalf("Exchange(spent token, too large) = error %v, dst %q, want an error and dst as it was", err, dst)
		}
	}
	t.exchange(b, "", `{"a":1}`)
}

// tenAtOnce exchanges a token ten times at once, each time with another patch.
func (t *tester) tenAtOnce(old token.Token) (results [10]token.ExchangeResult, errs [10]error) {
	atOnce(len(results), func(i int) {
		results[i], errs[i] = t.store.Exchange(t.Context(), old, patchOf(fmt.Sprintf(`{"p%d":%d}`, i, i)), nil)
	})
	return results, errs
}

// testTenAtOnce is a page that makes ten requests with one token.
func testTenAtOnce(t *tester) {
	for range t.rounds(100) {
		old := t.create(`{}`)
		results, errs := t.tenAtOnce(old)
		current, spent := results[0].Token, 0
		for i, x := range results {
			if errs[i] != nil || x.Token != current || x.Token == old {
				t.Fatalf("exchange %d = the same new token as the first: %v, error %v, want true", i, x.Token == current, errs[i])
			}
			if !x.Reused {
				spent++
			}
			if p := parseObject(string(x.Meta)); !p.has(fmt.Sprintf("p%d", i)) {
				t.Fatalf("exchange %d = %s, without its patch", i, x.Meta)
			}
		}
		meta, _, err := t.store.Validate(t.Context(), current, nil)
		if p := parseObject(string(meta)); spent != 1 || len(p) != 10 || err != nil {
			t.Fatalf("ten exchanges at once: %d spent the token, metadata %s, error %v, want 1 and ten patches", spent, meta, err)
		}
		t.exchange(current, "", string(meta))
		t.delete(current)
	}
	t.check(t.T, t.store)
}

func testTenAtOnceWithout(t *tester) {
	for range t.rounds(100) {
		results, errs := t.tenAtOnce(t.create(`{}`))
		winners := 0
		for i, x := range results {
			if errs[i] == nil && !x.Reused {
				winners++
				t.live(x.Token, fmt.Sprintf(`{"p%d":%d}`, i, i))
			} else if !errors.Is(errs[i], token.ErrInvalid) {
				t.Fatalf("exchange %d = error %v, want none or %v", i, errs[i], token.ErrInvalid)
			}
		}
		if winners != 1 {
			t.Fatalf("%d of ten exchanges at once won, want 1", winners)
		}
	}
	t.check(t.T, t.store)
}
