package storetest

import (
	"time"

	"tokenserver/token"
)

// phases splits a lifetime in two: at the end of the first part a session still
// lives, at the end of the second it has expired. With a fake clock the second
// is a nanosecond.
func (h Harness) phases() (lifetime, live, rest time.Duration) {
	if h.realTime() {
		return realLifetime, realLifetime / 2, realLifetime
	}
	return time.Hour, time.Hour - 1, 1
}

// early is how much of the second phase is sure to be left over for a session
// that was renewed at the end of the first.
func (h Harness) early() time.Duration {
	if h.realTime() {
		return realLifetime / 4
	}
	return 0
}

func (h Harness) expiryTests() []test {
	lifetime, _, _ := h.phases()
	tests := []test{
		{name: "Create", run: testCreateExpires},
		{name: "ExchangeRenews", run: testExchangeRenews},
		{name: "ValidateRenewsNothing", run: testValidateRenewsNothing},
		{name: "RefusalRenewsNothing", run: testRefusalRenewsNothing},
		{name: "Apart", run: testExpireApart},
	}
	for i := range tests {
		tests[i].cfg = Config{Lifetime: lifetime, MaxMeta: 1024}
	}
	return tests
}

func testCreateExpires(t *tester) {
	lifetime, live, rest := t.phases()
	tok, untouched := t.create(`{"a":1}`), t.create(`{"b":1}`)
	t.expiresIn(t.live(tok, `{"a":1}`), lifetime)
	t.sleep(live)
	t.expiresIn(t.live(tok, `{"a":1}`), lifetime-live)
	t.sleep(rest)
	t.invalid(tok)
	t.exchangeError(untouched, "", token.ErrInvalid)
	t.wantListed(nil)
}

func testExchangeRenews(t *tester) {
	lifetime, live, rest := t.phases()
	tok, meta := t.create(`{"a":1}`), `{"a":1}`
	for _, patch := range []string{"", `{"a":1}`, ""} {
		t.sleep(live)
		tok = t.exchange(tok, patch, meta)
		t.expiresIn(t.live(tok, meta), lifetime)
	}
	t.sleep(live)
	t.live(tok, meta)
	t.sleep(rest)
	t.invalid(tok)
}

func testValidateRenewsNothing(t *tester) {
	_, live, rest := t.phases()
	tok := t.create(`{"a":1}`)
	before := t.live(tok, `{"a":1}`)
	t.sleep(live)
	if after := t.live(tok, `{"a":1}`); !after.Equal(before) && !t.realTime() {
		t.Errorf("Validate moved the deadline from %v to %v", before, after)
	}
	t.sleep(rest)
	t.invalid(tok)
}

func testRefusalRenewsNothing(t *tester) {
	_, live, rest := t.phases()
	spent := t.create(`{"a":1}`)
	tok := t.exchange(spent, "", `{"a":1}`)
	t.sleep(live)
	t.exchangeError(spent, "", token.ErrInvalid)
	t.exchangeError(tok, text("b", 2000), token.ErrMetaTooLarge)
	t.delete(spent)
	t.live(tok, `{"a":1}`)
	t.sleep(rest)
	t.invalid(tok)
}

// testExpireApart lets a session expire beside one that is renewed.
func testExpireApart(t *tester) {
	_, live, rest := t.phases()
	idle, busy := t.create(`{"idle":1}`), t.create(`{"busy":1}`)
	t.sleep(live)
	busy = t.exchange(busy, "", `{"busy":1}`)
	t.sleep(rest - t.early())
	t.invalid(idle)
	t.exchange(busy, "", `{"busy":1}`)
}
