package valkey

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"tokenserver/internal/storetest"
	"tokenserver/server"
	"tokenserver/token"
)

var _ server.Store = (*Store)(nil)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// prefixes gives each store of the tests keys of its own.
var prefixes atomic.Int64

// open opens a store with keys of its own, which is closed at the end of t.
func open(t testing.TB, cfg Config, hosts ...string) *Store {
	t.Helper()
	if cfg.Engine.Prefix == "" {
		cfg.Engine.Prefix = fmt.Sprintf("t%d:", prefixes.Add(1))
	}
	if cfg.Engine.Hosts == nil {
		cfg.Engine.Hosts = hosts
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Grace != 0 && cfg.Secret == nil {
		cfg.Secret = token.NewSecret(testKey)
	}
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Open = error %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close = error %v", err)
		}
	})
	return s
}

var testKey = []byte("a key of 32 bytes, at the least .")

func TestStore(t *testing.T) {
	e := startEngine(t)
	storetest.Run(t, harness(Engine{Hosts: []string{e.address()}}))
}

func harness(e Engine) storetest.Harness {
	return storetest.Harness{
		RealTime: true, Unlimited: true,
		Open: func(t testing.TB, cfg storetest.Config) storetest.Store {
			return open(t, suiteConfig(cfg, e))
		},
	}
}

func suiteConfig(cfg storetest.Config, e Engine) Config {
	return Config{
		Engine:        e,
		Lifetime:      cfg.Lifetime,
		MaxMeta:       cfg.MaxMeta,
		Grace:         cfg.Grace,
		RevokeOnReuse: cfg.RevokeOnReuse,
		MaxLifetime:   cfg.MaxLifetime,
		Timeout:       MaxTimeout, // the machine that runs the suite may be busy
	}
}
