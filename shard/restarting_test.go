package shard

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenserver/internal/storetest"
	"tokenserver/token"
)

// restarting is a store that is closed and restored from its journal, with
// another number of shards, every few calls.
type restarting struct {
	cfg     Config
	journal *fakeJournal
	calls   atomic.Int64

	mu       sync.RWMutex // held for reading by each call
	store    *Store
	restored int // sessions of the store
}

const restartEvery = 15

func openRestarting(t testing.TB, cfg Config) *restarting {
	t.Helper()
	r := &restarting{cfg: cfg, journal: newJournal(t)}
	r.cfg.Journal, r.cfg.Secret, r.cfg.Clock = r.journal, testSecret, r.journal.clock
	r.store = New(r.cfg)
	t.Cleanup(func() {
		r.store.Close()
		r.check(t)
	})
	return r
}

func (r *restarting) check(t testing.TB) {
	t.Helper()
	checkRestored(t, r.store, r.restored)
	checkJournal(t, r.store, r.journal)
}

// enter returns the store for a call, which ends with leave.
func (r *restarting) enter() (s *Store, leave func()) {
	if r.calls.Add(1)%restartEvery == 0 {
		r.restart()
	}
	r.mu.RLock()
	return r.store, r.mu.RUnlock
}

func (r *restarting) restart() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.store.Close()
	r.cfg.Shards = map[int]int{1: 16, 16: 4, 4: 1}[r.cfg.Shards]
	r.store = New(r.cfg)
	r.restored = restoreAll(r.store, r.journal)
}

// restoreAll restores what has not expired of a journal.
func restoreAll(s *Store, j *fakeJournal) (restored int) {
	for id, state := range j.states {
		if state.Expires <= s.now() {
			delete(j.states, id)
			continue
		}
		if err := s.Restore(&state); err != nil {
			panic(err)
		}
		restored++
	}
	if err := s.Restored(context.Background()); err != nil {
		panic(err)
	}
	return restored
}

func (r *restarting) Create(ctx context.Context, n token.NewSession) (token.Token, error) {
	s, leave := r.enter()
	defer leave()
	return s.Create(ctx, n)
}

func (r *restarting) Exchange(ctx context.Context, t token.Token, patch token.Patch, dst []byte) (token.ExchangeResult, error) {
	s, leave := r.enter()
	defer leave()
	return s.Exchange(ctx, t, patch, dst)
}

func (r *restarting) Validate(ctx context.Context, t token.Token, dst []byte) ([]byte, time.Time, error) {
	s, leave := r.enter()
	defer leave()
	return s.Validate(ctx, t, dst)
}

func (r *restarting) Delete(ctx context.Context, t token.Token) error {
	s, leave := r.enter()
	defer leave()
	return s.Delete(ctx, t)
}

func (r *restarting) Batch(ctx context.Context, b *token.Batch) error {
	s, leave := r.enter()
	defer leave()
	return s.Batch(ctx, b)
}

func (r *restarting) EndSubject(ctx context.Context, name []byte) (int, error) {
	s, leave := r.enter()
	defer leave()
	return s.EndSubject(ctx, name)
}

func (r *restarting) EndOthers(ctx context.Context, name []byte, keep token.Token) (int, error) {
	s, leave := r.enter()
	defer leave()
	return s.EndOthers(ctx, name, keep)
}

func (r *restarting) EndSession(ctx context.Context, name []byte, session token.SessionName) (int, error) {
	s, leave := r.enter()
	defer leave()
	return s.EndSession(ctx, name, session)
}

func (r *restarting) SubjectSessions(ctx context.Context, name []byte, page token.Page) ([]token.Session, bool, error) {
	s, leave := r.enter()
	defer leave()
	return s.SubjectSessions(ctx, name, page)
}

// Sessions lists the store as it is now, also across restarts.
func (r *restarting) Sessions(ctx context.Context) iter.Seq2[token.Session, error] {
	s, leave := r.enter()
	defer leave()
	return s.Sessions(ctx)
}

func (r *restarting) Purge() int {
	s, leave := r.enter()
	defer leave()
	return s.Purge()
}

// TestRestoredStore runs the whole suite on a store that is restarted all the time.
func TestRestoredStore(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		Open: func(t testing.TB, cfg storetest.Config) storetest.Store {
			return openRestarting(t, suiteConfig(cfg, 4, never))
		},
		Cost:  sessionCost,
		Check: func(t testing.TB, s storetest.Store) { s.(*restarting).check(t) },
	})
}

// restored returns a store with the sessions of another one's journal.
func restored(t testing.TB, cfg Config, j *fakeJournal) *Store {
	t.Helper()
	cfg.Clock = j.clock
	s := New(cfg)
	n := restoreAll(s, j)
	t.Cleanup(func() {
		s.Close()
		checkRestored(t, s, n)
	})
	return s
}
