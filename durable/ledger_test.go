package durable

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenserver/shard"
	"tokenserver/token"
)

// An account is a session as its clients know it. Each change of it adds a
// member to its metadata, so that metadata tells the whole history: a state is
// named by how many members there are.
type account struct {
	subject string
	mortal  bool // has a lifetime of a few milliseconds

	// unanswered counts the calls that have had no answer.
	unanswered atomic.Int64

	mu      sync.Mutex
	tokens  []token.Token // all that were handed out
	answers []answer
}

// answer is what a call has told about a session.
type answer struct {
	kind      string
	presented token.Token
	got       token.Exchanged
	meta      []string // names of the members
	err       error
	at        int64 // when it was given
}

// ledger drives a store and keeps all answers.
type ledger struct {
	store  *Store
	policy shard.Config
	rng    *rand.Rand // under mu
	clock  atomic.Int64
	ops    atomic.Int64
	// synced is the clock when the last tick that has ended began.
	synced atomic.Int64

	mu       sync.Mutex
	accounts []*account
	ends     []subjectEnd
}

// subjectEnd is an answer of EndSubject.
type subjectEnd struct {
	subject string
	began   int64
	at      int64
}

func newLedger(s *Store, cfg *Config, rng *rand.Rand) *ledger {
	return &ledger{store: s, policy: cfg.Store, rng: rng}
}

func (l *ledger) hasGrace() bool { return l.policy.Grace != 0 }

func (l *ledger) random(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rng.IntN(n)
}

// drive makes random calls by several clients at once. After each of them it
// calls step, which says whether to go on.
func (l *ledger) drive(ctx context.Context, clients, calls int, step func() bool) {
	var done sync.WaitGroup
	for range clients {
		done.Go(func() {
			for range calls {
				if l.call(ctx); !step() {
					return
				}
			}
		})
	}
	done.Wait()
}

func (l *ledger) call(ctx context.Context) {
	a := l.pick()
	n := l.random(100)
	switch {
	case a == nil || n < 10:
		l.create(ctx)
	case n < 68:
		l.exchange(ctx, a)
	case n < 82:
		l.validate(ctx, a)
	case n < 87:
		l.delete(ctx, a)
	case n < 89:
		l.endSubject(ctx)
	case n < 93:
		l.list(ctx)
	case n < 96:
		l.store.Purge()
	default:
		l.tick()
	}
}

// tick ticks early.
func (l *ledger) tick() {
	began := l.clock.Load()
	l.store.journal.tick()
	if l.store.failure.get() == nil {
		l.synced.Store(began)
	}
}

// binding returns the clock up to which answers bind at this moment.
func (l *ledger) binding() int64 {
	if l.store.journal.fsync == EverySecond {
		return l.synced.Load()
	}
	return l.clock.Load()
}

// pick returns one of the last few accounts.
func (l *ledger) pick() *account {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.accounts) == 0 {
		return nil
	}
	last := min(len(l.accounts), 4)
	return l.accounts[len(l.accounts)-1-l.rng.IntN(last)]
}

// present returns one of an account's last tokens, mostly the last, for a call
// whose answer is to be recorded.
func (l *ledger) present(a *account) token.Token {
	a.unanswered.Add(1)
	back := max(0, l.random(16)-8)
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tokens[max(0, len(a.tokens)-1-back)]
}

func (l *ledger) patch() []byte { return fmt.Appendf(nil, `{"op%d":1}`, l.ops.Add(1)) }

// record keeps an answer and says when it was given.
func (l *ledger) record(a *account, ans answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ans.err != nil && !errors.Is(ans.err, token.ErrInvalid) {
		return // no answer
	}
	if ans.presented != (token.Token{}) {
		a.unanswered.Add(-1)
	}
	if ans.err == nil && ans.got.Token != (token.Token{}) && !ans.got.Reused {
		a.tokens = append(a.tokens, ans.got.Token)
	}
	ans.at = l.clock.Add(1)
	a.answers = append(a.answers, ans)
}

func (l *ledger) create(ctx context.Context) {
	a := &account{}
	n := token.New{Meta: l.patch()}
	if l.random(2) == 0 {
		a.subject = fmt.Sprint("subject", l.random(2))
		n.Subject = []byte(a.subject)
	}
	if a.mortal = l.random(8) == 0; a.mortal {
		n.Lifetime = 5 * time.Millisecond
	}
	t, err := l.store.Create(ctx, n)
	if err != nil {
		return
	}
	l.record(a, answer{kind: "create", got: token.Exchanged{Token: t}, meta: members(n.Meta)})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accounts = append(l.accounts, a)
}

func (l *ledger) exchange(ctx context.Context, a *account) {
	t := l.present(a)
	got, err := l.store.Exchange(ctx, t, l.patch(), nil)
	l.record(a, answer{kind: "exchange", presented: t, got: got, meta: members(got.Meta), err: err})
}

func (l *ledger) validate(ctx context.Context, a *account) {
	t := l.present(a)
	meta, _, err := l.store.Validate(ctx, t, nil)
	l.record(a, answer{kind: "validate", presented: t, meta: members(meta), err: err})
}

func (l *ledger) delete(ctx context.Context, a *account) {
	t := l.present(a)
	if err := l.store.Delete(ctx, t); err == nil {
		l.record(a, answer{kind: "delete", presented: t, err: token.ErrInvalid})
	}
}

func (l *ledger) endSubject(ctx context.Context) {
	e := subjectEnd{subject: fmt.Sprint("subject", l.random(2)), began: l.clock.Add(1)}
	if _, err := l.store.EndSubject(ctx, []byte(e.subject)); err != nil {
		return // the account does not count it: only some tests have such errors
	}
	e.at = l.clock.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ends = append(l.ends, e)
}

// list takes what a listing tells of a session for an answer about it, and for
// an end that a session is not in it.
func (l *ledger) list(ctx context.Context) {
	subject, began := fmt.Sprint("subject", l.random(2)), l.clock.Add(1)
	listed, _, err := l.store.SubjectSessions(ctx, []byte(subject), 1000)
	if err != nil {
		return
	}
	metas := make(map[string][]string)
	for _, s := range listed {
		m := members(s.Meta)
		metas[m[0]] = m
	}
	l.mu.Lock()
	accounts := slices.Clone(l.accounts)
	l.mu.Unlock()
	for _, a := range accounts {
		a.mu.Lock()
		created := a.answers[0]
		a.mu.Unlock()
		if a.subject != subject || created.at > began {
			continue
		}
		if m, ok := metas[created.meta[0]]; ok {
			l.record(a, answer{kind: "listed", meta: m})
		} else {
			l.record(a, answer{kind: "not listed", err: token.ErrInvalid})
		}
	}
}

// members returns the names of an object's members, in their order.
func members(meta []byte) (names []string) {
	d := json.NewDecoder(strings.NewReader(string(meta)))
	d.Token()
	for d.More() {
		name, _ := d.Token()
		d.Token()
		names = append(names, name.(string))
	}
	return names
}

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
		steps = 9
	}
	state := h.spent(ans.presented, steps)
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
	for _, tok := range a.tokens {
		if tok == current || l.policy.RevokeOnReuse && !isValid(t, s, tok) {
			continue // to present it would end the session
		}
		got, err := s.Exchange(t.Context(), tok, nil, nil)
		if err == nil && (!l.hasGrace() || !got.Reused || got.Token != current) {
			t.Fatalf("Exchange(spent token) = success, Reused %v, want %v", got.Reused, token.ErrInvalid)
		}
		if err != nil && !errors.Is(err, token.ErrInvalid) {
			t.Fatalf("Exchange(spent token) = error %v", err)
		}
	}
	if got, err := s.Exchange(t.Context(), current, nil, nil); err != nil && !a.mortal || got.Reused {
		t.Fatalf("Exchange(current token) = error %v, Reused %v", err, got.Reused)
	}
}

func isValid(t testing.TB, s *Store, tok token.Token) bool {
	_, _, err := s.Validate(t.Context(), tok, nil)
	return err == nil
}

// policies are the settings that the crash tests go through.
func policies() map[string]func(*Config) {
	return map[string]func(*Config){
		"plain":    func(*Config) {},
		"grace":    func(cfg *Config) { cfg.Store.Grace = time.Minute },
		"revoke":   func(cfg *Config) { cfg.Store.Grace, cfg.Store.RevokeOnReuse = time.Minute, true },
		"limits":   func(cfg *Config) { cfg.Store.MaxLifetime, cfg.Store.MaxSessions = 2*time.Hour, 1000 },
		"everysec": func(cfg *Config) { cfg.Fsync = EverySecond },
	}
}
