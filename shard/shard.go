package shard

import (
	"sync"
	"sync/atomic"
	"time"

	"tokenserver/internal/metadata"
	"tokenserver/token"
)

// shard is one of the independent parts of a store.
type shard struct {
	// mu guards all of the shard but the atomic counters. It is held for one
	// operation, or one bounded batch of a purge or a listing.
	mu       sync.RWMutex
	sessions map[token.ID]recordIndex
	records  slab
	heap     deadlineHeap
	meta     arena
	extras   extras
	subjects map[Subject]extraIndex // the newest session of each, unless restoring
	pending  pending                // the last changes of sessions that may be under way
	counters Counters
	// restoring says that sessions are being restored, in no order.
	restoring bool

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
	lifetime      deadline // from an exchange on
	grace         deadline // 0 for none
	revokeOnReuse bool
	maxLifetime   deadline // from the creation on; 0 for none
	maxMeta       int      // bytes
	journal       Journal  // nil for none
	clock         clock
}

func (sh *shard) init(r *rules, f *frames, b *budget, p *purgeState) {
	sh.sessions = make(map[token.ID]recordIndex)
	sh.heap.records = &sh.records
	sh.records.chunks.frames = f
	sh.heap.entries.frames = f
	sh.extras.chunks.frames = f
	sh.meta.frames = f
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

// session is a session to be stored.
type session struct {
	id       token.ID
	digest   token.Digest
	deadline deadline
	meta     *metadata.Object
	size     int // bytes of meta
	hasExtra bool
	extra    extra
}

// cost is what the session takes of the budget.
func (n *session) cost() int64 { return sessionCost(n.size, n.hasExtra) }

// create stores a session whose room the caller has taken from the budget. It
// returns false if the id is taken.
func (sh *shard) create(n *session) (bool, Write, error) {
	sh.lock()
	defer sh.mu.Unlock()
	r, err := sh.addLocked(n)
	if r == nil {
		return false, nil, err
	}
	sh.counters.Created++
	return true, sh.saveLocked(r), nil
}

// addLocked stores a session. It returns nil if the id is taken, or with an error.
func (sh *shard) addLocked(n *session) (*record, error) {
	if _, taken := sh.sessions[n.id]; taken {
		return nil, nil
	}
	ref, ok := sh.meta.alloc(blockLen(n.size, n.hasExtra))
	if !ok {
		return nil, token.ErrFull
	}
	i := sh.records.alloc()
	e := extraIndex(0)
	if n.hasExtra {
		e = sh.addExtraLocked(n.extra, i)
	}
	n.meta.Append(sh.resizeLocked(ref, n.size, e)[:0])
	r := sh.records.at(i)
	*r = record{digest: n.digest, id: n.id, block: ref}
	sh.heap.push(entry{deadline: n.deadline, record: i})
	sh.sessions[n.id] = i
	return r, nil
}

// exchange is what one exchange brings to a shard.
type exchange struct {
	presented
	new   token.Digest
	patch *metadata.Object // nil for none
}

// exchange spends x.digest: it is compared and replaced under one lock, so that
// of any number of exchanges of one token the first to get the lock wins, and
// all others find another digest. Nothing changes unless all of it does.
//
// steps is 0 if the token was the current one, and else how many exchanges ago
// it was spent.
func (sh *shard) exchange(x *exchange, dst []byte) (meta []byte, steps int, w Write, err error) {
	sh.lock()
	defer sh.mu.Unlock()
	r := sh.liveLocked(x.id, x.now)
	if r == nil {
		sh.counters.Invalid++
		return dst, 0, sh.pending.writes[x.id], token.ErrInvalid
	}
	if r.digest != x.digest {
		if steps, err = sh.replayLocked(r, &x.presented); err != nil {
			if err == token.ErrInvalid {
				sh.counters.Invalid++
			}
			return dst, 0, sh.pending.writes[x.id], err
		}
	}
	if dst, err = sh.mergeLocked(r, x.patch, dst); err != nil {
		return dst, 0, sh.pending.writes[x.id], err
	}
	if steps > 0 {
		sh.counters.Replayed++
		return dst, steps, sh.savedLocked(r, x.patch != nil), nil
	}
	r.digest = x.new
	sh.renewLocked(r, x.now)
	sh.counters.Exchanged++
	return dst, 0, sh.saveLocked(r), nil
}

// mergeLocked merges a patch, if there is one, into a session's metadata, and
// appends the outcome to dst.
func (sh *shard) mergeLocked(r *record, patch *metadata.Object, dst []byte) ([]byte, error) {
	meta, e := sh.contentLocked(r)
	if patch == nil {
		return append(dst, meta...), nil
	}
	start := len(dst)
	dst = patch.AppendMerged(dst, meta)
	if err := sh.setMetaLocked(r, e, len(meta), dst[start:]); err != nil {
		return dst[:start], err
	}
	return dst, nil
}

// renewLocked gives a session its full lifetime again, and remembers when its
// token was spent.
func (sh *shard) renewLocked(r *record, now deadline) {
	d := now + sh.rules.lifetime
	if e := sh.extraLocked(r); e != nil {
		d = e.renewed(now, sh.rules.lifetime)
		e.spend(now)
	}
	if d < sh.heap.at(r.place).deadline { // restored from a store with longer lifetimes
		sh.purge.expect(d)
	}
	sh.heap.update(r.place, d)
}

// liveLocked returns the session with an id, or nil if there is none that lives.
func (sh *shard) liveLocked(id token.ID, now deadline) *record {
	i, ok := sh.sessions[id]
	if !ok {
		return nil
	}
	r := sh.records.at(i)
	if sh.heap.at(r.place).deadline <= now {
		return nil
	}
	return r
}

func (sh *shard) validate(p *presented, dst []byte) ([]byte, deadline, Write, error) {
	sh.rlock()
	defer sh.mu.RUnlock()
	w := sh.pending.writes[p.id]
	r := sh.liveLocked(p.id, p.now)
	if r == nil {
		return dst, 0, w, token.ErrInvalid
	}
	if r.digest != p.digest {
		if _, err := sh.windowLocked(r, p); err != nil {
			return dst, 0, w, err
		}
	}
	meta, _ := sh.contentLocked(r)
	return append(dst, meta...), sh.heap.at(r.place).deadline, w, nil
}

// delete ends the session that p is a token of. Its error is errUnproven or nil.
func (sh *shard) delete(p *presented) (Write, error) {
	sh.lock()
	defer sh.mu.Unlock()
	r := sh.liveLocked(p.id, p.now)
	if r == nil {
		return sh.pending.writes[p.id], nil
	}
	if r.digest != p.digest {
		if _, err := sh.replayLocked(r, p); err == errUnproven {
			return nil, err
		} else if err != nil {
			return sh.pending.writes[p.id], nil
		}
	}
	sh.counters.Deleted++
	return sh.endLocked(r), nil
}

// endLocked removes a live session and tells the journal.
func (sh *shard) endLocked(r *record) Write {
	id := r.id
	sh.removeLocked(sh.heap.at(r.place).record)
	return sh.forgetLocked(id)
}

// removeLocked forgets a session and gives back all that it took.
func (sh *shard) removeLocked(i recordIndex) {
	r := sh.records.at(i)
	meta, e := sh.contentLocked(r)
	size, hasExtra := len(meta), e != 0
	if hasExtra {
		sh.removeExtraLocked(e)
	}
	delete(sh.sessions, r.id)
	sh.heap.remove(r.place)
	sh.meta.free(r.block, blockLen(size, hasExtra))
	sh.budget.giveSession(sessionCost(size, hasExtra))
	sh.records.release(i)
}
