package valkey

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenserver/internal/enginetest"
	"tokenserver/token"
)

// createAll creates n sessions, however often that has to be tried.
func createAll(t testing.TB, s *Store, n int) []token.Token {
	t.Helper()
	tokens := make([]token.Token, n)
	for i := range tokens {
		meta := fmt.Appendf(nil, `{"n":%d}`, i)
		insist(t, "Create", func() (err error) {
			tokens[i], err = s.Create(t.Context(), token.NewSession{Meta: meta})
			return err
		})
	}
	return tokens
}

// insist makes a call until it does not fail for want of an engine.
func insist(t testing.TB, what string, call func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if err = call(); err == nil || isAnswer(err) {
			break
		}
	}
	if err != nil {
		t.Fatalf("%s = error %v", what, err)
	}
}

// patience is how long a test waits for what comes soon on a machine that is not busy. Where a
// replica was promoted at once, clients of Redis 8 and later find it no sooner than the cluster
// has found the old primary failed, after enginetest.Patient.
const patience = 2 * enginetest.Patient

// strictly returns how long something may take, if nothing else runs on the machine.
func strictly(limit time.Duration) time.Duration {
	if *realTime {
		return limit
	}
	return patience
}

// isAnswer says whether an error tells something about a token.
func isAnswer(err error) bool {
	return errors.Is(err, token.ErrInvalid) || errors.Is(err, token.ErrFull) || errors.Is(err, token.ErrMetaTooLarge)
}

// isUndone says whether an error says that nothing was carried out.
func isUndone(err error) bool {
	_, ok := errors.AsType[*token.UnavailableError](err)
	return ok
}

// exchangeAll exchanges tokens at once, and returns what each came back with.
func exchangeAll(s *Store, tokens []token.Token) ([]token.ExchangeResult, []error) {
	results, errs := make([]token.ExchangeResult, len(tokens)), make([]error, len(tokens))
	var all sync.WaitGroup
	for i := range tokens {
		all.Go(func() { results[i], errs[i] = s.Exchange(context.Background(), tokens[i], token.Patch{}, nil) })
	}
	all.Wait()
	return results, errs
}

// ledger is what clients know of their sessions.
type ledger struct {
	exchanged, unknown, undone, lost atomic.Int64
	lossy                            bool // what was answered may be lost
	servers                          []*Store
	longest                          atomic.Int64 // how many nanoseconds an exchange took at most
	why                              atomic.Value // the last error of which the outcome is unknown
}

// settled says that the outcome of every exchange was known.
func (l *ledger) settled() bool {
	return l.exchanged.Load() > 0 && l.unknown.Load()+l.undone.Load() == 0
}

func (l *ledger) String() string {
	why := ""
	if l.unknown.Load() > 0 {
		why = fmt.Sprintf(" (such as %v)", l.why.Load())
	}
	return fmt.Sprintf("%d exchanged, %d undone, %d unknown%s, %d sessions lost; the longest took %v",
		l.exchanged.Load(), l.undone.Load(), l.unknown.Load(), why, l.lost.Load(), time.Duration(l.longest.Load()))
}

// exchange exchanges a token at one of the servers, alone or in a batch, with a patch that says
// how often the session was changed.
func (l *ledger) exchange(tok token.Token, n int) (token.ExchangeResult, error) {
	s, patch, start := l.servers[rand.IntN(len(l.servers))], fmt.Appendf(nil, `{"n":%d}`, n), time.Now()
	defer func() { l.took(time.Since(start)) }()
	if rand.IntN(2) == 0 {
		return s.Exchange(context.Background(), tok, token.Patch{Meta: patch}, nil)
	}
	b := token.Batch{Items: []token.BatchItem{
		{Op: token.OpExchange, Token: token.Generate()}, {Op: token.OpExchange, Token: tok, Meta: patch},
	}}
	if err := s.Batch(context.Background(), &b); err != nil {
		return token.ExchangeResult{}, err
	}
	item := b.Items[1]
	if item.Err != nil {
		return token.ExchangeResult{}, item.Err
	}
	return token.ExchangeResult{Token: item.Token, Meta: b.Buf[len(b.Buf)-item.MetaLen:]}, nil
}

// took takes in how long an exchange took.
func (l *ledger) took(d time.Duration) {
	for most := l.longest.Load(); int64(d) > most && !l.longest.CompareAndSwap(most, int64(d)); {
		most = l.longest.Load()
	}
}

// client exchanges a session's token again and again until it is told to stop, and says what
// is wrong. Of an exchange whose outcome is unknown the token is either spent or not.
func (l *ledger) client(tok token.Token, stop <-chan struct{}) error {
	for n := 1; ; n++ {
		select {
		case <-stop:
			return nil
		default:
		}
		x, err := l.exchange(tok, n)
		switch {
		case err == nil:
			l.exchanged.Add(1)
			if want := fmt.Sprintf(`{"n":%d}`, n); string(x.Meta) != want {
				return fmt.Errorf("metadata %s, want %s", x.Meta, want)
			}
		case errors.Is(err, token.ErrInvalid) && l.lossy:
			l.lost.Add(1)
			return nil
		case errors.Is(err, token.ErrInvalid):
			return errors.New("a live token is invalid")
		case isUndone(err):
			l.undone.Add(1)
			continue
		default:
			l.unknown.Add(1)
			l.why.Store(err.Error())
			if x, err = l.settle(tok, n, stop); err != nil {
				return nil // it was spent, and its successor is lost; or it is time to stop
			}
		}
		tok = x.Token
	}
}

// settle exchanges a token that may be spent.
func (l *ledger) settle(tok token.Token, n int, stop <-chan struct{}) (x token.ExchangeResult, err error) {
	for {
		x, err = l.exchange(tok, n)
		if err == nil || errors.Is(err, token.ErrInvalid) {
			return x, err
		}
		select {
		case <-stop:
			return x, token.ErrInvalid
		case <-time.After(time.Millisecond):
		}
	}
}

// reaches waits until so many exchanges more have gone well.
func (l *ledger) reaches(t testing.TB, more int64) {
	t.Helper()
	want := l.exchanged.Load() + more
	for deadline := time.Now().Add(patience); l.exchanged.Load() < want && !t.Failed(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%v: no %d exchanges more within %v", l, more, patience)
		}
	}
}

// load runs clients on all servers while disturb does something to the engine.
func (l *ledger) load(t *testing.T, clients int, disturb func()) {
	t.Helper()
	stop := make(chan struct{})
	var all sync.WaitGroup
	for _, tok := range createAll(t, l.servers[0], clients) {
		all.Go(func() {
			if err := l.client(tok, stop); err != nil {
				t.Error(err)
			}
		})
	}
	end := sync.OnceFunc(func() {
		close(stop)
		all.Wait()
	})
	defer end()
	l.reaches(t, int64(clients))
	disturb()
	end()
	t.Log(l)
}

// underLoad is load with a ledger of its own.
func underLoad(t *testing.T, servers []*Store, clients int, disturb func(l *ledger)) *ledger {
	t.Helper()
	l := &ledger{servers: servers}
	l.load(t, clients, func() { disturb(l) })
	return l
}

// openTwo opens two stores with the same sessions.
func openTwo(t testing.TB, cfg Config, hosts ...string) []*Store {
	t.Helper()
	if cfg.Engine.Prefix == "" {
		cfg.Engine.Prefix = fmt.Sprintf("t%d:", prefixes.Add(1))
	}
	return []*Store{open(t, cfg, hosts...), open(t, cfg, hosts...)}
}

// patient opens a store with the sessions of another one that waits longer for the engine.
func patient(t testing.TB, s *Store) *Store {
	t.Helper()
	cfg := s.config
	cfg.Timeout = MaxTimeout
	return open(t, cfg)
}
