package valkey

import (
	"maps"
	"slices"
	"sync/atomic"

	"github.com/redis/rueidis"

	"tokenserver/token"
)

// MaxInFlight is how many calls to a primary may be under way: fewer than one connection's
// pipeline has room for, which is waited for without an end.
const MaxInFlight = 1 << (ringScale - 1)

// MaxInFlightFailing is the same while the primary does not answer: what calls that have ended
// have left in a pipeline stays there until its connection ends.
const MaxInFlightFailing = 256

// bulkhead bounds the calls to one primary, so that one that does not answer takes no others
// with it. A batch is one call to each primary of its sessions.
type bulkhead struct {
	inFlight atomic.Int64
	failing  atomic.Bool // the last call has failed
}

// enter begins a call. Its error says that nothing was carried out.
func (b *bulkhead) enter() error {
	if n := b.inFlight.Add(1); n > MaxInFlight || n > MaxInFlightFailing && b.failing.Load() {
		b.leave()
		return errTooMany
	}
	return nil
}

func (b *bulkhead) leave() { b.inFlight.Add(-1) }

// set takes in whether a call has failed.
func (b *bulkhead) set(failing bool) {
	if b.failing.Load() != failing {
		b.failing.Store(failing)
	}
}

// bulkheads are those of a store.
type bulkheads struct {
	only    bulkhead                  // where there is no cluster, or its slots are not known yet
	cluster atomic.Pointer[slotOwner] // by slot, as the cluster was seen last
	// orphans are the slots that had no primary then; nil if each had one.
	orphans atomic.Pointer[[clusterSlots]bool]
}

// slotOwner tells the primary of each slot.
type slotOwner struct {
	bulkheads [clusterSlots]*bulkhead
	addresses map[string]*bulkhead
}

// of returns the bulkhead of a key's primary. While a slot moves it may be the one before.
func (b *bulkheads) of(key string) *bulkhead { return b.ofSlot(b.cluster.Load(), key) }

// ofSlot is as of, by who had the slots at some time; nil if that was not known.
func (b *bulkheads) ofSlot(owner *slotOwner, key string) *bulkhead {
	if owner != nil {
		return owner.bulkheads[slotOf(key)]
	}
	return &b.only
}

// follow takes in which primaries a cluster has. Those that stay keep their calls.
func (b *bulkheads) follow(primaries []primary) {
	old := b.cluster.Load()
	if old == nil {
		old = new(slotOwner)
	}
	c := &slotOwner{addresses: make(map[string]*bulkhead, len(primaries))}
	for _, p := range primaries {
		if p.slots == nil {
			return // there is no cluster
		}
		owner := old.addresses[p.address]
		if owner == nil {
			owner = new(bulkhead)
		}
		c.addresses[p.address] = owner
		for _, r := range p.slots {
			for slot := r.first; slot <= r.last; slot++ {
				c.bulkheads[slot] = owner
			}
		}
	}
	if c.bulkheads != old.bulkheads {
		b.cluster.Store(c)
	}
}

// see takes in which slots have a primary. The others keep the bulkhead that they had.
func (b *bulkheads) see(primaries []primary, all bool) {
	if all {
		b.orphans.Store(nil)
		return
	}
	var orphans [clusterSlots]bool
	for slot := range orphans {
		orphans[slot] = true
	}
	for _, p := range primaries {
		for _, r := range p.slots {
			for slot := r.first; slot <= r.last; slot++ {
				orphans[slot] = false
			}
		}
	}
	b.orphans.Store(&orphans)
}

// isOrphaned says whether the slot of a key had no primary when the cluster was seen last.
func (b *bulkheads) isOrphaned(key string) bool {
	orphans := b.orphans.Load()
	return orphans != nil && orphans[slotOf(key)]
}

// primariesFirst returns the addresses of nodes, those of the primaries that were seen last before all
// others: a replica that does not answer is nobody's trouble.
func (b *bulkheads) primariesFirst(nodes map[string]rueidis.Client) []string {
	owner := b.cluster.Load()
	rank := func(address string) int {
		if owner != nil && owner.addresses[address] != nil {
			return 0
		}
		return 1
	}
	return slices.SortedFunc(maps.Keys(nodes), func(a, b string) int { return rank(a) - rank(b) })
}

// inFlight returns how many calls are under way.
func (b *bulkheads) inFlight() (n int) {
	n = int(b.only.inFlight.Load())
	if c := b.cluster.Load(); c != nil {
		for _, owner := range c.addresses {
			n += int(owner.inFlight.Load())
		}
	}
	return n
}

// notConnected returns the error of calls while there was no engine yet, or nil.
func (s *Store) notConnected() error {
	if s.client() == nil {
		return &token.UnavailableError{Reason: s.health.reason()}
	}
	return nil
}
