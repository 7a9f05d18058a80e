package shard

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"tokenserver/internal/clock"
	"tokenserver/internal/metadata"
	"tokenserver/internal/stats"
	"tokenserver/token"
)

// shard is one of the independent parts of a store.
type shard struct {
	// mu guards all of the shard but the atomic counters. It is held for one
	// operation, or one bounded batch of a purge or a listing.
	mu       sync.RWMutex
	sessions index[token.ID, recordIndex]
	records  slab
	heap     deadlineHeap
	meta     arena
	policies policySlab
	subjects index[Subject, policyIndex] // the newest session of each, unless restoring
	pending  pending                     // the last changes of sessions that may be under way
	counters stats.Counters
	memory   memory
	// restoring says that sessions are being restored, in no order.
	restoring bool
	// loose says that there may be something to compact.
	loose bool
	// backlog says that a step of compaction has left something to do.
	backlog atomic.Bool
	// squeezed says that nothing was freed since the last squeeze.
	squeezed atomic.Bool
	// listings is how many listings go through the records, which are not moved.
	listings atomic.Int32

	// waited and contended count under no lock, since readers count too.
	waited    atomic.Int64 // nanoseconds
	contended atomic.Int64

	rules  *rules
	budget *budget
	purge  *purgeState
	_      [64]byte // no two shards on one cache line
}

// rules are what all shards of a store go by.
type rules struct {
	lifetime      time.Duration // from an exchange on
	grace         time.Duration // 0 for none
	revokeOnReuse bool
	maxLifetime   time.Duration // from the creation on; 0 for none
	maxMeta       int           // bytes
	journal       Journal       // nil for none
	clock         *clock.Clock
}

func (sh *shard) init(r *rules, pool *pagePool, b *budget, p *purgeState) {
	sh.memory = memory{pool: pool, quota: &b.bytes}
	sh.heap.records = &sh.records
	sh.sessions.memory = &sh.memory
	sh.records.chunks.memory = &sh.memory
	sh.heap.entries.memory = &sh.memory
	sh.policies.chunks.memory = &sh.memory
	sh.subjects.memory = &sh.memory
	sh.meta.memory = &sh.memory
	sh.rules, sh.budget, sh.purge = r, b, p
}

// lock takes the lock. The clock is read only if it has to wait.
func (sh *shard) lock() {
	if !sh.mu.TryLock() {
		sh.wait(sh.mu.Lock)
	}
}

func (sh *shard) rlock() {
	if !sh.mu.TryRLock() {
		sh.wait(sh.mu.RLock)
	}
}

func (sh *shard) wait(lock func()) {
	start := time.Now()
	lock()
	sh.waited.Add(int64(time.Since(start)))
	sh.contended.Add(1)
}

// newSession is a session to be stored.
type newSession struct {
	id        token.ID
	digest    token.Digest
	deadline  timestamp
	meta      *metadata.Object
	size      int // bytes of meta
	hasPolicy bool
	policy    policyState
}

// create stores a session that the budget counts already. It returns false if the
// id is taken, or with token.ErrFull if there is no room for it.
func (sh *shard) create(n *newSession) (bool, Write, error) {
	sh.lock()
	defer sh.unlock()
	r, err := sh.addLocked(n)
	if r == nil {
		return false, nil, err
	}
	sh.counters.Created++
	return true, sh.saveLocked(r), nil
}

// addLocked stores a session. It returns nil if the id is taken, or with an
// error. It requires the write lock.
func (sh *shard) addLocked(n *newSession) (*record, error) {
	if _, taken := sh.sessions.get(n.id); taken {
		return nil, nil
	}
	if !sh.reserveLocked(n) {
		return nil, token.ErrFull
	}
	ref, ok := sh.meta.alloc(blockLen(n.size, n.hasPolicy))
	if !ok {
		return nil, token.ErrFull
	}
	i := sh.records.alloc()
	e := policyIndex(0)
	if n.hasPolicy {
		e = sh.addPolicyLocked(n.policy, i)
	}
	binary.LittleEndian.PutUint32(sh.meta.block(ref), uint32(i))
	n.meta.Append(sh.resizeLocked(ref, n.size, e)[:0])
	r := sh.records.at(i)
	*r = record{digest: n.digest, id: n.id, block: ref}
	sh.heap.push(entry{deadline: n.deadline, record: i})
	sh.sessions.add(n.id, i)
	return r, nil
}

// reserveLocked makes sure that there is room for all of a session but its block.
// What it has reserved where it fails serves the next one. It requires the write
// lock.
func (sh *shard) reserveLocked(n *newSession) bool {
	if !sh.records.reserve() || !sh.heap.reserve() || !sh.sessions.reserve() {
		return false
	}
	if n.hasPolicy && !sh.policies.reserve() {
		return false
	}
	if n.policy.subject == (Subject{}) {
		return true
	}
	_, known := sh.subjects.get(n.policy.subject)
	return known || sh.subjects.reserve()
}

// exchangeArgs is what one exchange brings to a shard.
type exchangeArgs struct {
	credential
	new   token.Digest
	patch *metadata.Object // nil for none
}

// exchange spends x.digest: it is compared and replaced under one lock, so that
// of any number of exchanges of one token the first to get the lock wins, and
// all others find another digest. Nothing changes unless all of it does.
//
// age is 0 if the token was the current one, and else how many exchanges ago it
// was spent.
func (sh *shard) exchange(x *exchangeArgs, dst []byte) (meta []byte, age int, w Write, err error) {
	sh.lock()
	defer sh.unlock()
	return sh.exchangeLocked(x, dst)
}

// exchangeLocked is exchange for those who hold the lock. It requires the write lock.
func (sh *shard) exchangeLocked(x *exchangeArgs, dst []byte) (meta []byte, age int, w Write, err error) {
	r := sh.liveLocked(x.id, x.now)
	if r == nil {
		sh.counters.Invalid++
		return dst, 0, sh.pending.writes[x.id], token.ErrInvalid
	}
	if r.digest != x.digest {
		if age, err = sh.checkReuseLocked(r, &x.credential); err != nil {
			if err == token.ErrInvalid {
				sh.counters.Invalid++
			}
			return dst, 0, sh.pending.writes[x.id], err
		}
	}
	if dst, err = sh.mergeLocked(r, x.patch, dst); err != nil {
		return dst, 0, sh.pending.writes[x.id], err
	}
	if age > 0 {
		sh.counters.Replayed++
		return dst, age, sh.saveIfChangedLocked(r, x.patch != nil), nil
	}
	r.digest = x.new
	sh.renewLocked(r, x.now)
	sh.counters.Exchanged++
	return dst, 0, sh.saveLocked(r), nil
}

// mergeLocked merges a patch, if there is one, into a session's metadata, and
// appends the outcome to dst. It requires the write lock.
func (sh *shard) mergeLocked(r *record, patch *metadata.Object, dst []byte) ([]byte, error) {
	meta, e := sh.contentLocked(r)
	if patch == nil {
		return append(dst, meta...), nil
	}
	start := len(dst)
	dst = patch.AppendMerged(dst, meta)
	if err := sh.setMetaLocked(r, e, dst[start:]); err != nil {
		return dst[:start], err
	}
	return dst, nil
}

// renewLocked gives a session its full lifetime again, and remembers when its
// token was spent. It requires the write lock.
func (sh *shard) renewLocked(r *record, now timestamp) {
	d := now.Add(sh.rules.lifetime)
	if e := sh.policyLocked(r); e != nil {
		d = e.renewed(now, sh.rules.lifetime)
		e.spend(now)
	}
	if d < sh.heap.at(r.heapIndex).deadline { // restored from a store with longer lifetimes
		sh.purge.expect(d)
	}
	sh.heap.update(r.heapIndex, d)
}

// liveLocked returns the session with an id, or nil if there is none that lives.
// It requires the read lock.
func (sh *shard) liveLocked(id token.ID, now timestamp) *record {
	i, ok := sh.sessions.get(id)
	if !ok {
		return nil
	}
	r := sh.records.at(i)
	if sh.heap.at(r.heapIndex).deadline <= now {
		return nil
	}
	return r
}

func (sh *shard) validate(c *credential, dst []byte) ([]byte, timestamp, Write, error) {
	sh.rlock()
	defer sh.mu.RUnlock()
	return sh.validateLocked(c, dst)
}

// validateLocked is validate for those who hold the lock. It requires the read lock.
func (sh *shard) validateLocked(c *credential, dst []byte) ([]byte, timestamp, Write, error) {
	w := sh.pending.writes[c.id]
	r := sh.liveLocked(c.id, c.now)
	if r == nil {
		return dst, 0, w, token.ErrInvalid
	}
	if r.digest != c.digest {
		if _, err := sh.graceAgeLocked(r, c); err != nil {
			return dst, 0, w, err
		}
	}
	meta, _ := sh.contentLocked(r)
	return append(dst, meta...), sh.heap.at(r.heapIndex).deadline, w, nil
}

// delete ends the session that c is a token of. Its error is errUnproven or nil.
func (sh *shard) delete(c *credential) (Write, error) {
	sh.lock()
	defer sh.unlock()
	return sh.deleteLocked(c)
}

// deleteLocked is delete for those who hold the lock. It requires the write lock.
func (sh *shard) deleteLocked(c *credential) (Write, error) {
	r := sh.liveLocked(c.id, c.now)
	if r == nil {
		return sh.pending.writes[c.id], nil
	}
	if r.digest != c.digest {
		if _, err := sh.checkReuseLocked(r, c); err == errUnproven {
			return nil, err
		} else if err != nil {
			return sh.pending.writes[c.id], nil
		}
	}
	sh.counters.Deleted++
	return sh.endLocked(r), nil
}

// endLocked removes a live session and tells the journal. It requires the write
// lock.
func (sh *shard) endLocked(r *record) Write {
	id := r.id
	sh.removeLocked(sh.heap.at(r.heapIndex).record)
	return sh.forgetLocked(id)
}

// removeLocked forgets a session and gives back all that it took. It requires the
// write lock.
func (sh *shard) removeLocked(i recordIndex) {
	r := sh.records.at(i)
	if _, e := sh.contentLocked(r); e != 0 {
		sh.removePolicyLocked(e)
	}
	sh.sessions.remove(r.id)
	sh.heap.remove(r.heapIndex)
	sh.meta.free(r.block)
	sh.budget.sessions.give(1)
	sh.records.release(i)
	sh.freedLocked()
}
