package storetest

import (
	"bytes"
	"errors"
	"slices"
	"strings"
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
	ahead ahead
}

func (h Harness) open(t *testing.T, cfg Config) *tester {
	s := &tester{T: t, Harness: h, store: h.Open(t, cfg)}
	if h.realTime() {
		s.ahead.Store = s.store
		s.store = &s.ahead
	}
	return s
}

func (t *tester) create(meta string) token.Token {
	t.Helper()
	return t.createNew(token.NewSession{Meta: []byte(meta)})
}

// createFor creates a session of a subject.
func (t *tester) createFor(subject, meta string) token.Token {
	t.Helper()
	return t.createNew(token.NewSession{Subject: []byte(subject), Meta: []byte(meta)})
}

func (t *tester) createNew(n token.NewSession) token.Token {
	t.Helper()
	created, err := t.store.Create(t.Context(), n)
	if err != nil {
		t.Fatalf("Create(%.100q) = error %v", n.Meta, err)
	}
	return created
}

// createError expects that a session is refused.
func (t *tester) createError(meta string, want error) {
	t.Helper()
	created, err := t.store.Create(t.Context(), token.NewSession{Meta: []byte(meta)})
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
	got, err := t.store.Exchange(t.Context(), old, patchOf(patch), nil)
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
	if got.Reused {
		t.Fatalf("Exchange of a current token = one that was spent")
	}
	return got.Token
}

// exchangeTimes exchanges a token again and again and returns it with all that
// followed.
func (t *tester) exchangeTimes(n int, tok token.Token, meta string) []token.Token {
	t.Helper()
	chain := []token.Token{tok}
	for range n {
		tok = t.exchange(tok, "", meta)
		chain = append(chain, tok)
	}
	return chain
}

// replay exchanges a spent token in its grace: the answer has to have the
// session's current token and the metadata want.
func (t *tester) replay(spent, current token.Token, patch, want string) {
	t.Helper()
	got, err := t.store.Exchange(t.Context(), spent, patchOf(patch), nil)
	if err != nil {
		t.Fatalf("Exchange(spent token in its grace, patch %.100q) = error %v", patch, err)
	}
	if string(got.Meta) != want {
		t.Fatalf("Exchange(spent token in its grace, patch %.100q) = %.200q, want %.200q", patch, got.Meta, want)
	}
	if got.Token != current || !got.Reused {
		t.Fatalf("Exchange(spent token in its grace) = the current token: %v, reused: %v, want true, true",
			got.Token == current, got.Reused)
	}
}

// exchangeError expects that an exchange is refused.
func (t *tester) exchangeError(old token.Token, patch string, want error) {
	t.Helper()
	got, err := t.store.Exchange(t.Context(), old, patchOf(patch), nil)
	if !errors.Is(err, want) {
		t.Fatalf("Exchange(patch %.100q) = error %v, want %v", patch, err, want)
	}
	if got.Token != (token.Token{}) || got.Reused {
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

// endSubject ends a subject's sessions, of which want have to live.
func (t *tester) endSubject(name string, want int) {
	t.Helper()
	got, err := t.store.EndSubject(t.Context(), []byte(name))
	if got != want || err != nil {
		t.Fatalf("EndSubject(%.50q) = %d, error %v, want %d", name, got, err, want)
	}
}

// subjectSessions expects a subject's sessions to have the given metadata, in
// that order, and returns them.
func (t *tester) subjectSessions(name string, limit int, wantMore bool, want ...string) []token.Session {
	t.Helper()
	list, more, err := t.store.SubjectSessions(t.Context(), []byte(name), token.Page{Limit: limit})
	if err != nil {
		t.Fatalf("SubjectSessions(%.50q, %d) = error %v", name, limit, err)
	}
	if got := metasOf(list); !slices.Equal(got, want) || more != wantMore {
		t.Fatalf("SubjectSessions(%.50q, %d) = %d sessions %.300q, more: %v, want %d %.300q, %v",
			name, limit, len(got), got, more, len(want), want, wantMore)
	}
	return list
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

// patchOf reads a patch as the suite writes it: an object, an array of the names that
// go, an object and behind it an array, or nothing.
func patchOf(patch string) (p token.Patch) {
	meta, unset := cutPatch(patch)
	if meta != "" {
		p.Meta = []byte(meta)
	}
	if unset != "" {
		p.Unset = []byte(unset)
	}
	return p
}

// cutPatch cuts a patch into its object and its array. The suite's objects have no
// "}[" in them.
func cutPatch(patch string) (meta, unset string) {
	if strings.HasPrefix(patch, "[") {
		return "", patch
	}
	if i := strings.LastIndex(patch, "}["); i >= 0 && strings.HasSuffix(patch, "]") {
		return patch[:i+1], patch[i+1:]
	}
	return patch, ""
}
