package server

import (
	"context"
	"iter"
	"log/slog"
	"runtime/debug"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tokenserver/shard"
	"tokenserver/token"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, ignored...)
}

// ignored are fasthttp's clock for the Date header, which never ends, and what
// cleans its pools of workers up, which looks for the end every ten seconds.
var ignored = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
	goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
}

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// served is a server on a socket of its own.
type served struct {
	*Server
	addr string
	done chan error // of Serve
}

// serve serves until the test ends, from a fresh shard.Store if cfg has no Store.
func serve(t testing.TB, cfg Config) *served {
	t.Helper()
	if cfg.Store == nil {
		cfg.Store = newStore(t, shard.Config{})
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Guard == nil {
		cfg.Guard = setting.guard
	}
	ln := listen(t)
	s := &served{New(cfg), ln.Addr().String(), make(chan error, 1)}
	go func() { s.done <- s.Serve(ln) }()
	t.Cleanup(func() { s.shutdown(t) })
	return s
}

// shutdown ends the server if the test has not done so.
func (s *served) shutdown(t testing.TB) {
	t.Helper()
	if s.reaper.stopping.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown() = %v", err)
	}
	if err := <-s.done; err != nil {
		t.Errorf("Serve() = %v", err)
	}
}

func newStore(t testing.TB, cfg shard.Config) *shard.Store {
	t.Helper()
	if cfg.Shards == 0 {
		cfg.Shards = 4
	}
	store := shard.New(cfg)
	t.Cleanup(func() { store.Close() })
	return store
}

// fakeStore is a Store with something that happens before each call: it may
// block or panic, and an error from it is the call's.
type fakeStore struct {
	Store
	before func(call string) error
}

func (f *fakeStore) Create(ctx context.Context, n token.NewSession) (token.Token, error) {
	if err := f.before("create"); err != nil {
		return token.Token{}, err
	}
	return f.Store.Create(ctx, n)
}

func (f *fakeStore) Exchange(ctx context.Context, t token.Token, patch token.Patch, dst []byte) (token.ExchangeResult, error) {
	if err := f.before("exchange"); err != nil {
		return token.ExchangeResult{}, err
	}
	return f.Store.Exchange(ctx, t, patch, dst)
}

func (f *fakeStore) Validate(ctx context.Context, t token.Token, dst []byte) ([]byte, time.Time, error) {
	if err := f.before("validate"); err != nil {
		return nil, time.Time{}, err
	}
	return f.Store.Validate(ctx, t, dst)
}

func (f *fakeStore) Delete(ctx context.Context, t token.Token) error {
	if err := f.before("delete"); err != nil {
		return err
	}
	return f.Store.Delete(ctx, t)
}

func (f *fakeStore) Batch(ctx context.Context, b *token.Batch) error {
	if err := f.before("batch"); err != nil {
		return err
	}
	return f.Store.Batch(ctx, b)
}

func (f *fakeStore) EndSubject(ctx context.Context, subject []byte) (int, error) {
	if err := f.before("end subject"); err != nil {
		return 0, err
	}
	return f.Store.EndSubject(ctx, subject)
}

func (f *fakeStore) EndOthers(ctx context.Context, subject []byte, keep token.Token) (int, error) {
	if err := f.before("end others"); err != nil {
		return 0, err
	}
	return f.Store.EndOthers(ctx, subject, keep)
}

func (f *fakeStore) EndSession(ctx context.Context, subject []byte, name token.SessionName) (int, error) {
	if err := f.before("end session"); err != nil {
		return 0, err
	}
	return f.Store.EndSession(ctx, subject, name)
}

func (f *fakeStore) SubjectSessions(ctx context.Context, subject []byte, page token.Page) ([]token.Session, bool, error) {
	if err := f.before("subject sessions"); err != nil {
		return nil, false, err
	}
	return f.Store.SubjectSessions(ctx, subject, page)
}

func (f *fakeStore) Sessions(ctx context.Context) iter.Seq2[token.Session, error] {
	return func(yield func(token.Session, error) bool) {
		if err := f.before("sessions"); err != nil {
			yield(token.Session{}, err)
			return
		}
		f.Store.Sessions(ctx)(yield)
	}
}

// eventually waits until what must happen has happened.
func eventually(t testing.TB, what string, happened func() bool) {
	t.Helper()
	for start := time.Now(); !happened(); time.Sleep(time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatalf("waited %v for this in vain: %s", patience, what)
		}
	}
}

// underRace reports whether the race detector is on: it makes all slower, and
// makes pools forget.
func underRace() bool {
	info, _ := debug.ReadBuildInfo()
	for _, setting := range info.Settings {
		if setting.Key == "-race" {
			return setting.Value == "true"
		}
	}
	return false
}
