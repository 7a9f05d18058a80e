package valkey

import (
	"errors"
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
		{"flushed", "it was emptied", func(e *enginetest.Engine) { e.Must("FLUSHALL") }},
		{"flushed, and connected anew", "it was emptied", func(e *enginetest.Engine) {
			e.Must("FLUSHALL")
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
		c, err := net.Dial("tcp", test.node.Address())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.meet(c, test.node.Address()); !errors.Is(err, test.want) {
			t.Errorf("%s: meet = error %v, want %v", test.name, err, test.want)
		}
		c.Close()
	}
	ours.Kill()
	ours.Start()
	enginetest.Until(t, patience, "a loss that was noticed", func() bool { return s.Stats().Engine.Lost > 0 })
}
