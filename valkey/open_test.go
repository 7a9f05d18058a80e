package valkey

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tokenserver/internal/enginetest"
	"tokenserver/token"
)

// openError opens a store that must not be opened, and returns why.
func openError(t testing.TB, cfg Config) error {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := Open(t.Context(), cfg)
	if err == nil {
		s.Close()
		t.Fatal("Open = no error")
	}
	return err
}

func TestOpenRefuses(t *testing.T) {
	e, other := enginetest.Start(t), enginetest.Start(t)
	replica := enginetest.Start(t, "--replicaof", strings.Replace(e.Address(), ":", " ", 1))
	enginetest.Until(t, patience, "replication", replica.Replicates)
	for _, command := range []string{
		"ACL SETUSER reader on >p ~* +@all -set", "ACL SETUSER narrow on >p ~other:* +@all", "ACL SETUSER mute on >p ~* +@all -@scripting",
	} {
		if got := e.Ask(command); !strings.HasPrefix(got, "+OK") {
			t.Fatal(got)
		}
	}
	at := func(user, password string) Engine {
		return Engine{Hosts: []string{e.Address()}, Username: user, Password: password}
	}
	tests := []struct {
		name string
		cfg  Config
		want error
	}{
		{"no host", Config{}, ErrAddress},
		{"several hosts", Config{Engine: Engine{Hosts: []string{e.Address(), other.Address()}}}, ErrAddress},
		{"replica", Config{Engine: Engine{Hosts: []string{replica.Address()}}}, ErrRefused},
		{"grace without a secret", Config{Engine: at("", ""), Grace: time.Second}, ErrRefused},
		{"wrong password", Config{Engine: at("reader", "x")}, ErrRefused},
		{"no SET", Config{Engine: at("reader", "p")}, ErrRefused},
		{"other keys", Config{Engine: at("narrow", "p")}, ErrRefused},
		{"no scripts", Config{Engine: at("mute", "p")}, ErrRefused},
	}
	for _, test := range tests {
		start := time.Now()
		err := openError(t, test.cfg)
		if !errors.Is(err, test.want) || strings.Contains(err.Error(), "\n") || time.Since(start) > startTimeout {
			t.Errorf("%s: Open = error %v after %v, want %v", test.name, err, time.Since(start), test.want)
		}
		t.Log(err)
	}
}

// TestPermissionsOfEachPrimary: a permission that one of a cluster's primaries does not give is
// found at the start.
func TestPermissionsOfEachPrimary(t *testing.T) {
	nodes := enginetest.StartCluster(t, 3, enginetest.Patient)
	for _, e := range nodes {
		e.Must("ACL SETUSER app on >p ~* +@all")
	}
	engine := Engine{Hosts: enginetest.Addresses(nodes), Username: "app", Password: "p"}
	open(t, Config{Engine: engine})
	for _, e := range enginetest.Primaries(nodes) {
		for _, missing := range []string{"zadd", "scan", "setrange", "exists"} {
			e.Must("ACL SETUSER app -" + missing)
			if err := openError(t, Config{Engine: engine}); !errors.Is(err, ErrRefused) {
				t.Errorf("without %s: Open = error %v, want %v", missing, err, ErrRefused)
			}
			e.Must("ACL SETUSER app +" + missing)
		}
	}
}

// TestClassifyReply: replies as the client tells them.
func TestClassifyReply(t *testing.T) {
	tests := []struct{ text, kind string }{
		{"NOPERM User app has no permissions", "noperm"},
		{"The user executing the script can't run this command or subcommand script: x, on @user_script:4.", "noperm"},
		{"The user executing the script can't access at least one of the keys mentioned in the command arguments", "noperm"},
		{"ACL failure in script: User app has no permissions to run the 'zadd' command script: x, on @user_script:27.", "noperm"},
		{"max number of clients reached", "clients"},
		{"Script attempted to access a non local key in a cluster node script: x", "tryagain"},
		{"LOADING Redis is loading the dataset in memory", "loading"},
		{"something else", "other"},
	}
	for _, test := range tests {
		if got := classifyReply(test.text); got.kind != test.kind || got.reached {
			t.Errorf("classifyReply(%q) = %+v, want the kind %s", test.text, got, test.kind)
		}
	}
}

func TestVersions(t *testing.T) {
	tests := []struct {
		info string
		ok   bool
	}{
		{"redis_version:7.0.0\r\n", true},
		{"# Server\r\nredis_version:8.2.1\r\n", true},
		{"redis_version:6.2.14\r\n", false},
		{"redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:7.2.9\r\n", true},
		{"redis_version:7.2.4\r\nvalkey_version:9.1.0\r\n", true},
		{"redis_version:7.2.4\r\nvalkey_version:7.1.0\r\n", false},
		{"", true},
		{"redis_version:unstable\r\n", true},
	}
	for _, test := range tests {
		if _, err := checkVersion(test.info); (err == nil) != test.ok {
			t.Errorf("checkVersion(%q) = %v, want it accepted: %v", test.info, err, test.ok)
		}
	}
}

func TestWarnings(t *testing.T) {
	tests := []struct {
		policy, save, appendonly string
		want                     int
	}{
		{"noeviction", "3600 1", "no", 0},
		{"noeviction", "", "yes", 0},
		{"noeviction", "", "no", 1},
		{"volatile-lru", "", "yes", 1},
		{"allkeys-random", "", "no", 2},
	}
	for _, test := range tests {
		settings := map[string]string{"maxmemory-policy": test.policy, "save": test.save, "appendonly": test.appendonly}
		if got := warnings(settings); len(got) != test.want {
			t.Errorf("warnings(%v) = %q, want %d", settings, got, test.want)
		}
	}
}

// TestOpenWithoutAnEngine fails in time, or waits if it is told to.
func TestOpenWithoutAnEngine(t *testing.T) {
	e := enginetest.Start(t)
	e.Kill()
	cfg := Config{Engine: Engine{Hosts: []string{e.Address()}}, Timeout: MaxTimeout}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	cfg.Logger = slog.New(slog.DiscardHandler)
	if _, err := Open(ctx, cfg); err == nil || !strings.Contains(err.Error(), e.Address()) {
		t.Errorf("Open = error %v, want one that names %s", err, e.Address())
	}
	cfg.Wait = true
	s := open(t, cfg)
	loaded := make(chan error, 1)
	go func() { loaded <- s.Load(context.Background()) }()
	if _, err := s.Create(t.Context(), token.NewSession{Meta: []byte(`{}`)}); !isUndone(err) || s.Ready() == nil || s.ID() != "" {
		t.Errorf("Create = error %v, Ready = %v, ID = %q", err, s.Ready(), s.ID())
	}
	for _, err := range s.Sessions(t.Context()) {
		if !isUndone(err) {
			t.Errorf("Sessions = error %v", err)
		}
	}
	e.Start()
	enginetest.Until(t, strictly(3*time.Second), "Ready", func() bool { return s.Ready() == nil })
	mustCreate(t, s, token.NewSession{Meta: []byte(`{}`)})
	if err := <-loaded; err != nil {
		t.Errorf("Load = error %v", err)
	}
}

// TestID: stores with the same sessions have the same identity, and others another.
func TestID(t *testing.T) {
	e := enginetest.Start(t)
	at := func(prefix string) *Store {
		return open(t, Config{Engine: Engine{Hosts: []string{e.Address()}, Prefix: prefix}})
	}
	a, b, other := at("a:"), at("a:"), at("b:")
	if a.ID() == "" || a.ID() != b.ID() || a.ID() == other.ID() {
		t.Errorf("ID = %q, %q, %q, want the first two the same", a.ID(), b.ID(), other.ID())
	}
}

// TestTooManyCalls: while the engine does not answer, calls beyond a bound fail at once.
func TestTooManyCalls(t *testing.T) {
	const n = 3 * MaxInFlightFailing
	e := enginetest.Start(t)
	s := open(t, Config{Timeout: 3 * time.Second}, e.Address())
	tok := mustCreate(t, s, token.NewSession{Meta: []byte(`{}`)})
	e.Signal(syscall.SIGSTOP)
	defer e.Signal(syscall.SIGCONT)
	if _, err := s.Exchange(t.Context(), tok, token.Patch{}, nil); err == nil {
		t.Fatal("Exchange = no error")
	}
	tokens := make([]token.Token, n)
	for i := range tokens {
		tokens[i] = token.Generate()
	}
	_, errs := exchangeAll(s, tokens)
	atOnce := 0
	for _, err := range errs {
		if errors.Is(err, errTooMany) {
			atOnce++
		}
	}
	if atOnce < n-2*MaxInFlightFailing {
		t.Errorf("%d calls of %d were refused at once, want %d at least", atOnce, n, n-2*MaxInFlightFailing)
	}
}

// TestStateIsLogged: changes are, and not requests, at most one a second.
func TestStateIsLogged(t *testing.T) {
	e := enginetest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	var log lockedBuffer
	s := open(t, Config{Timeout: MaxTimeout, Logger: slog.New(slog.NewTextHandler(&log, nil))}, e.Address())
	before := strings.Count(log.String(), "\n")
	start := time.Now()
	e.Kill()
	var calls sync.WaitGroup
	for range 50 {
		calls.Go(func() { s.Create(t.Context(), token.NewSession{Meta: []byte(`{}`)}) })
	}
	enginetest.Until(t, patience, "a line", func() bool { return strings.Contains(log.String(), "the engine fails") })
	e.Start()
	enginetest.Until(t, patience, "a line", func() bool { return strings.Contains(log.String(), "answers again") })
	calls.Wait()
	if got, most := strings.Count(log.String(), "\n")-before, 2+int(time.Since(start)/time.Second); got < 2 || got > most {
		t.Errorf("%d lines, want 2 to %d:\n%s", got, most, log.String())
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lockedBuffer) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}
