package durable

import (
	"errors"
	"slices"
	"testing"

	"tokenserver/shard"
	"tokenserver/token"
)

// history is what an account has turned out to be once all calls had answers.
type history struct {
	states []string      // the members, in their order
	tokens []token.Token // the current token in each state, from 1 on
	ended  bool          // or expired, or nobody knows
}

// settle returns the history of an account, but for how it ended.
func (l *ledger) settle(t testing.TB, a *account) (h history) {
	t.Helper()
	for _, ans := range a.answers {
		if len(ans.meta) > len(h.states) {
			h.states = ans.meta
		}
	}
	h.tokens = make([]token.Token, len(h.states)+1)
	for _, ans := range a.answers {
		if !slices.Equal(ans.meta, h.states[:len(ans.meta)]) {
			t.Fatalf("%s told of a history %v, another answer of %v", ans.kind, ans.meta, h.states)
		}
		if ans.err == nil && ans.got.Token != (token.Token{}) {
			h.tokens[len(ans.meta)] = ans.got.Token
		}
	}
	return h
}

// last returns the last token that was current.
func (h *history) last() token.Token { return h.tokens[len(h.states)] }

// spent returns the first state in which a token was current n exchanges ago, or
// 0 if there is none.
func (h *history) spent(tok token.Token, n int) int {
	steps, seen := 0, false
	for i := 1; i < len(h.tokens); i++ {
		if h.tokens[i] == tok {
			seen = true
			continue
		}
		if seen && h.tokens[i] != h.tokens[i-1] {
			if steps++; steps == n {
				return i
			}
		}
	}
	return 0
}

// bounds are the states that an account may be in after a crash.
type bounds struct {
	least   int  // state, unless it has ended
	mayEnd  bool // that it has ended is possible
	mustEnd bool
}

// bounds returns what all answers given until then allow.
func (l *ledger) bounds(a *account, h *history, until int64) (b bounds) {
	b.mayEnd = h.ended || a.mortal
	for _, ans := range a.answers {
		switch {
		case ans.at > until:
			if ans.kind == "create" {
				b.mayEnd = true // or has not begun
			}
		case ans.err == nil:
			b.least = max(b.least, len(ans.meta))
		case ans.kind == "not listed":
			b.mustEnd = true
		default:
			b.refused(h, &ans, &l.policy)
		}
	}
	for _, e := range l.ends {
		if e.at <= until && e.subject == a.subject && a.answers[0].at < e.began {
			b.mustEnd = true
		}
	}
	return b
}

// refused takes into account that a token was told to be invalid.
func (b *bounds) refused(h *history, ans *answer, policy *shard.Config) {
	grace, steps := policy.Grace != 0, 1
	if grace {
		steps = token.GraceDepth + 1
	}
	state := h.spent(ans.credential, steps)
	switch {
	case policy.RevokeOnReuse && ans.kind != "validate", state == 0:
		b.mustEnd = true
	case !grace || !h.ended:
		b.least = max(b.least, state)
	}
}

// verify checks that a store which was opened after a crash has each account in
// a state that the answers allow.
func (l *ledger) verify(t testing.TB, after *Store, settled []history, until int64) {
	t.Helper()
	for i, a := range l.accounts {
		h := &settled[i]
		b := l.bounds(a, h, until)
		state := l.stateOf(t, after, a, h)
		switch {
		case state == 0 && !b.mayEnd && !b.mustEnd:
			t.Errorf("account %d has ended, want a state from %d on", i, b.least)
		case state > 0 && b.mustEnd && !a.mortal:
			t.Errorf("account %d is in state %d of %d, want that it has ended", i, state, len(h.states))
		case state > 0 && state < b.least:
			t.Errorf("account %d is in state %d of %d, want %d at least", i, state, len(h.states), b.least)
		}
	}
}

// stateOf returns the state that a session is in, or 0 if there is none. It
// checks that its tokens are worth what they should be in that state.
func (l *ledger) stateOf(t testing.TB, s *Store, a *account, h *history) (state int) {
	t.Helper()
	for _, tok := range a.tokens {
		meta, _, err := s.Validate(t.Context(), tok, nil)
		if errors.Is(err, token.ErrInvalid) {
			continue
		}
		if err != nil {
			t.Fatalf("Validate = error %v", err)
		}
		m := members(meta)
		if a.unanswered.Load() > 0 && len(m) > len(h.states) {
			return len(m) // by a patch in a grace, or the like
		}
		if len(m) > len(h.states) || !slices.Equal(m, h.states[:len(m)]) {
			t.Fatalf("after the crash a session has the history %v, before it had %v", m, h.states)
		}
		if state != 0 && (state != len(m) || !l.hasGrace()) {
			t.Fatalf("two tokens of a session are valid, in states %d and %d", state, len(m))
		}
		state = len(m)
	}
	if state != 0 {
		l.checkTokens(t, s, a, h, state)
	}
	return state
}

// checkTokens exchanges each token of a session: those that are spent without
// success, or within their grace, and at last the current one.
func (l *ledger) checkTokens(t testing.TB, s *Store, a *account, h *history, state int) {
	t.Helper()
	current := h.tokens[state]
	if current == (token.Token{}) && l.store.failure.get() != nil {
		return // another call told of the state; the one that made it heard of the failure
	}
	for _, tok := range a.tokens {
		if tok == current || l.policy.RevokeOnReuse && !isValid(t, s, tok) {
			continue // to present it would end the session
		}
		got, err := s.Exchange(t.Context(), tok, token.Patch{}, nil)
		if err == nil && (!l.hasGrace() || !got.Reused || got.Token != current) {
			t.Fatalf("Exchange(spent token) = success, Reused %v, want %v", got.Reused, token.ErrInvalid)
		}
		if err != nil && !errors.Is(err, token.ErrInvalid) {
			t.Fatalf("Exchange(spent token) = error %v", err)
		}
	}
	if got, err := s.Exchange(t.Context(), current, token.Patch{}, nil); err != nil && !a.mortal || got.Reused {
		t.Fatalf("Exchange(current token) = error %v, Reused %v", err, got.Reused)
	}
}

func isValid(t testing.TB, s *Store, tok token.Token) bool {
	_, _, err := s.Validate(t.Context(), tok, nil)
	return err == nil
}
