package valkey

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"tokenserver/internal/enginetest"
	"tokenserver/internal/faultproxy"
	"tokenserver/token"
)

// TestAnotherEngine: an engine that has not the sessions says nothing about them, however it came
// to its address.
func TestAnotherEngine(t *testing.T) {
	tests := []struct {
		name string
		args []string // of the engine that has the sessions
		then func(s *Store, other *enginetest.Engine)
	}{
		{name: "one with other data", then: func(_ *Store, other *enginetest.Engine) { other.Must("SET somebody else") }},
		{name: "one of another fleet", then: func(s *Store, other *enginetest.Engine) { other.Must("SET " + s.keys.id() + " AnotherFleet") }},
		{name: "an empty one for one that keeps all on disk", args: []string{"--appendonly", "yes"}, then: func(*Store, *enginetest.Engine) {}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			right, other := enginetest.Start(t, test.args...), enginetest.Start(t)
			proxy := faultproxy.Start(t, right.Address())
			s := open(t, Config{Timeout: 200 * time.Millisecond}, proxy.Address)
			tok := createAll(t, s, 1)[0]
			test.then(s, other)
			proxy.LeadTo(other.Address())
			proxy.CutAll()
			for name, call := range callsOf(t, s, tok) {
				untilUndone(t, name, call)
			}
			enginetest.Until(t, patience, "Ready that says so", func() bool {
				err := s.Ready()
				return err != nil && err.Error() == errOther.Error()
			})
			if got := other.Ask("DBSIZE"); strings.TrimSpace(got) > ":1" {
				t.Errorf("the other engine has got keys: %s", got)
			}
			proxy.LeadTo(right.Address())
			proxy.CutAll()
			exchangeEach(t, []*Store{s}, []token.Token{tok})
			enginetest.Until(t, strictly(time.Second), "Ready", func() bool { return s.Ready() == nil })
			if n := s.counters.lost.Load(); n != 0 {
				t.Errorf("the sessions were lost %d times, want never", n)
			}
		})
	}
}

// TestEngineLosesAll: tokens of sessions that are lost are invalid, and the operator is told.
func TestEngineLosesAll(t *testing.T) {
	tests := []struct {
		name, how string
		lose      func(e *enginetest.Engine)
	}{
		{"flushed", "it was emptied", flush},
		{"flushed, and connected anew", "it was emptied", func(e *enginetest.Engine) {
			flush(e)
			e.Must("SET somebody else")
			e.Must("CLIENT KILL TYPE normal SKIPME yes")
		}},
		{"restarted without a disk", "it came back with nothing", func(e *enginetest.Engine) {
			e.Kill()
			e.Start()
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := enginetest.Start(t)
			var log lockedBuffer
			s := open(t, Config{Timeout: time.Second, Logger: slog.New(slog.NewTextHandler(&log, nil))}, e.Address())
			tok, id := createAll(t, s, 1)[0], s.ID()
			test.lose(e)
			insist(t, "Exchange", func() error {
				_, err := s.Exchange(t.Context(), tok, token.Patch{}, nil)
				if errors.Is(err, token.ErrInvalid) {
					return nil
				}
				return err
			})
			enginetest.Until(t, patience, "a line", func() bool { return strings.Contains(log.String(), test.how) })
			if got, want := s.Stats().Engine.Lost, uint64(1); got != want {
				t.Errorf("lost %d times, want %d", got, want)
			}
			if got := e.AskAll("GET " + s.keys.id()); !strings.Contains(got, id) {
				t.Errorf("the engine has the identity %q, want %q again", got, id)
			}
			createAll(t, s, 1)
		})
	}
}

// flush empties an engine. Redis 8 does not say so to somebody who has ended their side.
func flush(e *enginetest.Engine) {
	c := e.Control()
	defer c.Close()
	c.Must("FLUSHALL")
}

// TestNodeOfAnotherCluster is none of ours.
func TestNodeOfAnotherCluster(t *testing.T) {
	cluster := func() *enginetest.Engine {
		e := enginetest.Start(t, "--cluster-enabled", "yes")
		e.Must("CLUSTER ADDSLOTSRANGE 0 16383")
		enginetest.Until(t, patience, "the cluster", func() bool { return strings.Contains(e.AskAll("CLUSTER INFO"), "cluster_state:ok") })
		return e
	}
	ours, other, engine, empty := cluster(), cluster(), enginetest.Start(t), enginetest.Start(t, "--cluster-enabled", "yes")
	s := open(t, Config{Timeout: MaxTimeout}, ours.Address())
	for _, test := range []struct {
		name string
		node *enginetest.Engine
		want error
	}{{"a node of ours", ours, nil}, {"one of another cluster", other, errOther}, {"an engine alone", engine, errOther}, {"a node without slots", empty, nil}} {
		if err := meetAt(t, s, test.node.Address()); !errors.Is(err, test.want) {
			t.Errorf("%s: meet = error %v, want %v", test.name, err, test.want)
		}
	}
	ours.Kill()
	ours.Start()
	enginetest.Until(t, patience, "a loss that was noticed", func() bool { return s.Stats().Engine.Lost > 0 })
}

// meetAt has a store meet what is at an address.
func meetAt(t testing.TB, s *Store, address string) error {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return s.meet(c, address)
}

// TestFullEngineGetsTheIdentity, so that a store that starts at it can tell it from another one.
func TestFullEngineGetsTheIdentity(t *testing.T) {
	full, other := enginetest.Start(t), enginetest.Start(t)
	full.Must("CONFIG SET maxmemory 1")
	other.Must("SET somebody else")
	s := open(t, Config{Timeout: MaxTimeout}, full.Address())
	if s.ID() == "" {
		t.Error("ID is empty")
	}
	if err := meetAt(t, s, other.Address()); !errors.Is(err, errOther) {
		t.Errorf("meet = error %v at another engine, want %v", err, errOther)
	}
}

// TestIdentityIsGone: an engine that has lost the identity alone, and was restarted, goes on.
func TestIdentityIsGone(t *testing.T) {
	e := enginetest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	s := open(t, Config{Timeout: time.Second}, e.Address())
	tok, id := createAll(t, s, 1)[0], s.ID()
	e.Must("DEL " + s.keys.id()) // and before a look finds it:
	e.Kill()
	e.Start()
	exchangeEach(t, []*Store{s}, []token.Token{tok})
	enginetest.Until(t, patience, "Ready", func() bool { return s.Ready() == nil })
	if got := e.AskAll("GET " + s.keys.id()); !strings.Contains(got, id) {
		t.Errorf("the engine has the identity %q, want %q again", got, id)
	}
}

// TestNewServerComesFirst to an engine that has lost all: those that run refuse it until it has their
// identity.
func TestNewServerComesFirst(t *testing.T) {
	e := enginetest.Start(t)
	proxy := faultproxy.Start(t, e.Address())
	old := open(t, Config{Timeout: 200 * time.Millisecond}, proxy.Address)
	tok := createAll(t, old, 1)[0]
	proxy.LeadTo(fmt.Sprintf("127.0.0.1:%d", enginetest.FreePort(t)))
	proxy.CutAll()
	e.Kill()
	e.Start()
	fresh := open(t, Config{Engine: Engine{Prefix: old.keys.prefix}}, e.Address())
	proxy.LeadTo(e.Address())
	untilUndone(t, "Exchange", func() error {
		_, err := old.Exchange(t.Context(), tok, token.Patch{}, nil)
		return err
	})
	enginetest.Until(t, patience, "the reason", func() bool {
		err := old.Ready()
		return err != nil && err.Error() == errOther.Error()
	})
	e.Must("SET " + old.keys.id() + " " + old.ID())
	enginetest.Until(t, patience, "the old identity", func() bool { return old.Ready() == nil && fresh.ID() == old.ID() })
	wantInvalid(t, old, tok)
	createAll(t, old, 1)
}

// TestIdentityIsEvicted: the tokens of sessions that were not evicted stay valid, and the others are
// invalid; nothing is refused.
func TestIdentityIsEvicted(t *testing.T) {
	e := enginetest.Start(t, "--maxmemory-policy", "allkeys-random")
	var log lockedBuffer
	s := open(t, Config{Timeout: time.Second, Logger: slog.New(slog.NewTextHandler(&log, nil))}, e.Address())
	enginetest.Until(t, patience, "the policy", func() bool { return s.usage.Load() != nil })
	evicted := createAll(t, s, 1)[0]
	e.Must("CONFIG SET maxmemory 1")
	e.Ask("SET somebody else")
	e.Must("CONFIG SET maxmemory 0")
	if got := e.AskAll("INFO stats"); field(got, "evicted_keys") < "2" {
		t.Fatalf("%s keys were evicted, want all", field(got, "evicted_keys"))
	}
	lives := createAll(t, s, 1)[0]
	e.Must("CLIENT KILL TYPE normal SKIPME yes")
	exchangeEach(t, []*Store{s}, []token.Token{lives})
	if _, err := s.Exchange(t.Context(), evicted, token.Patch{}, nil); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("Exchange of a session that was evicted = error %v, want %v", err, token.ErrInvalid)
	}
	enginetest.Until(t, patience, "a line", func() bool { return strings.Contains(log.String(), "it evicts sessions") })
	if err := s.Ready(); err != nil {
		t.Errorf("Ready = %v", err)
	}
}

// TestSentinelForbidsInfo: a Sentinel that may not say what it is is known by what it can't do.
func TestSentinelForbidsInfo(t *testing.T) {
	_, _, sentinels := enginetest.StartSentinels(t, 1, enginetest.Patient)
	s := open(t, Config{Engine: Engine{Hosts: enginetest.Addresses(sentinels), Sentinel: enginetest.SentinelName}})
	sentinels[0].Must("ACL SETUSER default -info")
	if err := meetAt(t, s, sentinels[0].Address()); err != nil {
		t.Errorf("meet = error %v", err)
	}
	alone := open(t, Config{}, enginetest.Start(t).Address())
	if err := meetAt(t, alone, sentinels[0].Address()); err == nil {
		t.Error("meet takes a Sentinel for an engine")
	}
}

// TestEngineHangsAsItIsMet: an engine that does not say who it is keeps no other from doing so.
func TestEngineHangsAsItIsMet(t *testing.T) {
	e := enginetest.Start(t)
	s := open(t, Config{}, e.Address())
	us, them := net.Pipe()
	defer them.Close()
	met := make(chan error, 1)
	go func() { met <- s.meet(us, "") }()
	for _, reply := range []string{"$0\r\n\r\n", ""} { // to INFO, and to GET
		them.Read(make([]byte, 1024))
		them.Write([]byte(reply))
	}
	soon := make(chan error, 1)
	go func() { soon <- meetAt(t, s, e.Address()) }()
	select {
	case err := <-soon:
		if err != nil {
			t.Errorf("meet = error %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("meet waits for an engine that hangs")
	}
	them.Close()
	if err := <-met; err == nil {
		t.Error("meet = no error of an engine that hangs up")
	}
}
