package durable

import (
	"flag"
	"math/rand/v2"
	"path"
	"runtime"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"tokenserver/internal/storetest"
)

var histories = flag.Int("durable.histories", 1000, "random histories that a crash ends")

// TestCrash ends random histories by a crash at a random moment, and holds what
// is left against every answer that was given before.
func TestCrash(t *testing.T) {
	n := *histories
	if testing.Short() {
		n /= 10
	}
	for name, policy := range policies() {
		t.Run(name, func(t *testing.T) {
			seed := storetest.Seed(t)
			for i := range n / len(policies()) {
				h := newCrashHistory(seed + uint64(i))
				policy(&h.cfg)
				h.run(t)
				if t.Failed() {
					t.Fatalf("history %d failed: -storetest.seed=%d", i, seed+uint64(i))
				}
			}
		})
	}
}

// crashHistory is one history and its crash.
type crashHistory struct {
	rng *rand.Rand
	fs  *vfs.MemFS
	cfg Config

	// Set by the crash.
	once  sync.Once
	until int64 // answers given later don't bind
	left  *vfs.MemFS
}

func newCrashHistory(seed uint64) *crashHistory {
	h := &crashHistory{rng: storetest.NewRand(seed), fs: vfs.NewCrashableMem()}
	h.cfg = memConfig(errorfs.Wrap(h.fs, errorfs.InjectorFunc(delaySyncs)))
	h.cfg.MemTableBytes = 16 << 10 // so that there are flushes
	return h
}

// delaySyncs gives others time between a write of the log and its sync.
func delaySyncs(op errorfs.Op) error {
	if isLogSync(op) {
		for range 20 {
			runtime.Gosched()
		}
	}
	return nil
}

func isLogSync(op errorfs.Op) bool {
	isSync := op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData
	return isSync && path.Ext(op.Path) == ".log"
}

const (
	crashClients = 4
	crashCalls   = 40
)

func (h *crashHistory) run(t *testing.T) {
	l := newLedger(mustOpen(t, h.cfg), &h.cfg, h.rng)
	when := int64(1 + h.rng.IntN(crashClients*crashCalls))
	percent, later := h.rng.IntN(101), rand.New(rand.NewPCG(h.rng.Uint64(), 0))
	l.drive(t.Context(), crashClients, crashCalls, func() bool {
		if l.clock.Load() >= when {
			h.once.Do(func() { h.crash(l, percent, later) })
		}
		return true
	})
	h.once.Do(func() { h.crash(l, percent, later) })
	settled := make([]history, len(l.accounts))
	for i, a := range l.accounts {
		settled[i] = l.settle(t, a)
		settled[i].ended = !isValid(t, l.store, settled[i].last())
	}
	mustClose(t, l.store)
	after := h.reopen(t, later)
	l.verify(t, after, settled, h.until)
	mustClose(t, after)
}

// crash keeps what a crash at this moment would leave.
func (h *crashHistory) crash(l *ledger, percent int, rng *rand.Rand) {
	h.until = l.binding()
	h.left = h.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
}

// reopen opens what a crash has left. Every other time there is another crash
// while it is opened.
func (h *crashHistory) reopen(t *testing.T, rng *rand.Rand) *Store {
	cfg := h.cfg
	if rng.IntN(2) == 0 {
		again := &crashAt{fs: h.left, ops: 1 + rng.IntN(60), rng: rng}
		cfg.FS = errorfs.Wrap(h.left, errorfs.InjectorFunc(again.count))
		mustClose(t, mustOpen(t, cfg))
		if again.left != nil {
			h.left = again.left
		}
	}
	cfg.FS = h.left
	return mustOpen(t, cfg)
}

// crashAt is a crash before one of a file system's next operations.
type crashAt struct {
	fs  *vfs.MemFS
	rng *rand.Rand

	mu   sync.Mutex
	ops  int
	left *vfs.MemFS
}

func (c *crashAt) count(errorfs.Op) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ops--; c.ops == 0 {
		c.left = c.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: c.rng.IntN(101), RNG: c.rng})
	}
	return nil
}
