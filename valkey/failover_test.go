package valkey

import (
	"errors"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenserver/token"
)

// nodeID returns the id of the first node whose flags have a text, of CLUSTER NODES.
func nodeID(e *engineProcess, text string) string {
	for line := range strings.Lines(e.askAll("CLUSTER NODES")) {
		if fields := strings.Fields(line); len(fields) > 2 && strings.Contains(fields[2], text) {
			return fields[0]
		}
	}
	return ""
}

func isPrimary(e *engineProcess) bool { return strings.Contains(e.askAll("ROLE"), "master") }

// TestPlannedFailover: nothing is lost, and nobody notices it.
func TestPlannedFailover(t *testing.T) {
	nodes := startCluster(t, 3)
	s := open(t, Config{Timeout: MaxTimeout}, addressesOf(nodes)...)
	l := underLoad(t, s, 48, func() {
		for _, e := range nodes {
			if isPrimary(e) {
				continue
			}
			time.Sleep(200 * time.Millisecond)
			if got := e.ask("CLUSTER FAILOVER"); !strings.HasPrefix(got, "+OK") {
				t.Errorf("CLUSTER FAILOVER: %s", got)
			}
			until(t, 10*time.Second, "failover", func() bool { return isPrimary(e) })
		}
		time.Sleep(500 * time.Millisecond)
	})
	if l.exchanged.Load() == 0 || l.unknown.Load()+l.undone.Load() > 0 {
		t.Errorf("%d exchanged, %d undone, %d unknown, want all to be exchanged", l.exchanged.Load(), l.undone.Load(), l.unknown.Load())
	}
}

// TestSlotsMove moves slots from one primary to another while sessions in them are exchanged,
// created and ended.
func TestSlotsMove(t *testing.T) {
	nodes := startCluster(t, 3)
	s := open(t, Config{Timeout: MaxTimeout}, addressesOf(nodes)...)
	var primaries []*engineProcess
	for _, e := range nodes {
		if isPrimary(e) {
			primaries = append(primaries, e)
		}
	}
	from, to := nodeID(primaries[0], "myself"), nodeID(primaries[1], "myself")
	l := underLoad(t, s, 300, func() {
		stop, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			subjectsWhile(t, s, stop)
		}()
		out, err := exec.Command("redis-cli", "--cluster", "reshard", primaries[0].address(), "--cluster-from", from, "--cluster-to", to,
			"--cluster-slots", "300", "--cluster-yes", "--cluster-pipeline", "1").CombinedOutput()
		if err != nil {
			t.Errorf("redis-cli --cluster reshard: %v\n%s", err, out)
		}
		close(stop)
		<-ended
	})
	if l.exchanged.Load() == 0 || l.unknown.Load()+l.undone.Load() > 0 {
		t.Errorf("%d exchanged, %d undone, %d unknown, want all to be exchanged", l.exchanged.Load(), l.undone.Load(), l.unknown.Load())
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

// TestPrimaryDies: its replica is promoted, and what was answered before that, and had reached
// it, goes on.
func TestPrimaryDies(t *testing.T) {
	nodes := startCluster(t, 3)
	s := open(t, Config{}, addressesOf(nodes)...)
	tokens := createAll(t, s, 300)
	time.Sleep(time.Second) // the replicas have them
	var dead *engineProcess
	for _, e := range nodes {
		if isPrimary(e) {
			dead = e
			break
		}
	}
	dead.kill()
	start := time.Now()
	until(t, 20*time.Second, "recovery", func() bool {
		for i, tok := range tokens {
			x, err := s.Exchange(t.Context(), tok, token.Patch{}, nil)
			if errors.Is(err, token.ErrInvalid) {
				t.Fatalf("session %d is lost", i)
			}
			if err != nil {
				return false
			}
			tokens[i] = x.Token
		}
		return true
	})
	t.Logf("all sessions answer %v after the death of a primary", time.Since(start))
}

// TestPrimaryDiesUnderLoad measures what a failover that nobody has planned loses: what the
// replica had not got.
func TestPrimaryDiesUnderLoad(t *testing.T) {
	nodes := startCluster(t, 3)
	s := open(t, Config{}, addressesOf(nodes)...)
	l := ledger{lossy: true}
	l.load(t, s, 64, func() {
		time.Sleep(time.Second)
		for _, e := range nodes {
			if isPrimary(e) {
				e.kill()
				break
			}
		}
		until(t, 20*time.Second, "recovery", func() bool { return s.Ready() != nil })
		until(t, 20*time.Second, "recovery", func() bool { return s.Ready() == nil })
		time.Sleep(500 * time.Millisecond)
	})
	t.Logf("%d of 64 sessions were lost, %d exchanges had no known outcome", l.lost.Load(), l.unknown.Load())
}

// TestSentinelFailover follows the primary.
func TestSentinelFailover(t *testing.T) {
	primary, replica, hosts := startSentinels(t, 3)
	s := open(t, Config{Engine: Engine{Hosts: hosts, Sentinel: sentinelName}})
	tokens := createAll(t, s, 100)
	time.Sleep(time.Second)
	primary.kill()
	start := time.Now()
	until(t, 30*time.Second, "recovery", func() bool {
		x, err := s.Exchange(t.Context(), tokens[0], token.Patch{}, nil)
		if err == nil {
			tokens[0] = x.Token
		}
		return err == nil
	})
	t.Logf("sessions answer %v after the death of the primary", time.Since(start))
	if !isPrimary(replica) {
		t.Error("the replica was not promoted")
	}
	for i, tok := range tokens {
		if _, err := s.Exchange(t.Context(), tok, token.Patch{}, nil); err != nil {
			t.Errorf("session %d: error %v", i, err)
		}
	}
}

// cutter is a proxy that cuts connections after so many bytes.
type cutter struct {
	net.Listener
	to   atomic.Pointer[string]
	left [2]atomic.Int64 // to the engine, and back; negative for no end
	open sync.WaitGroup
}

func startCutter(t testing.TB, to string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: l}
	c.to.Store(&to)
	c.arm(-1, -1)
	c.open.Go(c.accept)
	t.Cleanup(func() {
		l.Close()
		c.open.Wait()
	})
	return c
}

func (c *cutter) arm(request, reply int64) {
	c.left[0].Store(request)
	c.left[1].Store(reply)
}

func (c *cutter) accept() {
	for {
		client, err := c.Accept()
		if err != nil {
			return
		}
		engine, err := net.Dial("tcp", *c.to.Load())
		if err != nil {
			client.Close()
			continue
		}
		c.open.Go(func() { c.copy(engine, client, &c.left[0]) })
		c.open.Go(func() { c.copy(client, engine, &c.left[1]) })
	}
}

// copy copies byte by byte while something is left, and then ends both connections.
func (c *cutter) copy(to, from net.Conn, left *atomic.Int64) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if l := left.Load(); l >= 0 {
			if int64(n) > l {
				left.Store(-1) // the next connection lives
				io.Writer(to).Write(buf[:l])
				return
			}
			left.Add(-int64(n))
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// TestNameMovesToAnotherPrimary: the engine becomes a replica, and its name is that of the new
// primary, while connections to it live on.
func TestNameMovesToAnotherPrimary(t *testing.T) {
	before, after := startEngine(t), startEngine(t)
	c := startCutter(t, before.address())
	s := open(t, Config{}, c.Addr().String())
	tok := mustCreate(t, s, token.NewSession{Meta: []byte(`{}`)})
	after.ask("REPLICAOF " + strings.Replace(before.address(), ":", " ", 1))
	until(t, 10*time.Second, "replication", func() bool { return strings.Contains(after.askAll("INFO replication"), "master_link_status:up") })
	after.ask("REPLICAOF NO ONE")
	before.ask("REPLICAOF " + strings.Replace(after.address(), ":", " ", 1))
	name := after.address()
	c.to.Store(&name)
	took := until(t, 3*time.Second, "recovery", func() bool {
		x, err := s.Exchange(t.Context(), tok, token.Patch{}, nil)
		if err == nil {
			tok = x.Token
		} else if errors.Is(err, token.ErrInvalid) {
			t.Fatal("a replica answered")
		}
		return err == nil
	})
	t.Logf("sessions answer after %v", took)
}

// TestCutAtEveryByte: wherever a connection is cut in a request or its reply, the request
// succeeds over the next one, and is carried out once.
func TestCutAtEveryByte(t *testing.T) {
	e := startEngine(t)
	for _, grace := range []time.Duration{0, time.Minute} {
		c := startCutter(t, e.address())
		s := open(t, Config{Timeout: MaxTimeout, Grace: grace}, c.Addr().String())
		tok := mustCreate(t, s, token.NewSession{Meta: []byte(`{"n":0}`), Subject: []byte("ada")})
		for side := range 2 {
			for at := range int64(250) {
				if side == 0 {
					c.arm(at, -1)
				} else {
					c.arm(-1, at)
				}
				spent := tok
				tok = mustExchange(t, s, tok, token.Patch{}, `{"n":0}`)
				c.arm(-1, -1)
				if grace == 0 {
					wantInvalid(t, s, spent)
				}
				if n := s.counters.replayed.Load(); n > 0 {
					t.Fatalf("cut at byte %d of side %d: our own retry was taken for a replay", at, side)
				}
			}
		}
	}
}
