package storetest

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"tokenserver/token"
)

// tester makes calls to a store and ends the test where one has to go well and
// does not.
type tester struct {
	*testing.T
	Harness
	store Store
}

func (h Harness) open(t *testing.T, cfg Config) *tester {
	return &tester{T: t, Harness: h, store: h.Open(t, cfg)}
}

func (t *tester) create(meta string) token.Token {
	t.Helper()
	created, err := t.store.Create(t.Context(), token.New{Meta: []byte(meta)})
	if err != nil {
		t.Fatalf("Create(%.100q) = error %v", meta, err)
	}
	return created
}

// createError expects that a session is refused.
func (t *tester) createError(meta string, want error) {
	t.Helper()
	created, err := t.store.Create(t.Context(), token.New{Meta: []byte(meta)})
	if !errors.Is(err, want) {
		t.Fatalf("Create(%.100q) = error %v, want %v", meta, err, want)
	}
	if created != (token.Token{}) {
		t.Errorf("Create(%.100q) = a token with its error %v", meta, err)
	}
}

// exchange spends old and returns the next token; the answer has to have the
// metadata want.
func (t *tester) exchange(old token.Token, patch, want string) token.Token {
	t.Helper()
	got, err := t.store.Exchange(t.Context(), old, patchBytes(patch), nil)
	if err != nil {
		t.Fatalf("Exchange(patch %.100q) = error %v", patch, err)
	}
	if string(got.Meta) != want {
		t.Fatalf("Exchange(patch %.100q) = %.200q, want %.200q", patch, got.Meta, want)
	}
	if got.Token.ID != old.ID {
		t.Fatalf("Exchange changed the token's id")
	}
	if got.Token.Nonce == old.Nonce {
		t.Fatalf("Exchange returned the token that it spent")
	}
	return got.Token
}

// exchangeError expects that an exchange is refused.
func (t *tester) exchangeError(old token.Token, patch string, want error) {
	t.Helper()
	got, err := t.store.Exchange(t.Context(), old, patchBytes(patch), nil)
	if !errors.Is(err, want) {
		t.Fatalf("Exchange(patch %.100q) = error %v, want %v", patch, err, want)
	}
	if got.Token != (token.Token{}) {
		t.Errorf("Exchange(patch %.100q) = a token with its error %v", patch, err)
	}
}

// live expects that a token is its session's current one, and what Validate
// tells. It returns when the session expires.
func (t *tester) live(current token.Token, want string) time.Time {
	t.Helper()
	meta, expires, err := t.store.Validate(t.Context(), current, nil)
	if err != nil {
		t.Fatalf("Validate = error %v, want %.100q", err, want)
	}
	if string(meta) != want {
		t.Fatalf("Validate = %.200q, want %.200q", meta, want)
	}
	return expires
}

// invalid expects that a token is worth nothing, whatever is done with it.
func (t *tester) invalid(tok token.Token) {
	t.Helper()
	if meta, _, err := t.store.Validate(t.Context(), tok, nil); !errors.Is(err, token.ErrInvalid) {
		t.Fatalf("Validate(invalid token) = %.100q, error %v, want %v", meta, err, token.ErrInvalid)
	}
	t.exchangeError(tok, "", token.ErrInvalid)
	t.exchangeError(tok, `{"stolen":true}`, token.ErrInvalid)
	t.delete(tok)
}

func (t *tester) delete(tok token.Token) {
	t.Helper()
	if err := t.store.Delete(t.Context(), tok); err != nil {
		t.Fatalf("Delete = error %v", err)
	}
}

// listed is a session as a listing tells it.
type listed struct {
	meta    string
	expires time.Time
}

// list lists the store's sessions.
func (t *tester) list() (all []listed) {
	t.Helper()
	for session, err := range t.store.Sessions(t.Context()) {
		if err != nil {
			t.Fatalf("Sessions: error %v", err)
		}
		all = append(all, listed{string(bytes.Clone(session.Meta)), session.Expires})
	}
	return all
}

// expiresIn expects that a time lies d from now, exactly if the clock is fake.
func (t *tester) expiresIn(got time.Time, d time.Duration) {
	t.Helper()
	off := time.Until(got) - d
	if t.RealTime && off.Abs() < realLifetime/2 {
		return
	}
	if off != 0 {
		t.Errorf("session expires in %v, want %v", time.Until(got), d)
	}
}

// patchBytes returns nil for no patch.
func patchBytes(patch string) []byte {
	if patch == "" {
		return nil
	}
	return []byte(patch)
}
