package durable

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/cockroachdb/pebble/v2/wal"
	"go.uber.org/goleak"

	"tokenserver/shard"
	"tokenserver/token"
)

// mustCreate creates a session with nothing but metadata.
func mustCreate(t testing.TB, s *Store, meta string) token.Token {
	t.Helper()
	tok, err := s.Create(t.Context(), token.NewSession{Meta: []byte(meta)})
	if err != nil {
		t.Fatalf("Create(%s) = error %v", meta, err)
	}
	return tok
}

func mustExchange(t testing.TB, s *Store, tok token.Token, patch string) token.Token {
	t.Helper()
	var p []byte
	if patch != "" {
		p = []byte(patch)
	}
	got, err := s.Exchange(t.Context(), tok, token.Patch{Meta: p}, nil)
	if err != nil {
		t.Fatalf("Exchange(patch %s) = error %v", patch, err)
	}
	return got.Token
}

func wantInvalid(t testing.TB, s *Store, tok token.Token) {
	t.Helper()
	if _, err := s.Exchange(t.Context(), tok, token.Patch{}, nil); err != token.ErrInvalid {
		t.Errorf("Exchange(invalid token) = error %v, want %v", err, token.ErrInvalid)
	}
}

// keys counts the keys on disk.
func keys(t testing.TB, s *Store) (n int) {
	t.Helper()
	iter, err := s.db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer iter.Close()
	for iter.First(); iter.Valid(); iter.Next() {
		n++
	}
	return n
}

func TestReopen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := memConfig(vfs.NewMem())
		cfg.tune = withoutTicks
		cfg.Store.Lifetime, cfg.Store.MaxLifetime = time.Hour, 3*time.Hour
		s := mustOpen(t, cfg)
		first, err := s.Create(t.Context(), token.NewSession{Meta: []byte(`{"a":1}`), Subject: []byte("bob"), Lifetime: 40 * time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		second := mustExchange(t, s, first, `{"b":2}`)
		deleted := mustCreate(t, s, `{}`)
		if err := s.Delete(t.Context(), deleted); err != nil {
			t.Fatal(err)
		}
		_, expires, err := s.Validate(t.Context(), second, nil)
		if err != nil {
			t.Fatal(err)
		}
		mustClose(t, s)

		time.Sleep(30 * time.Minute)
		s = mustOpen(t, cfg)
		wantInvalid(t, s, first)
		wantInvalid(t, s, deleted)
		meta, again, err := s.Validate(t.Context(), second, nil)
		if err != nil || string(meta) != `{"a":1,"b":2}` || !again.Equal(expires) {
			t.Errorf("Validate = %s, %v, error %v, want as before, %v", meta, again, err, expires)
		}
		if list, _, err := s.SubjectSessions(t.Context(), []byte("bob"), token.Page{Limit: 10}); len(list) != 1 || err != nil {
			t.Errorf("SubjectSessions = %d sessions, error %v, want 1", len(list), err)
		}
		// Its own lifetime lasts, and the absolute deadline.
		third := mustExchange(t, s, second, "")
		_, expires, _ = s.Validate(t.Context(), third, nil)
		if got := time.Until(expires); got != 40*time.Minute {
			t.Errorf("after an exchange it expires in %v, want 40m", got)
		}
		for range 4 {
			time.Sleep(35 * time.Minute)
			third = mustExchange(t, s, third, "")
		}
		_, expires, _ = s.Validate(t.Context(), third, nil)
		if got := time.Until(expires); got != 10*time.Minute {
			t.Errorf("after 170 of 180 minutes it expires in %v, want 10m", got)
		}
		mustClose(t, s)
	})
}

// TestSubjectsKeepTheirOrder: sessions are loaded in no order.
func TestSubjectsKeepTheirOrder(t *testing.T) {
	cfg := memConfig(vfs.NewMem())
	s := mustOpen(t, cfg)
	const n = 300
	create := func(i int) {
		meta := fmt.Appendf(nil, `{"n":%d}`, i)
		if _, err := s.Create(t.Context(), token.NewSession{Meta: meta, Subject: []byte("bob")}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		create(i)
	}
	mustClose(t, s)
	s = mustOpen(t, cfg)
	defer mustClose(t, s)
	create(n)
	list, more, err := s.SubjectSessions(t.Context(), []byte("bob"), token.Page{Limit: n + 1})
	if len(list) != n+1 || more || err != nil {
		t.Fatalf("SubjectSessions = %d sessions, more %v, error %v, want %d", len(list), more, err, n+1)
	}
	for i, session := range list {
		if got, want := string(session.Meta), fmt.Sprintf(`{"n":%d}`, n-i); got != want {
			t.Fatalf("session %d is %s, want %s", i, got, want)
		}
	}
}

func TestExpiredKeysGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := memConfig(vfs.NewMem())
		cfg.tune = withoutTicks
		cfg.Store.Lifetime = time.Hour
		s := mustOpen(t, cfg)
		for range 2*deleteBatch + 1 {
			mustCreate(t, s, `{}`)
		}
		time.Sleep(30 * time.Minute)
		kept := mustCreate(t, s, `{}`)
		if got, want := keys(t, s), 2*deleteBatch+2; got != want {
			t.Errorf("there are %d keys, want %d", got, want)
		}
		time.Sleep(30*time.Minute + 2*time.Minute) // a purge, and a tick
		if got := keys(t, s); got != 1 {
			t.Errorf("after the purge there are %d keys, want 1", got)
		}
		mustExchange(t, s, kept, "")
		for range 10 {
			mustCreate(t, s, `{}`)
		}
		long := token.NewSession{Meta: []byte(`{}`), Lifetime: 3 * time.Hour}
		if _, err := s.Create(t.Context(), long); err != nil {
			t.Fatal(err)
		}
		mustClose(t, s)

		// What has expired meanwhile goes at the start.
		time.Sleep(time.Hour)
		var log bytes.Buffer
		cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		s = mustOpen(t, cfg)
		if got := s.Stats().Sessions; got != 1 || !strings.Contains(log.String(), "msg=loaded sessions=1 expired=11 seconds=") {
			t.Errorf("%d sessions were loaded, want 1; the log: %s", got, log.String())
		}
		time.Sleep(2 * tickInterval)
		if got := keys(t, s); got != 1 {
			t.Errorf("after the start there are %d keys, want 1", got)
		}
		mustClose(t, s)
	})
}

func TestEverySecondLosesASecondAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		cfg := memConfig(fs)
		cfg.tune, cfg.Fsync = withoutTicks, EverySecond
		s := mustOpen(t, cfg)
		defer mustClose(t, s)
		crashed := func() *Store {
			cfg := cfg
			cfg.FS = fs.CrashClone(vfs.CrashCloneCfg{})
			return mustOpen(t, cfg)
		}
		first := mustCreate(t, s, `{"a":1}`)
		time.Sleep(tickInterval)
		synctest.Wait()
		second := mustExchange(t, s, first, "")

		// Within the second it is all undone, and the token that was spent is back.
		after := crashed()
		wantInvalid(t, after, second)
		mustExchange(t, after, first, "")
		mustClose(t, after)

		for range 5 { // each tick serves what came before it
			time.Sleep(tickInterval)
			synctest.Wait()
			after = crashed()
			wantInvalid(t, after, first)
			first, second = second, mustExchange(t, s, second, "")
			mustExchange(t, after, first, "")
			mustClose(t, after)
		}
	})
}

// TestIdleStoreIsIdle: without changes there are no syncs.
func TestIdleStoreIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var syncs atomic.Int64
		cfg := memConfig(errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if isLogSync(op) {
				syncs.Add(1)
			}
			return nil
		})))
		cfg.tune = withoutTicks
		s := mustOpen(t, cfg)
		defer mustClose(t, s)
		mustCreate(t, s, `{}`)
		time.Sleep(time.Minute)
		before := syncs.Load()
		time.Sleep(time.Minute)
		if got := syncs.Load() - before; got != 0 {
			t.Errorf("there were %d syncs in an idle minute", got)
		}
	})
}

// TestMoreSessionsThanTheLimits: a limit that was lowered, or a policy that makes each
// session larger, blocks new sessions only.
func TestMoreSessionsThanTheLimits(t *testing.T) {
	const sessions = 10
	plain := memConfig(vfs.NewMem())
	s := mustOpen(t, plain)
	var tokens []token.Token
	for range sessions {
		tokens = append(tokens, mustCreate(t, s, `{}`))
	}
	size := s.Stats().Bytes
	large := []byte(`{"a":"` + strings.Repeat("x", 1000) + `"}`) // needs a page of its own
	mustClose(t, s)
	tests := map[string]shard.Config{
		"fewer sessions":  {MaxSessions: sessions - 1},
		"less memory":     {MaxBytes: size / 2},
		"larger sessions": {MaxBytes: size / 2, MaxLifetime: time.Hour},
	}
	for name, limits := range tests {
		cfg := plain
		cfg.Store, cfg.Store.Shards = limits, 4
		s := mustOpen(t, cfg)
		if got := s.Stats().Sessions; got != sessions {
			t.Errorf("%s: %d sessions are loaded, want %d", name, got, sessions)
		}
		if _, err := s.Create(t.Context(), token.NewSession{Meta: large}); !errors.Is(err, token.ErrFull) {
			t.Errorf("%s: Create = error %v, want %v", name, err, token.ErrFull)
		}
		for i := range tokens {
			tokens[i] = mustExchange(t, s, tokens[i], "")
		}
		mustClose(t, s)
	}
}

func TestDamagedRecord(t *testing.T) {
	for name, value := range map[string]string{"empty": "", "later version": "\x03", "garbage": "\x01garbage"} {
		cfg := memConfig(vfs.NewMem())
		s := mustOpen(t, cfg)
		if err := s.db.Set([]byte("idididid"), []byte(value), pebble.Sync); err != nil {
			t.Fatal(err)
		}
		mustClose(t, s)
		_, err := openAndLoad(cfg)
		if !errors.Is(err, ErrCorrupt) || strings.Contains(err.Error(), "idid") {
			t.Errorf("%s: Open = error %v, want %v without the id", name, err, ErrCorrupt)
		}
	}
}

func TestClosed(t *testing.T) {
	for _, fsync := range []Fsync{Always, EverySecond} {
		cfg := memConfig(vfs.NewMem())
		cfg.Fsync = fsync
		s := mustOpen(t, cfg)
		tok := mustCreate(t, s, `{}`)
		mustClose(t, s)
		if _, err := s.Create(t.Context(), token.NewSession{Meta: []byte(`{}`)}); !errors.Is(err, errClosed) {
			t.Errorf("%v: Create after Close = error %v, want %v", fsync, err, errClosed)
		}
		if _, err := s.Exchange(t.Context(), tok, token.Patch{}, nil); !errors.Is(err, errClosed) {
			t.Errorf("%v: Exchange after Close = error %v, want %v", fsync, err, errClosed)
		}
		s = mustOpen(t, cfg)
		if got := s.Stats().Sessions; got != 1 {
			t.Errorf("%v: there are %d sessions, want 1", fsync, got)
		}
		mustExchange(t, s, tok, "")
		mustClose(t, s)
	}
}

// TestCloseUnderLoad closes a store that is in use: what it answers is kept.
func TestCloseUnderLoad(t *testing.T) {
	cfg := memConfig(vfs.NewMem())
	s := mustOpen(t, cfg)
	var done sync.WaitGroup
	var started atomic.Int64
	tokens := make([]token.Token, 8)
	for i := range tokens {
		tokens[i] = mustCreate(t, s, `{}`)
		done.Go(func() {
			for {
				got, err := s.Exchange(t.Context(), tokens[i], token.Patch{}, nil)
				if err != nil {
					return
				}
				tokens[i] = got.Token
				started.Add(1)
			}
		})
	}
	for started.Load() < 100 {
		runtime.Gosched()
	}
	mustClose(t, s)
	done.Wait()
	s = mustOpen(t, cfg)
	defer mustClose(t, s)
	for _, tok := range tokens {
		mustExchange(t, s, tok, "")
	}
}

func TestCloseLeavesNoLog(t *testing.T) {
	cfg := memConfig(vfs.NewMem())
	s := mustOpen(t, cfg)
	mustCreate(t, s, `{}`)
	mustClose(t, s)
	logs, err := wal.Scan(wal.Dir{FS: cfg.FS, Dirname: testDir})
	if err != nil || len(logs) == 0 {
		t.Fatalf("Scan = %d logs, error %v", len(logs), err)
	}
	if last, err := readLog(logs[len(logs)-1]); err != nil || last.end != 0 {
		t.Errorf("the last log has writes up to %d, error %v, want none", last.end, err)
	}
}

func TestNothingLeaks(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	cfg := memConfig(vfs.NewMem())
	for range 3 {
		s := mustOpen(t, cfg)
		mustCreate(t, s, `{}`)
		mustClose(t, s)
	}
	s := mustOpen(t, cfg)
	if err := s.db.Set([]byte("idididid"), []byte("garbage"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	if _, err := openAndLoad(cfg); err == nil {
		t.Errorf("Load of garbage = no error")
	}
}

func TestProgressIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		l := &loader{store: &Store{log: slog.New(slog.NewTextHandler(&log, nil))}, now: time.Now()}
		l.loaded.Store(7)
		done := make(chan struct{})
		go l.report(done)
		time.Sleep(2*progressInterval + 1)
		close(done)
		synctest.Wait()
		if got := log.String(); strings.Count(got, "msg=loading sessions=7") != 2 || !strings.Contains(got, "seconds=10") {
			t.Errorf("the log says %q, want progress after 5 and 10 seconds", got)
		}
	})
}
