package shard

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tokenserver/internal/storetest"
	"tokenserver/server"
	"tokenserver/token"
)

var _ server.Store = (*Store)(nil)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// never is a purge interval for tests that purge themselves.
const never = 1000 * time.Hour

// open opens a store that is closed, and checked, at the end of t.
func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	if j, ok := cfg.Journal.(*fakeJournal); ok {
		cfg.Clock = j.clock
	}
	s := New(cfg)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close = error %v", err)
		}
		checkStore(t, s)
	})
	return s
}

func TestStore(t *testing.T) {
	tests := []struct {
		shards        int
		purgeInterval time.Duration
	}{
		{1, time.Minute},
		{8, never},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("shards=%d", test.shards), func(t *testing.T) {
			storetest.Run(t, harness(test.shards, test.purgeInterval))
		})
	}
}

func harness(shards int, purgeInterval time.Duration) storetest.Harness {
	return storetest.Harness{
		Open: func(t testing.TB, cfg storetest.Config) storetest.Store {
			return open(t, suiteConfig(cfg, shards, purgeInterval))
		},
		Cost:  leastCost,
		Check: func(t testing.TB, s storetest.Store) { checkStore(t, s.(*Store)) },
	}
}

// leastCost is sessionCost without the map, whose share depends.
func leastCost(meta int, hasPolicy bool) int64 { return sessionCost(meta, hasPolicy) - mapCost }

func suiteConfig(cfg storetest.Config, shards int, purgeInterval time.Duration) Config {
	return Config{
		Shards:        shards,
		PurgeInterval: purgeInterval,
		Lifetime:      cfg.Lifetime,
		MaxSessions:   cfg.MaxSessions,
		MaxBytes:      cfg.MaxBytes,
		MaxMeta:       cfg.MaxMeta,
		Grace:         cfg.Grace,
		RevokeOnReuse: cfg.RevokeOnReuse,
		MaxLifetime:   cfg.MaxLifetime,
	}
}

// mustCreate creates a session.
func mustCreate(t testing.TB, s *Store, meta string) token.Token {
	t.Helper()
	return mustCreateNew(t, s, token.NewSession{Meta: []byte(meta)})
}

func mustCreateNew(t testing.TB, s *Store, n token.NewSession) token.Token {
	t.Helper()
	tok, err := s.Create(t.Context(), n)
	if err != nil {
		t.Fatalf("Create(%.100q) = error %v", n.Meta, err)
	}
	return tok
}

// mustExchange exchanges a token.
func mustExchange(t testing.TB, s *Store, tok token.Token, patch []byte) token.Token {
	t.Helper()
	x, err := s.Exchange(t.Context(), tok, token.Patch{Meta: patch}, nil)
	if err != nil {
		t.Fatalf("Exchange(patch %.100q) = error %v", patch, err)
	}
	return x.Token
}
