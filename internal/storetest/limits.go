package storetest

import (
	"errors"
	"time"

	"tokenserver/token"
)

func (h Harness) limitTests() []test {
	lifetime, _, _ := h.phases()
	return []test{
		{name: "Sessions", cfg: Config{MaxSessions: 3}, run: testMaxSessions},
		{name: "ExpiredSessions", cfg: Config{Lifetime: lifetime, MaxSessions: 3}, run: testExpiredMakeRoom},
		{name: "Bytes", cfg: Config{MaxBytes: limitBytes}, run: testMaxBytes},
		{name: "ExpiredBytes", cfg: Config{Lifetime: lifetime, MaxBytes: limitBytes}, run: testExpiredMakeBytes},
		{name: "BytesReplayed", cfg: Config{Lifetime: time.Hour, MaxBytes: limitBytes, Grace: time.Minute}, run: testMaxBytesReplayed},
		{name: "EndedSessions", cfg: Config{Lifetime: time.Hour, MaxSessions: 3, Grace: time.Minute, RevokeOnReuse: true}, run: testEndedMakeRoom},
	}
}

func testMaxSessions(t *tester) {
	a, b, c := t.create(`{"n":1}`), t.create(`{"n":2}`), t.create(`{"n":3}`)
	for range 10 {
		t.createError(`{}`, token.ErrFull)
	}
	// What lives goes on.
	a = t.exchange(a, "", `{"n":1}`)
	b = t.exchange(b, `{"m":1}`, `{"n":2,"m":1}`)
	t.live(c, `{"n":3}`)
	t.wantListed([]string{`{"n":1}`, `{"n":2,"m":1}`, `{"n":3}`})

	t.delete(token.Generate())
	t.createError(`{}`, token.ErrFull)
	t.delete(b)
	t.delete(b)
	t.create(`{"n":4}`)
	t.createError(`{}`, token.ErrFull)
	t.wantListed([]string{`{"n":1}`, `{"n":3}`, `{"n":4}`})
	t.live(a, `{"n":1}`)
}

func testExpiredMakeRoom(t *tester) {
	_, live, rest := t.phases()
	t.create(`{"n":1}`)
	busy := t.create(`{"n":2}`)
	t.create(`{"n":3}`)
	t.sleep(live)
	busy = t.exchange(busy, "", `{"n":2}`)
	t.createError(`{}`, token.ErrFull)
	t.sleep(rest - t.early())
	t.create(`{"n":4}`)
	t.create(`{"n":5}`)
	t.createError(`{}`, token.ErrFull)
	t.live(busy, `{"n":2}`)
	t.wantListed([]string{`{"n":2}`, `{"n":4}`, `{"n":5}`})
}

const (
	limitBytes = 128 << 10
	metaBytes  = 8 << 10
)

// createUntilFull creates sessions of metaBytes.
func (t *tester) createUntilFull() (tokens []token.Token) {
	t.Helper()
	for range limitBytes/metaBytes + 1 {
		tok, err := t.store.Create(t.Context(), token.NewSession{Meta: []byte(text("a", metaBytes))})
		if errors.Is(err, token.ErrFull) {
			return tokens
		}
		if err != nil {
			t.Fatalf("Create = error %v", err)
		}
		tokens = append(tokens, tok)
	}
	t.Fatalf("%d sessions of %d bytes fit into %d", len(tokens), metaBytes, limitBytes)
	return nil
}

// fill fills an empty store.
func (t *tester) fill() []token.Token {
	t.Helper()
	tokens := t.createUntilFull()
	if len(tokens) < limitBytes/metaBytes/2 {
		t.Fatalf("only %d sessions of %d bytes fit into %d", len(tokens), metaBytes, limitBytes)
	}
	return tokens
}

func testMaxBytes(t *tester) {
	meta := text("a", metaBytes)
	tokens := t.fill()
	before := t.live(tokens[0], meta)
	t.exchangeError(tokens[0], text("b", 2*metaBytes), token.ErrFull)
	t.exchangeError(tokens[0], text("a", 3*metaBytes), token.ErrFull)
	if after := t.live(tokens[0], meta); !t.same(after, before) {
		t.Errorf("refused exchanges moved the deadline from %v to %v", before, after)
	}
	tokens[0] = t.exchange(tokens[0], text("b", 2*metaBytes)+`["b"]`, meta) // what goes does not count
	for i := range tokens {
		tokens[i] = t.exchange(tokens[i], "", meta)
		tokens[i] = t.exchange(tokens[i], meta, meta)
	}
	if listed := len(t.list()); listed != len(tokens) {
		t.Errorf("Sessions = %d sessions, want %d", listed, len(tokens))
	}

	// What some give back, by their end or by shrinking, others have.
	t.delete(tokens[0])
	t.delete(tokens[1])
	if again := t.createUntilFull(); len(again) != 2 {
		t.Errorf("%d sessions fit in place of 2 deleted ones", len(again))
	}
	small := t.exchange(tokens[2], `{"a":1}`, `{"a":1}`)
	small = t.exchange(small, meta, meta)
	small = t.exchange(small, `{"a":1}`, `{"a":1}`)
	t.delete(tokens[3])
	if again := t.createUntilFull(); len(again) < 1 || len(again) > 2 {
		t.Errorf("%d sessions fit in place of a deleted one and one that shrank", len(again))
	}
	t.live(small, `{"a":1}`)
}

func testExpiredMakeBytes(t *tester) {
	_, live, rest := t.phases()
	meta, patch := text("a", metaBytes), text("b", 2*metaBytes)
	tokens := t.fill()
	n := len(tokens)
	t.sleep(live)
	busy := t.exchange(tokens[0], "", meta)
	t.exchangeError(busy, patch, token.ErrFull)
	t.sleep(rest - t.early())
	t.exchange(busy, patch, meta[:len(meta)-1]+","+patch[1:])
	if again := len(t.createUntilFull()); again != n-3 && again != n-2 {
		t.Errorf("%d sessions fit beside one as large as three, and %d at first", again, n)
	}
}

func testMaxBytesReplayed(t *tester) {
	meta := text("a", metaBytes)
	tokens := t.fill()
	spent, current := tokens[0], t.exchange(tokens[0], "", meta)
	before := t.live(current, meta)
	t.exchangeError(spent, text("b", 2*metaBytes), token.ErrFull)
	if after := t.live(spent, meta); !t.same(after, before) {
		t.Errorf("refused exchanges moved the deadline from %v to %v", before, after)
	}
	t.replay(spent, current, "", meta)
	t.replay(spent, current, meta, meta)
	t.replay(spent, current, text("b", 2*metaBytes)+`["b"]`, meta)
	for _, tok := range tokens[1:5] {
		t.delete(tok)
	}
	patch := text("b", 2*metaBytes)
	t.replay(spent, current, patch, meta[:len(meta)-1]+","+patch[1:])
	t.exchange(current, `{"b":1}`, meta[:len(meta)-1]+`,"b":1}`)
}

// testEndedMakeRoom has sessions revoked and ended by their subject.
func testEndedMakeRoom(t *tester) {
	for range 10 {
		tok, ada := t.create(`{"n":1}`), t.createFor("ada", `{"n":2}`)
		t.createFor("ada", `{"n":3}`)
		t.createError(`{}`, token.ErrFull)
		t.exchangeError(tok.Next(), "", token.ErrInvalid)
		again := t.create(`{"n":4}`)
		t.createError(`{}`, token.ErrFull)
		t.endSubject("ada", 2)
		t.invalid(ada)
		t.delete(again)
		t.wantListed(nil)
	}
}
