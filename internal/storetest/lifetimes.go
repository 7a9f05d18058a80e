package storetest

import (
	"time"

	"tokenserver/token"
)

// maxLifetime is an absolute lifetime whose end is waited for.
func (h Harness) maxLifetime() time.Duration {
	if h.realTime() {
		return 2 * realLifetime
	}
	return 3 * time.Hour
}

func (h Harness) lifetimeTests() []test {
	lifetime := h.maxLifetime()
	_, gap := h.grace()
	return []test{
		{name: "Absolute", cfg: Config{Lifetime: time.Hour, MaxLifetime: lifetime}, run: testAbsolute},
		{name: "AbsoluteIsShorter", cfg: Config{Lifetime: 48 * time.Hour, MaxLifetime: lifetime}, run: testAbsoluteIsShorter},
		{name: "AbsoluteWithGrace", cfg: Config{Lifetime: 48 * time.Hour, MaxLifetime: lifetime, Grace: time.Minute}, run: testAbsoluteWithGrace},
		{name: "AbsoluteWithOwn", cfg: Config{Lifetime: time.Hour, MaxLifetime: lifetime}, run: testAbsoluteWithOwn},
		{name: "Own", cfg: Config{Lifetime: 48 * time.Hour}, run: testOwnLifetime},
		{name: "OwnIsLonger", cfg: Config{Lifetime: gap}, run: testOwnIsLonger},
		{name: "OwnWithGrace", cfg: Config{Lifetime: 48 * time.Hour, Grace: time.Minute}, run: testOwnWithGrace},
	}
}

// exchangeUntil exchanges a token again and again until shortly before a
// moment, at which the session ends all the same.
func (t *tester) exchangeUntil(end time.Time, tok token.Token, meta string, lifetime time.Duration) {
	t.Helper()
	n := 1000
	if t.realTime() {
		n = 100 // a busy machine may not make more of them in time
	}
	step := t.until(end) / time.Duration(n+1)
	for range n {
		if !t.realTime() {
			time.Sleep(step)
		}
		tok = t.exchange(tok, "", meta)
		t.expiresIn(t.live(tok, meta), min(lifetime, t.until(end)))
	}
	t.sleepUntilBefore(end)
	tok = t.exchange(tok, `{"last":1}`, meta[:len(meta)-1]+`,"last":1}`)
	t.live(tok, meta[:len(meta)-1]+`,"last":1}`)
	t.sleepUntil(end)
	t.invalid(tok)
	t.wantListed(nil)
}

func testAbsolute(t *tester) {
	end := t.now().Add(t.maxLifetime())
	tok := t.create(`{"a":1}`)
	t.expiresIn(t.live(tok, `{"a":1}`), min(time.Hour, t.maxLifetime()))
	t.exchangeUntil(end, tok, `{"a":1}`, time.Hour)
}

func testAbsoluteIsShorter(t *tester) {
	end := t.now().Add(t.maxLifetime())
	idle, busy := t.create(`{"idle":1}`), t.create(`{"busy":1}`)
	t.expiresIn(t.live(idle, `{"idle":1}`), t.maxLifetime())
	t.sleepUntilBefore(end)
	busy = t.exchange(busy, "", `{"busy":1}`)
	t.live(idle, `{"idle":1}`)
	t.live(busy, `{"busy":1}`)
	t.sleepUntil(end)
	t.invalid(idle)
	t.invalid(busy)
}

// testAbsoluteWithGrace replays a token whose window would outlast its session.
func testAbsoluteWithGrace(t *tester) {
	meta := `{"a":1}`
	end := t.now().Add(t.maxLifetime())
	a := t.create(meta)
	t.sleepUntilBefore(end.Add(-t.maxLifetime() / 2))
	b := t.exchange(a, "", meta)
	t.sleepUntilBefore(end)
	c := t.exchange(b, "", meta)
	t.replay(b, c, `{"a":1}`, meta)
	t.expiresIn(t.live(b, meta), t.until(end))
	t.sleepUntil(end)
	t.invalid(b)
	t.invalid(c)
	t.wantListed(nil)
}

func testAbsoluteWithOwn(t *tester) {
	own := 30 * time.Minute
	end := t.now().Add(t.maxLifetime())
	tok := t.createNew(token.NewSession{Meta: []byte(`{"a":1}`), Lifetime: own})
	longer := t.createNew(token.NewSession{Meta: []byte(`{"b":1}`), Lifetime: 96 * time.Hour})
	t.expiresIn(t.live(longer, `{"b":1}`), t.maxLifetime())
	longer = t.exchange(longer, "", `{"b":1}`)
	t.expiresIn(t.live(longer, `{"b":1}`), t.until(end))
	t.exchangeUntil(end, tok, `{"a":1}`, own)
	t.invalid(longer)
}

// testOwnLifetime renews a session's own lifetime beside one that has the store's.
func testOwnLifetime(t *tester) {
	lifetime, live, rest := t.phases()
	store := t.create(`{"store":1}`)
	own, meta := t.createNew(token.NewSession{Meta: []byte(`{"own":1}`), Lifetime: lifetime}), `{"own":1}`
	t.expiresIn(t.live(own, meta), lifetime)
	for _, patch := range []string{"", `{"own":1}`, ""} {
		t.sleep(live)
		own = t.exchange(own, patch, meta)
		t.expiresIn(t.live(own, meta), lifetime)
	}
	t.sleep(live)
	t.live(own, meta)
	t.sleep(rest)
	t.invalid(own)
	store = t.exchange(store, "", `{"store":1}`)
	t.expiresIn(t.live(store, `{"store":1}`), 48*time.Hour)
}

func testOwnIsLonger(t *tester) {
	_, short := t.grace()
	start := t.now()
	own := t.createNew(token.NewSession{Meta: []byte(`{"own":1}`), Lifetime: 96 * time.Hour})
	idle := t.create(`{"idle":1}`)
	t.sleepUntil(start.Add(short))
	t.invalid(idle)
	t.expiresIn(t.live(own, `{"own":1}`), t.until(start.Add(96*time.Hour)))
	own = t.exchange(own, "", `{"own":1}`)
	t.expiresIn(t.live(own, `{"own":1}`), 96*time.Hour)
}

// testOwnWithGrace replays tokens whose windows outlast their session.
func testOwnWithGrace(t *tester) {
	a, meta := t.createNew(token.NewSession{Meta: []byte(`{"own":1}`), Lifetime: realLifetime}), `{"own":1}`
	b := t.exchange(a, "", meta)
	t.sleepUntilBefore(t.now().Add(realLifetime))
	t.replay(a, b, `{"own":1}`, meta)
	c := t.exchange(b, "", meta)
	end := t.now().Add(realLifetime)
	t.sleepUntilBefore(end)
	t.replay(a, c, "", meta)
	t.replay(b, c, "", meta)
	t.expiresIn(t.live(c, meta), t.until(end))
	t.sleepUntil(end)
	t.invalid(c)
	t.invalid(b)
	t.invalid(a)
}
