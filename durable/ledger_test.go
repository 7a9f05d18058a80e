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
	kind       string
	credential token.Token
	got        token.ExchangeResult
	meta       []string // names of the members
	err        error
	at         int64 // when it was given
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
		l.store.restored.Purge()
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
	if ans.credential != (token.Token{}) {
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
	n := token.NewSession{Meta: l.patch()}
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
	l.record(a, answer{kind: "create", got: token.ExchangeResult{Token: t}, meta: members(n.Meta)})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accounts = append(l.accounts, a)
}

func (l *ledger) exchange(ctx context.Context, a *account) {
	t := l.present(a)
	got, err := l.store.Exchange(ctx, t, token.Patch{Meta: l.patch()}, nil)
	l.record(a, answer{kind: "exchange", credential: t, got: got, meta: members(got.Meta), err: err})
}

func (l *ledger) validate(ctx context.Context, a *account) {
	t := l.present(a)
	meta, _, err := l.store.Validate(ctx, t, nil)
	l.record(a, answer{kind: "validate", credential: t, meta: members(meta), err: err})
}

func (l *ledger) delete(ctx context.Context, a *account) {
	t := l.present(a)
	if err := l.store.Delete(ctx, t); err == nil {
		l.record(a, answer{kind: "delete", credential: t, err: token.ErrInvalid})
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
	listed, _, err := l.store.SubjectSessions(ctx, []byte(subject), token.Page{Limit: 1000})
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
