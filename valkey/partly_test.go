package valkey

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"tokenserver/internal/enginetest"
	"tokenserver/token"
)

// partly is a cluster of which a part is away, and a store with sessions in both parts.
type partly struct {
	t          *testing.T
	store      *Store
	log        *lockedBuffer
	hosts      []string
	away, here token.Token
}

// TestPartOfACluster: while a part of the slots has no primary that answers, sessions of the others
// are exchanged, alone and in batches, readiness is steady, and no store starts.
func TestPartOfACluster(t *testing.T) {
	nodes := enginetest.StartCluster(t, 3, enginetest.Patient, "--cluster-require-full-coverage", "no")
	var log lockedBuffer
	s := open(t, Config{Timeout: time.Second, Logger: slog.New(slog.NewTextHandler(&log, nil))}, enginetest.Addresses(nodes)...)
	p := &partly{t: t, store: s, log: &log, hosts: enginetest.Addresses(nodes)}
	victim := enginetest.Primaries(nodes)[0]
	list, err := s.primaries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var slots slotRange
	for _, primary := range list {
		if primary.address == victim.Address() {
			slots = primary.slots[0]
		}
	}
	p.create(slots)
	t.Run("no primary", func(t *testing.T) {
		p.t = t
		which := fmt.Sprintf("%d %d", slots.first, slots.last)
		dropSlots(t, nodes, which)
		c := s.client()
		enginetest.Until(t, patience, "a client that knows it", func() bool {
			return errors.Is(c.Do(t.Context(), c.B().Get().Key(s.keys.session(p.away.ID)).Build()).Error(), rueidis.ErrNoSlot)
		})
		p.check("CLUSTERDOWN", func() { victim.Must("CLUSTER ADDSLOTSRANGE " + which) })
	})
	t.Run("a primary that is dead", func(t *testing.T) {
		p.t = t
		victim.Kill()
		p.check(victim.Address(), victim.Start)
		if s.Stats().Engine.Lost == 0 { // twice if it had the identity, too
			t.Error("a primary has lost its sessions, and nobody was told")
		}
	})
}

// TestSlotWithoutPrimary: a slot that has no primary takes none of the others of a batch with it, nor
// does a primary that does not answer: those are through with their steps meanwhile.
func TestSlotWithoutPrimary(t *testing.T) {
	nodes := enginetest.StartCluster(t, 3, enginetest.Patient, "--cluster-require-full-coverage", "no")
	s := open(t, Config{Timeout: 3 * time.Second}, enginetest.Addresses(nodes)...)
	stopped := enginetest.Primaries(nodes)[0]
	list, err := s.primaries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var away, orphan token.Token
	var here []token.Token
	for away == (token.Token{}) || orphan == (token.Token{}) || len(here) < 40 {
		tok := createAll(t, s, 1)[0]
		slot := slotOf(s.keys.session(tok.ID))
		switch i := slices.IndexFunc(list, func(p primary) bool { return p.has(slot) }); {
		case list[i].address == stopped.Address():
			away = tok
		case orphan == (token.Token{}):
			orphan = tok
		case slot != slotOf(s.keys.session(orphan.ID)):
			here = append(here, tok)
		}
	}
	dropSlots(t, nodes, fmt.Sprint(slotOf(s.keys.session(orphan.ID))))
	untilUndone(t, "Exchange of a session without a primary", func() error {
		_, err := s.Exchange(t.Context(), orphan, token.Patch{}, nil)
		return err
	})
	items := []token.BatchItem{{Op: token.OpExchange, Token: orphan}}
	for _, tok := range here {
		items = append(items, token.BatchItem{Op: token.OpValidate, Token: tok}, token.BatchItem{Op: token.OpValidate, Token: tok})
	}
	run := func() {
		t.Helper()
		b := token.Batch{Items: slices.Clone(items)}
		if err := s.Batch(t.Context(), &b); err != nil || !isUndone(b.Items[0].Err) {
			t.Errorf("Batch = error %v, of a session without a primary %v", err, b.Items[0].Err)
		}
		for i := range items {
			if tok := items[i].Token; b.Items[i].Err != nil && tok != orphan && tok != away {
				t.Fatalf("Batch = error %v for a session whose primary answers", b.Items[i].Err)
			}
		}
	}
	run()
	items = append(items, token.BatchItem{Op: token.OpValidate, Token: away})
	stopped.Signal(syscall.SIGSTOP)
	defer stopped.Signal(syscall.SIGCONT)
	run()
}

// dropSlots has no node of a cluster serve some slots any more: FIRST LAST, or one.
func dropSlots(t testing.TB, nodes []*enginetest.Engine, which string) {
	t.Helper()
	command := "CLUSTER DELSLOTS "
	if strings.Contains(which, " ") {
		command = "CLUSTER DELSLOTSRANGE "
	}
	enginetest.Until(t, patience, "slots without a primary", func() bool {
		all := true
		for _, e := range nodes {
			e.Ask(command + which)
			all = all && !strings.Contains(e.AskAll("CLUSTER INFO"), "cluster_slots_assigned:16384")
		}
		return all
	})
	for _, e := range nodes {
		e.Must("CLIENT KILL TYPE normal") // so that the client looks at the cluster
	}
}

// create creates a session in some slots, and one in others.
func (p *partly) create(slots slotRange) {
	for p.away == (token.Token{}) || p.here == (token.Token{}) {
		tok := createAll(p.t, p.store, 1)[0]
		if slot := slotOf(p.store.keys.session(tok.ID)); slots.first <= slot && slot <= slots.last {
			p.away = tok
		} else {
			p.here = tok
		}
	}
}

// check checks all while a part is away, for the reason, and that it recovers.
func (p *partly) check(reason string, mend func()) {
	t, s := p.t, p.store
	t.Helper()
	untilUndone(t, "Exchange of a session that is away", func() error {
		_, err := s.Exchange(t.Context(), p.away, token.Patch{}, nil)
		return err
	})
	p.look(nil)
	loaded := p.start(reason)
	for start := time.Now(); time.Since(start) < 2*time.Second; {
		p.look(s.Ready)
	}
	p.batch()
	if lines := p.log.String(); strings.Count(lines, "the engine fails") != 1 || strings.Contains(lines, "answers again") {
		t.Errorf("want one line that tells of the failure:\n%s", lines)
	}
	mend()
	enginetest.Until(t, patience, "Ready", func() bool { return s.Ready() == nil })
	enginetest.Until(t, patience, "a line", func() bool { return strings.Count(p.log.String(), "answers again") == 1 })
	if err := <-loaded; err != nil {
		t.Errorf("Load = error %v", err)
	}
	p.log.reset()
}

// look validates the session that is not away, and then the store must not be ready.
func (p *partly) look(ready func() error) {
	p.t.Helper()
	insist(p.t, "Validate of a session that is not away", func() error {
		_, _, err := p.store.Validate(p.t.Context(), p.here, nil)
		return err
	})
	if ready != nil && ready() == nil {
		p.t.Error("Ready = nil while a part of the cluster is away")
	}
}

// batch looks at both sessions in one.
func (p *partly) batch() {
	p.t.Helper()
	untilUndone(p.t, "Exchange in a batch of a session that is away", func() error {
		b := token.Batch{Items: []token.BatchItem{{Op: token.OpExchange, Token: p.away}, {Op: token.OpValidate, Token: p.here}}}
		if err := p.store.Batch(p.t.Context(), &b); err != nil || b.Items[1].Err != nil {
			p.t.Fatalf("Batch = error %v for a session that is not away, error %v, want none", b.Items[1].Err, err)
		}
		return b.Items[0].Err
	})
}

// start checks that no store starts, and that one that waits goes on later. It returns what that one
// comes back with.
func (p *partly) start(reason string) <-chan error {
	t := p.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	cfg := Config{Engine: Engine{Hosts: p.hosts, Prefix: "start:"}, Logger: slog.New(slog.DiscardHandler)}
	_, err := Open(ctx, cfg)
	if err == nil || !strings.Contains(err.Error(), "is not whole") || !strings.Contains(err.Error(), reason) || strings.Contains(err.Error(), "\n") {
		t.Errorf("Open = error %v, want one line that the cluster is not whole, with %q", err, reason)
	}
	cfg.Wait = true
	waiting, loaded := open(t, cfg), make(chan error, 1)
	go func() { loaded <- waiting.Load(context.Background()) }()
	if _, err := waiting.Create(t.Context(), token.NewSession{Meta: []byte(`{}`)}); !isUndone(err) || waiting.Ready() == nil {
		t.Errorf("Create of a store that waits = error %v, Ready = %v", err, waiting.Ready())
	}
	return loaded
}
