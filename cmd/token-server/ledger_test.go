package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// meta is the metadata of all sessions of a ledger.
type meta struct{ session, change, pad int }

// String returns the metadata as the server has to give it back.
func (m meta) String() string {
	return fmt.Sprintf(`{"session":%d,"change":%d,"pad":"%s"}`, m.session, m.change, strings.Repeat("x", m.pad))
}

func (m meta) patch() string {
	return fmt.Sprintf(`{"change":%d,"pad":"%s"}`, m.change, strings.Repeat("x", m.pad))
}

// state is what a session may be in.
type state struct {
	live  bool
	token string // the current one; empty if no client was ever told
	meta  meta
	spent []spent // the last few, the latest last; only with a grace
}

// spent is a token that is not current any more, and when that came.
type spent struct {
	token    string
	from, to time.Time
}

func (s state) equal(o state) bool { return s.live == o.live && s.token == o.token && s.meta == o.meta }

// account is a session as its clients know it: with all the states that explain
// all answers. There is one, unless a crash has left requests without answers.
type account struct {
	ledger *ledger
	number int
	tokens []string // all that were told, the latest last
	old    int      // how many of them were checked after an earlier crash
	states []state  // none after a violation was found
	past   []change // since the last crash; only if a crash may take something back
}

// change is what has changed a session.
type change struct {
	before       []state
	began, ended time.Time // from the first request to the last answer
}

// ledger keeps what clients were told.
type ledger struct {
	t      *testing.T
	grace  time.Duration
	window time.Duration // what a crash may take back; 0 for nothing

	stopping atomic.Bool // gracefully: what is not answered was not carried out

	mu       sync.Mutex
	accounts []*account
	failures int
	requests int
}

func (l *ledger) newAccount() *account {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := &account{ledger: l, number: len(l.accounts), states: []state{{}}}
	l.accounts = append(l.accounts, a)
	return a
}

// violation reports what must not be. After the first few, more of them tell nothing.
func (l *ledger) violation(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failures++; l.failures <= 10 {
		l.t.Errorf(format, args...)
	}
}

// settle notes requests that were under way at the same time, answered or not.
func (a *account) settle(rs ...*request) {
	rs = slices.DeleteFunc(rs, func(r *request) bool { return r.notDone })
	if len(a.states) == 0 || len(rs) == 0 {
		return
	}
	var after []state
	for _, s := range a.states {
		after = append(after, a.orders(s, rs)...)
	}
	after = distinct(after)
	if len(after) == 0 {
		a.ledger.violation("session %d: no order of %v explains the answers in %+v", a.number, rs, a.states)
	}
	if a.ledger.window > 0 && !slices.EqualFunc(a.states, after, state.equal) {
		a.past = append(a.past, changeOf(a.states, rs))
	}
	a.states = after
	a.learn(rs)
}

// orders returns the states that s may have become after requests at the same
// time: in any order, and those without an answer done or not.
func (a *account) orders(s state, rs []*request) (out []state) {
	if !slices.ContainsFunc(rs, func(r *request) bool { return r.answer != nil }) {
		out = append(out, s)
	}
	for i, r := range rs {
		rest := slices.Concat(rs[:i], rs[i+1:])
		for _, next := range a.after(s, r) {
			out = append(out, a.orders(next, rest)...)
		}
	}
	return out
}

func distinct(states []state) (out []state) {
	for _, s := range states {
		if !slices.ContainsFunc(out, s.equal) {
			out = append(out, s)
		}
	}
	return out
}

func changeOf(before []state, rs []*request) change {
	c := change{before, rs[0].began, rs[0].ended}
	for _, r := range rs {
		if r.began.Before(c.began) {
			c.began = r.began
		}
		if r.ended.After(c.ended) {
			c.ended = r.ended
		}
	}
	return c
}

// learn keeps the tokens of answers. Those that are not current ones again must be new.
func (a *account) learn(rs []*request) {
	before := len(a.tokens)
	for _, r := range rs {
		token := r.told()
		if token == "" {
			continue
		}
		if !r.answer.reused && slices.Contains(a.tokens[:before], token) {
			a.ledger.violation("session %d: %v: the token is not new", a.number, r)
		}
		if !slices.Contains(a.tokens, token) {
			a.tokens = append(a.tokens, token)
		}
	}
}

// after returns what s becomes by a request: nothing if that can't be its answer.
func (a *account) after(s state, r *request) (out []state) {
	switch {
	case r.kind == kindCreate:
		told := r.told()
		return r.explained(answer{token: told}, state{live: true, token: told, meta: r.patch})
	case s.live && s.token == r.token:
		return a.current(s, r)
	}
	may, must := a.replay(s, r)
	if may {
		out = replayed(s, r)
	}
	if !must && r.kind == kindDelete {
		out = append(out, r.explained(answer{}, s)...)
	} else if !must {
		out = append(out, r.explained(answer{invalid: true}, s)...)
	}
	return out
}

// current is after for the token that is the session's.
func (a *account) current(s state, r *request) []state {
	switch r.kind {
	case kindDelete:
		return r.explained(answer{}, state{})
	case kindValidate:
		return r.explained(answer{meta: s.meta.String()}, s)
	}
	next := state{live: true, token: r.told(), meta: r.merged(s.meta)}
	if a.ledger.grace > 0 {
		next.spent = append(slices.Clone(s.spent), spent{s.token, r.began, r.ended})
		next.spent = next.spent[max(0, len(next.spent)-8):]
	}
	return r.explained(answer{token: next.token, meta: next.meta.String()}, next)
}

// replayed is after for a token in its grace.
func replayed(s state, r *request) []state {
	switch r.kind {
	case kindDelete:
		return r.explained(answer{}, state{})
	case kindValidate:
		return r.explained(answer{meta: s.meta.String()}, s)
	}
	next := s
	next.meta = r.merged(s.meta)
	if s.token == "" {
		next.token = r.told()
	}
	return r.explained(answer{reused: true, token: next.token, meta: next.meta.String()}, next)
}

// replay says whether a spent token may be, and whether it must be, in its grace.
func (a *account) replay(s state, r *request) (may, must bool) {
	i := slices.IndexFunc(s.spent, func(sp spent) bool { return sp.token == r.token })
	if i < 0 {
		return false, false
	}
	sp, grace := s.spent[i], a.ledger.grace
	return r.began.Sub(sp.to) <= grace, r.ended.Sub(sp.from) < grace
}

// explained returns s if want is the answer, or there was none.
func (r *request) explained(want answer, s state) []state {
	if r.answer == nil || *r.answer == want {
		return []state{s}
	}
	return nil
}

// told returns the token that the answer has, if there was one.
func (r *request) told() string {
	if r.answer == nil {
		return ""
	}
	return r.answer.token
}

func (r *request) merged(m meta) meta {
	if r.patched {
		m.change, m.pad = r.patch.change, r.patch.pad
	}
	return m
}

// lastChange returns when the last change was answered that a crash may take back; zero if
// there is none.
func (l *ledger) lastChange() (last time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.accounts {
		for _, c := range a.past {
			if c.ended.After(last) {
				last = c.ended
			}
		}
	}
	return last
}

// crash adds the states that a crash may have taken the session back to.
func (a *account) crash(at time.Time) {
	for _, c := range a.past {
		if len(a.states) > 0 && at.Sub(c.ended) < a.ledger.window {
			a.states = append(a.states, c.before...)
		}
	}
	a.states = distinct(a.states)
}

// found keeps the states that have the metadata that was found after a crash, or
// none if there is no such session any more.
func (a *account) found(metas []string) {
	if len(a.states) == 0 {
		return
	}
	fits := func(s state) bool {
		return s.live && len(metas) == 1 && s.meta.String() == metas[0] || !s.live && len(metas) == 0
	}
	if len(metas) > 1 || !slices.ContainsFunc(a.states, fits) {
		a.ledger.violation("session %d: found %.300q after the crash, want one of %+v", a.number, metas, a.states)
	}
	a.states = slices.DeleteFunc(a.states, func(s state) bool { return !fits(s) })
}

// cut returns when the last change that a crash has left was asked for, and when
// the first one that it has taken back was answered, if that can be told.
func (a *account) cut() (left, taken time.Time) {
	if len(a.states) != 1 || !a.states[0].live {
		return left, taken
	}
	is := func(states []state) bool { return slices.ContainsFunc(states, a.states[0].equal) }
	i := slices.IndexFunc(a.past, func(c change) bool { return is(c.before) })
	if i < 0 {
		i = len(a.past)
	}
	if i > 0 {
		left = a.past[i-1].began
	}
	if i < len(a.past) {
		taken = a.past[i].ended
	}
	return left, taken
}

// compare checks which sessions there are, and their metadata, and returns how many.
func (l *ledger) compare(found map[int][]string) (sessions int) {
	sessions = len(found)
	for _, a := range l.accounts {
		a.found(found[a.number])
		delete(found, a.number)
	}
	for number, metas := range found {
		l.violation("found session %d, %.300q, which nobody has made", number, metas)
	}
	return sessions
}

// cut returns when the last change of all that a crash has left was asked for,
// and when the first one that it has taken back was answered.
func (l *ledger) cut() (left, taken time.Time) {
	for _, a := range l.accounts {
		aLeft, aTaken := a.cut()
		if aLeft.After(left) {
			left = aLeft
		}
		if !aTaken.IsZero() && (taken.IsZero() || aTaken.Before(taken)) {
			taken = aTaken
		}
		a.past = nil
	}
	return left, taken
}

// known returns the session's token if it is certain.
func (a *account) known() (token string, ok bool) {
	if len(a.states) != 1 || !a.states[0].live || a.states[0].token == "" {
		return "", false
	}
	return a.states[0].token, true
}
