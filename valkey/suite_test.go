package valkey

import (
	"flag"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tokenserver/internal/enginetest"
	"tokenserver/internal/storetest"
	"tokenserver/server"
	"tokenserver/token"
)

var _ server.Store = (*Store)(nil)

// TestMain finds goroutines that are left. A client closes the connections to nodes that are no
// longer in a cluster seconds later, and looks at a cluster within a second after one is closed.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient)._refresh.func2"),
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"))
}

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

// realTime says that tests run, too, that go by real time: they take minutes, and want a machine
// that does nothing else.
var realTime = flag.Bool("valkey.engines", false, "run the tests of engines in full, also those that go by real time: make engines")

func TestStore(t *testing.T) {
	e := enginetest.Start(t)
	storetest.Run(t, harness(Engine{Hosts: []string{e.Address()}}, 8))
}

func TestStoreInACluster(t *testing.T) {
	nodes := enginetest.StartCluster(t, 3, enginetest.Patient)
	storetest.Run(t, harness(Engine{Hosts: enginetest.Addresses(nodes)}, 16))
}

func TestStoreThroughSentinels(t *testing.T) {
	_, _, sentinels := enginetest.StartSentinels(t, 3, enginetest.Patient)
	storetest.Run(t, harness(Engine{Hosts: enginetest.Addresses(sentinels), Sentinel: enginetest.SentinelName}, 16))
}

// harness describes a store whose calls go to another process and back.
func harness(e Engine, divide int) storetest.Harness {
	if *realTime {
		divide = 1
	}
	return storetest.Harness{
		Unlimited: true, Divide: divide,
		Open: func(t testing.TB, cfg storetest.Config) storetest.Store {
			return open(t, suiteConfig(cfg, e))
		},
		Advance: func(t testing.TB, s storetest.Store, d time.Duration) { makeOlder(t, s.(*Store), d) },
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
