package valkey

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tokenserver/internal/enginetest"
	"tokenserver/internal/faultproxy"
	"tokenserver/token"
)

// TestPlannedFailover: nothing is lost, and nobody notices it.
func TestPlannedFailover(t *testing.T) {
	nodes := enginetest.StartCluster(t, 3, enginetest.Patient)
	l := underLoad(t, openTwo(t, Config{Timeout: MaxTimeout}, enginetest.Addresses(nodes)...), 48, func(l *ledger) {
		for _, e := range nodes {
			if e.IsPrimary() {
				continue
			}
			l.reaches(t, 200)
			failover(t, e, "")
		}
		l.reaches(t, 200)
	})
	if !l.settled() {
		t.Errorf("%v, want all to be exchanged", l)
	}
}

// failover makes a replica the primary.
func failover(t testing.TB, e *enginetest.Engine, how string) {
	t.Helper()
	enginetest.Until(t, patience, "failover", func() bool {
		e.Ask("CLUSTER FAILOVER " + how) // again and again: it gives up after some seconds
		for range 100 {
			if e.IsPrimary() {
				return true
			}
			time.Sleep(10 * time.Millisecond)
		}
		return false
	})
}

// TestSlotsMove moves slots from one primary to another while sessions in them are exchanged,
// created and ended.
func TestSlotsMove(t *testing.T) {
	nodes := enginetest.StartCluster(t, 3, enginetest.Patient)
	servers := openTwo(t, Config{Timeout: MaxTimeout}, enginetest.Addresses(nodes)...)
	primaries := enginetest.Primaries(nodes)
	l := underLoad(t, servers, 300, func(*ledger) {
		stop, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			subjectsWhile(t, servers[0], stop)
		}()
		enginetest.Reshard(t, primaries[0], primaries[1], 200)
		close(stop)
		<-ended
	})
	if !l.settled() {
		t.Errorf("%v, want all to be exchanged", l)
	}
}

// subjectsWhile creates and ends sessions of many subjects until it is told to stop.
func subjectsWhile(t testing.TB, s *Store, stop <-chan struct{}) {
	for round := 0; ; round++ {
		select {
		case <-stop:
			return
		default:
		}
		name := []byte{byte(round), byte(round >> 8), 'x'}
		for range 3 {
			if _, err := s.Create(t.Context(), token.NewSession{Meta: []byte(`{}`), Subject: name}); err != nil {
				t.Errorf("Create = error %v", err)
			}
		}
		if n, err := s.EndSubject(t.Context(), name); n != 3 || err != nil {
			t.Errorf("EndSubject = %d, error %v, want 3", n, err)
		}
	}
}

// replicaOf returns the replica of a primary of a cluster.
func replicaOf(t testing.TB, nodes []*enginetest.Engine, primary *enginetest.Engine) *enginetest.Engine {
	t.Helper()
	id := primary.NodeID()
	for _, e := range nodes {
		for line := range strings.Lines(e.AskAll("CLUSTER NODES")) {
			if strings.Contains(line, "myself,slave "+id) {
				return e
			}
		}
	}
	t.Fatal("the primary has no replica")
	return nil
}

// TestPrimaryDies: its replica is promoted, and what was answered before that, and had reached
// it, goes on.
func TestPrimaryDies(t *testing.T) {
	tests := []struct {
		name        string
		nodeTimeout time.Duration
		promote     func(t testing.TB, replica *enginetest.Engine)
	}{
		{"by order", enginetest.Patient, func(t testing.TB, replica *enginetest.Engine) { failover(t, replica, "FORCE") }},
		{"by itself", time.Second, func(testing.TB, *enginetest.Engine) {}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			onlyInRealTime(t, test.nodeTimeout)
			nodes := enginetest.StartCluster(t, 3, test.nodeTimeout)
			servers := openTwo(t, Config{}, enginetest.Addresses(nodes)...)
			tokens := createAll(t, servers[0], 300)
			dead := enginetest.Primaries(nodes)[0]
			replica := replicaOf(t, nodes, dead)
			hasAll(t, dead, replica)
			dead.Kill()
			start := time.Now()
			test.promote(t, replica)
			exchangeEach(t, servers, tokens)
			t.Logf("all sessions answer %v after the death of a primary", time.Since(start))
		})
	}
}

// onlyInRealTime skips a test of which an engine finds out by itself that another one is away: on
// a busy machine it may be wrong.
func onlyInRealTime(t testing.TB, wait time.Duration) {
	t.Helper()
	if wait != enginetest.Patient && !*realTime {
		t.Skip("without -valkey.engines")
	}
}

// hasAll waits until a replica has all that its primary has.
func hasAll(t testing.TB, primary, replica *enginetest.Engine) {
	t.Helper()
	enginetest.Until(t, patience, "replication", func() bool {
		return offset(primary) == offset(replica)
	})
}

// offset returns how much of the stream of changes an engine has.
func offset(e *enginetest.Engine) string {
	return field(e.AskAll("INFO replication"), "master_repl_offset")
}

// exchangeEach exchanges each token at one of the servers, as often as it takes, and none may be
// invalid.
func exchangeEach(t testing.TB, servers []*Store, tokens []token.Token) {
	t.Helper()
	for i := range tokens {
		s := servers[i%len(servers)]
		unknown := false
		insist(t, "Exchange", func() error {
			x, err := s.Exchange(t.Context(), tokens[i], token.Patch{}, nil)
			if errors.Is(err, token.ErrInvalid) && unknown {
				return nil // an exchange before this one was carried out
			}
			unknown = unknown || err != nil && !isUndone(err)
			if err == nil {
				tokens[i] = x.Token
			}
			return err
		})
	}
}

// TestFailoverLoses measures what a failover that nobody has planned loses: what the replica had
// not got.
func TestFailoverLoses(t *testing.T) {
	const sessions = 64
	nodes := enginetest.StartCluster(t, 3, enginetest.Patient)
	l := &ledger{servers: openTwo(t, Config{}, enginetest.Addresses(nodes)...), lossy: true}
	l.load(t, sessions, func() {
		dead := enginetest.Primaries(nodes)[0]
		replica := replicaOf(t, nodes, dead)
		dead.Kill()
		start := time.Now()
		failover(t, replica, "TAKEOVER")
		l.reaches(t, 100)
		t.Logf("exchanges go on %v after the death of a primary", time.Since(start))
	})
}

// TestFailoverLosesWhatIsBehind has a replica that has got nothing for a while: whatever was
// exchanged meanwhile has its old token back, and nothing else.
func TestFailoverLosesWhatIsBehind(t *testing.T) {
	primary, replica := enginetest.Start(t), enginetest.Start(t)
	clients, stream := faultproxy.Start(t, primary.Address()), faultproxy.Start(t, primary.Address())
	replica.Must("REPLICAOF " + strings.Replace(stream.Address, ":", " ", 1))
	enginetest.Until(t, patience, "replication", replica.Replicates)
	servers := openTwo(t, Config{Timeout: MaxTimeout}, clients.Address)
	before := createAll(t, servers[0], 20)
	hasAll(t, primary, replica)
	stream.Silence(true)
	after := slices.Clone(before)
	exchangeEach(t, servers, after[:10])
	primary.Kill()
	replica.Must("REPLICAOF NO ONE")
	clients.LeadTo(replica.Address())
	exchangeEach(t, servers, before) // also the ten that are spent
	for _, tok := range after[:10] {
		insist(t, "Exchange of a successor that is lost", func() error {
			_, err := servers[0].Exchange(t.Context(), tok, token.Patch{}, nil)
			if errors.Is(err, token.ErrInvalid) {
				return nil
			}
			return err
		})
	}
}

// TestPrimaryDiesUnderLoad is the same by itself.
func TestPrimaryDiesUnderLoad(t *testing.T) {
	const nodeTimeout = time.Second
	onlyInRealTime(t, nodeTimeout)
	nodes := enginetest.StartCluster(t, 3, nodeTimeout)
	l := &ledger{servers: openTwo(t, Config{}, enginetest.Addresses(nodes)...), lossy: true}
	l.load(t, 64, func() {
		time.Sleep(time.Second)
		enginetest.Primaries(nodes)[0].Kill()
		s := l.servers[0]
		enginetest.Until(t, patience, "failure", func() bool { return s.Ready() != nil })
		took := enginetest.Until(t, patience, "recovery", func() bool { return s.Ready() == nil })
		t.Logf("ready after %v", took)
		l.reaches(t, 1000)
	})
}

// TestSentinelFailover follows the primary.
func TestSentinelFailover(t *testing.T) {
	tests := []struct {
		name      string
		downAfter time.Duration
		promote   func(t testing.TB, sentinel, replica *enginetest.Engine)
	}{
		{"by order", enginetest.Patient, func(t testing.TB, sentinel, replica *enginetest.Engine) {
			enginetest.Until(t, patience, "failover", func() bool {
				sentinel.Ask("SENTINEL FAILOVER " + enginetest.SentinelName)
				for range 500 {
					if replica.IsPrimary() {
						return true
					}
					time.Sleep(10 * time.Millisecond)
				}
				return false
			})
		}},
		{"by itself", time.Second, func(testing.TB, *enginetest.Engine, *enginetest.Engine) {}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			onlyInRealTime(t, test.downAfter)
			primary, replica, sentinels := enginetest.StartSentinels(t, 3, test.downAfter)
			servers := openTwo(t, Config{Engine: Engine{Hosts: enginetest.Addresses(sentinels), Sentinel: enginetest.SentinelName}})
			tokens := createAll(t, servers[0], 100)
			hasAll(t, primary, replica)
			primary.Kill()
			start := time.Now()
			test.promote(t, sentinels[0], replica)
			exchangeEach(t, servers, tokens)
			t.Logf("sessions answer %v after the death of the primary", time.Since(start))
			if !replica.IsPrimary() {
				t.Error("the replica was not promoted")
			}
		})
	}
}

// TestNameMovesToAnotherPrimary: the engine becomes a replica, and its name is that of the new
// primary, while connections to it live on.
func TestNameMovesToAnotherPrimary(t *testing.T) {
	before, after := enginetest.Start(t), enginetest.Start(t)
	proxy := faultproxy.Start(t, before.Address())
	s := open(t, Config{}, proxy.Address)
	tok := createAll(t, s, 1)[0]
	after.Must("REPLICAOF " + strings.Replace(before.Address(), ":", " ", 1))
	enginetest.Until(t, patience, "replication", after.Replicates)
	hasAll(t, before, after)
	after.Must("REPLICAOF NO ONE")
	before.Must("REPLICAOF " + strings.Replace(after.Address(), ":", " ", 1))
	proxy.LeadTo(after.Address())
	start := time.Now()
	exchangeEach(t, []*Store{s}, []token.Token{tok})
	took := time.Since(start)
	if limit := strictly(3 * time.Second); took > limit {
		t.Errorf("sessions answer after %v, want %v at most", took, limit)
	}
	t.Logf("sessions answer after %v", took)
}

// TestReconnectWhileCallsWait: calls that an engine may have got, and whose connections are closed
// since there is another one behind its name, are made again there.
func TestReconnectWhileCallsWait(t *testing.T) {
	before, after := enginetest.Start(t), enginetest.Start(t)
	proxy := faultproxy.Start(t, before.Address())
	s := open(t, Config{Timeout: MaxTimeout}, proxy.Address)
	tokens := createAll(t, s, 20)
	after.Must("REPLICAOF " + strings.Replace(before.Address(), ":", " ", 1))
	enginetest.Until(t, patience, "replication", after.Replicates)
	hasAll(t, before, after)
	after.Must("REPLICAOF NO ONE")
	before.Signal(syscall.SIGSTOP)
	proxy.LeadTo(after.Address())
	var errs []error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, errs = exchangeAll(s, tokens)
	}()
	enginetest.Until(t, patience, "calls that wait", func() bool { return s.bulkheads.inFlight() == len(tokens) })
	s.reconnect(failure{kind: "readonly"})
	<-ended
	for i, err := range errs {
		if err != nil {
			t.Errorf("call %d = error %v, want none", i, err)
		}
	}
}

// TestReplicaNeverAnswers: a replica that was cut off has old sessions, and no newer ones. It
// says nothing about any of them.
func TestReplicaNeverAnswers(t *testing.T) {
	primary := enginetest.Start(t)
	replica := enginetest.Start(t, "--replicaof", "127.0.0.1", strings.TrimPrefix(primary.Address(), "127.0.0.1:"))
	enginetest.Until(t, patience, "replication", replica.Replicates)
	for name, keys := range map[string]int{"a replica with old sessions": 20, "an empty replica": 0} {
		t.Run(name, func(t *testing.T) {
			primary.Must("FLUSHALL ASYNC")
			proxy := faultproxy.Start(t, primary.Address())
			s := open(t, Config{Timeout: 500 * time.Millisecond}, proxy.Address)
			tok := token.Generate()
			for _, old := range createAll(t, s, keys) {
				tok = old
			}
			hasAll(t, primary, replica)
			replica.Must("REPLICAOF 127.0.0.1 1")
			proxy.LeadTo(replica.Address())
			proxy.CutAll()
			untilUndone(t, "Exchange", callsOf(t, s, tok)["Exchange"])
			for name, call := range callsOf(t, s, tok) {
				untilUndone(t, name, call)
			}
			untilUndone(t, "Sessions", func() (err error) {
				for _, err = range s.Sessions(t.Context()) {
					if err == nil {
						t.Fatal("a replica listed a session")
					}
				}
				return err
			})
			replica.Must("REPLICAOF 127.0.0.1 " + strings.TrimPrefix(primary.Address(), "127.0.0.1:"))
			enginetest.Until(t, patience, "replication", replica.Replicates)
		})
	}
}
