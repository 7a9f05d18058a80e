package storetest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"tokenserver/token"
)

// contractTests need no clock and no limit.
var contractTests = []test{
	{name: "Exchange", run: testExchange},
	{name: "ExchangeOnce", run: testExchangeOnce},
	{name: "Unknown", run: testUnknown},
	{name: "WrongNonce", run: testWrongNonce},
	{name: "Delete", run: testDelete},
	{name: "DeleteSpent", run: testDeleteSpent},
	{name: "ValidateSpendsNothing", run: testValidateSpendsNothing},
	{name: "SessionsAreApart", run: testSessionsAreApart},
	{name: "MetaTooLarge", cfg: Config{MaxMeta: 1024}, run: testMetaTooLarge},
	{name: "BuffersAreCopied", run: testBuffersAreCopied},
	{name: "AppendsToBuffer", run: testAppendsToBuffer},
	{name: "RefusalKeepsBuffer", cfg: Config{MaxMeta: 1024}, run: testRefusalKeepsBuffer},
}

func testExchange(t *tester) {
	tok := t.create(`{"user":"ada","n":1}`)
	tok = t.exchange(tok, "", `{"user":"ada","n":1}`)
	tok = t.exchange(tok, `{"n":2,"new":null}`, `{"user":"ada","n":2,"new":null}`)
	tok = t.exchange(tok, `{}`, `{"user":"ada","n":2,"new":null}`)
	tok = t.exchange(tok, "", `{"user":"ada","n":2,"new":null}`)
	t.live(tok, `{"user":"ada","n":2,"new":null}`)
}

func testExchangeOnce(t *tester) {
	chain := []token.Token{t.create(`{"a":1}`)}
	for range 20 {
		chain = append(chain, t.exchange(chain[len(chain)-1], "", `{"a":1}`))
		for _, spent := range chain[:len(chain)-1] {
			t.invalid(spent)
		}
		t.live(chain[len(chain)-1], `{"a":1}`)
	}
}

func testUnknown(t *tester) {
	t.invalid(token.Generate())
	t.invalid(token.Token{})
	tok := t.create(`{}`)
	t.invalid(token.Token{Nonce: tok.Nonce})
	t.live(tok, `{}`)
}

func testWrongNonce(t *tester) {
	tok := t.create(`{"a":1}`)
	for i := range tok.Nonce {
		wrong := tok
		wrong.Nonce[i] ^= 1
		t.invalid(wrong)
	}
	t.invalid(token.Token{ID: tok.ID})
	t.exchange(tok, "", `{"a":1}`)
}

func testDelete(t *tester) {
	tok, other := t.create(`{"a":1}`), t.create(`{"b":1}`)
	t.delete(tok)
	t.invalid(tok)
	t.delete(tok)
	t.exchange(other, "", `{"b":1}`)
}

func testDeleteSpent(t *tester) {
	spent := t.create(`{"a":1}`)
	tok := t.exchange(spent, "", `{"a":1}`)
	t.delete(spent)
	t.live(tok, `{"a":1}`)
	t.delete(tok)
	t.invalid(tok)
	t.invalid(spent)
}

func testValidateSpendsNothing(t *tester) {
	tok := t.create(`{"a":1}`)
	for range 10 {
		t.live(tok, `{"a":1}`)
	}
	t.exchange(tok, "", `{"a":1}`)
}

func testSessionsAreApart(t *tester) {
	const n = 500
	tokens := make([]token.Token, n)
	ids := make(map[token.ID]bool)
	for i := range tokens {
		tokens[i] = t.create(fmt.Sprintf(`{"n":%d}`, i))
		ids[tokens[i].ID] = true
	}
	if len(ids) != n {
		t.Fatalf("%d sessions have %d ids", n, len(ids))
	}
	for i := range tokens {
		tokens[i] = t.exchange(tokens[i], `{"twice":true}`, fmt.Sprintf(`{"n":%d,"twice":true}`, i))
	}
	for i := range tokens {
		t.live(tokens[i], fmt.Sprintf(`{"n":%d,"twice":true}`, i))
	}
}

// text returns an object of n bytes with the one member name.
func text(name string, n int) string {
	frame := fmt.Sprintf(`{"%s":""}`, name)
	return frame[:len(frame)-2] + strings.Repeat("x", n-len(frame)) + `"}`
}

func testMetaTooLarge(t *tester) {
	const limit = 1024
	t.createError(text("a", limit+1), token.ErrMetaTooLarge)
	t.exchange(t.create(text("a", limit)), "", text("a", limit))

	// A name given twice is settled before the size counts.
	twice := text("a", limit)
	twice = twice[:len(twice)-1] + `,"a":1}`
	t.exchange(t.create(twice), "", `{"a":1}`)

	tok := t.create(`{"a":1}`)
	before := t.live(tok, `{"a":1}`)
	t.exchangeError(tok, text("b", limit-len(`"a":1,`)+1), token.ErrMetaTooLarge)
	t.exchangeError(tok, text("a", 64*limit), token.ErrMetaTooLarge)
	if after := t.live(tok, `{"a":1}`); !t.same(after, before) {
		t.Errorf("refused exchanges moved the deadline from %v to %v", before, after)
	}
	patch := text("b", limit-len(`"a":1,`))
	tok = t.exchange(tok, patch, `{"a":1,`+patch[1:])
	tok = t.exchange(tok, `{"b":2}`, `{"a":1,"b":2}`)
	t.live(tok, `{"a":1,"b":2}`)

	// What goes does not count.
	t.exchangeError(tok, text("c", limit)+`["a","d"]`, token.ErrMetaTooLarge)
	tok = t.exchange(tok, text("c", limit)+`["a","b"]`, text("c", limit))
	tok = t.exchange(tok, text("d", 64*limit)+`["d"]`, text("c", limit))
	t.live(tok, text("c", limit))
}

func testBuffersAreCopied(t *tester) {
	meta := []byte(`{"a":"mine"}`)
	tok, err := t.store.Create(t.Context(), token.NewSession{Meta: meta})
	if err != nil {
		t.Fatalf("Create = error %v", err)
	}
	spoil(meta)
	t.live(tok, `{"a":"mine"}`)

	patch, dst := patchOf(`{"b":"mine too","c":1}["c"]`), make([]byte, 0, 1024)
	x, err := t.store.Exchange(t.Context(), tok, patch, dst)
	if err != nil {
		t.Fatalf("Exchange = error %v", err)
	}
	spoil(patch.Meta)
	spoil(patch.Unset)
	spoil(x.Meta)
	t.live(x.Token, `{"a":"mine","b":"mine too"}`)

	seen, _, err := t.store.Validate(t.Context(), x.Token, nil)
	if err != nil {
		t.Fatalf("Validate = error %v", err)
	}
	spoil(seen)
	t.exchange(x.Token, "", `{"a":"mine","b":"mine too"}`)
}

// spoil overwrites a buffer, as its owner may once a call is over.
func spoil(b []byte) {
	for i := range b {
		b[i] = '!'
	}
}

func testAppendsToBuffer(t *tester) {
	for _, room := range []int{0, 5, 1000} {
		dst := append(make([]byte, 0, len("prefix")+room), "prefix"...)
		tok := t.create(`{"a":1}`)
		for _, patch := range []string{"", `{"a":1}`} {
			x, err := t.store.Exchange(t.Context(), tok, patchOf(patch), dst)
			if got, want := string(x.Meta), `prefix{"a":1}`; err != nil || got != want {
				t.Fatalf("Exchange(patch %q, dst with room for %d) = %q, error %v, want %q", patch, room, got, err, want)
			}
			tok = x.Token
		}
		meta, _, err := t.store.Validate(t.Context(), tok, dst)
		if got, want := string(meta), `prefix{"a":1}`; err != nil || got != want {
			t.Fatalf("Validate(dst with room for %d) = %q, error %v, want %q", room, got, err, want)
		}
	}
}

func testRefusalKeepsBuffer(t *tester) {
	tok, dst := t.create(`{"a":1}`), append(make([]byte, 0, 4096), "prefix"...)
	refused := map[string]func() error{
		"Exchange too large": func() error {
			_, err := t.store.Exchange(t.Context(), tok, patchOf(text("b", 2000)), dst)
			return err
		},
		"Exchange unknown": func() error {
			_, err := t.store.Exchange(t.Context(), token.Generate(), token.Patch{}, dst)
			return err
		},
		"Validate unknown": func() error {
			_, _, err := t.store.Validate(t.Context(), token.Generate(), dst)
			return err
		},
	}
	for name, call := range refused {
		if err := call(); err == nil || string(dst) != "prefix" {
			t.Errorf("%s = error %v, dst %q, want an error and dst as it was", name, err, dst)
		}
	}
	t.live(tok, `{"a":1}`)
}

// listingTests test Sessions.
func (h Harness) listingTests() []test {
	lifetime, _, _ := h.phases()
	return []test{
		{name: "Each", run: testListEach},
		{name: "Expired", cfg: Config{Lifetime: lifetime}, run: testListExpired},
		{name: "Break", run: testListBreak},
		{name: "Cancelled", run: testListCancelled},
		{name: "CallsMeanwhile", run: testListCallsMeanwhile},
	}
}

// createMany creates n sessions, each with other metadata.
func (t *tester) createMany(n int) (tokens []token.Token, metas []string) {
	t.Helper()
	for i := range n {
		metas = append(metas, fmt.Sprintf(`{"n":"%06d"}`, i))
		tokens = append(tokens, t.create(metas[i]))
	}
	return tokens, metas
}

// wantListed expects that a listing has each of metas once, and nothing else.
func (t *tester) wantListed(metas []string) {
	t.Helper()
	var got []string
	for _, l := range t.list() {
		got = append(got, l.meta)
	}
	slices.Sort(got)
	if want := slices.Sorted(slices.Values(metas)); !slices.Equal(got, want) {
		t.Fatalf("Sessions = %d sessions %.300q, want %d %.300q", len(got), got, len(want), want)
	}
}

func testListEach(t *tester) {
	t.wantListed(nil)
	tokens, metas := t.createMany(500)
	t.wantListed(metas)
	for _, tok := range tokens[:200] {
		t.delete(tok)
	}
	t.wantListed(metas[200:])
	big := text("big", 40<<10)
	t.create(big)
	t.exchange(tokens[200], `{"n":1}`, `{"n":1}`)
	t.wantListed(append(metas[201:], big, `{"n":1}`))
}

func testListExpired(t *tester) {
	lifetime, live, rest := t.phases()
	t.create(`{"n":1}`)
	tok := t.create(`{"n":2}`)
	for _, l := range t.list() {
		t.expiresIn(l.expires, lifetime)
	}
	t.sleep(live)
	t.exchange(tok, "", `{"n":2}`)
	t.wantListed([]string{`{"n":1}`, `{"n":2}`})
	t.sleep(rest - t.early())
	t.wantListed([]string{`{"n":2}`})
}

func testListBreak(t *tester) {
	t.createMany(300)
	for range t.store.Sessions(t.Context()) {
		break
	}
	n := 0
	for range t.store.Sessions(t.Context()) {
		if n++; n == 150 {
			break
		}
	}
	if n != 150 {
		t.Errorf("Sessions went on after a break: %d sessions, want 150", n)
	}
	t.create(`{}`)
}

func testListCancelled(t *tester) {
	const n = 2000
	t.createMany(n)
	ctx, cancel := context.WithCancel(t.Context())
	if listed, err := count(ctx, t.store, func() {}); listed != n || err != nil {
		t.Fatalf("Sessions = %d sessions, error %v, want %d", listed, err, n)
	}
	if listed, err := count(ctx, t.store, cancel); listed >= n || err != context.Canceled {
		t.Errorf("Sessions, cancelled at the first session, = %d sessions, error %v, want fewer than %d, %v",
			listed, err, n, context.Canceled)
	}
	if listed, err := count(ctx, t.store, cancel); listed != 0 || err != context.Canceled {
		t.Errorf("Sessions, cancelled before, = %d sessions, error %v, want 0, %v", listed, err, context.Canceled)
	}
}

// count counts the sessions that a listing has up to its error, calling each at each.
func count(ctx context.Context, s Store, each func()) (n int, err error) {
	for _, err := range s.Sessions(ctx) {
		if err != nil {
			return n, err
		}
		n++
		each()
	}
	return n, nil
}

// testListCallsMeanwhile makes calls from within a listing, which must hold no
// lock, and keep apart what it lists from what is being changed.
func testListCallsMeanwhile(t *tester) {
	tokens, metas := t.createMany(300)
	var got []string
	for session, err := range t.store.Sessions(t.Context()) {
		if err != nil {
			t.Fatalf("Sessions: error %v", err)
		}
		for i := range tokens[:3] {
			tokens[i] = t.exchange(tokens[i], "", metas[i])
		}
		t.delete(t.create(`{"passing":true}`))
		got = append(got, string(bytes.Clone(session.Meta)))
	}
	got = slices.DeleteFunc(got, func(meta string) bool { return meta == `{"passing":true}` })
	if slices.Sort(got); !slices.Equal(got, metas) {
		t.Errorf("Sessions = %d sessions, want each of %d once", len(got), len(metas))
	}
}
