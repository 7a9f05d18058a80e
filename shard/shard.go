package shard

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

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
	counters Counters

	// waited and contended count under no lock, since readers count too.
	waited    atomic.Int64 // nanoseconds
	contended atomic.Int64

	budget  *budget
	maxMeta int
	_       [64]byte // no two shards on one cache line
}

func (sh *shard) init(f *frames, b *budget, maxMeta int) {
	sh.sessions = make(map[token.ID]recordIndex)
	sh.heap.records = &sh.records
	sh.records.chunks.frames = f
	sh.heap.entries.frames = f
	sh.meta.frames = f
	sh.budget, sh.maxMeta = b, maxMeta
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

// create stores a session whose room the caller has taken from the budget. It
// returns false if the id is taken.
func (sh *shard) create(id token.ID, digest token.Digest, meta *token.Members, size int, d deadline) (bool, error) {
	sh.lock()
	defer sh.mu.Unlock()
	if _, taken := sh.sessions[id]; taken {
		return false, nil
	}
	ref, ok := sh.meta.alloc(blockLen(size))
	if !ok {
		return false, token.ErrFull
	}
	meta.Append(sh.resizeMetaLocked(ref, size)[:0])
	i := sh.records.alloc()
	*sh.records.at(i) = record{digest: digest, id: id, block: ref}
	sh.heap.push(entry{deadline: d, record: i})
	sh.sessions[id] = i
	sh.counters.Created++
	return true, nil
}

// exchange is what one exchange brings to a shard.
type exchange struct {
	id       token.ID
	old, new token.Digest
	patch    *token.Members // nil for none
	now      deadline
	deadline deadline // the renewed one
}

// exchange spends x.old: the digest is compared and replaced under one lock, so
// that of any number of exchanges of one token the first to get the lock wins,
// and all others find another digest. Nothing changes unless all of it does.
func (sh *shard) exchange(x *exchange, dst []byte) ([]byte, error) {
	sh.lock()
	defer sh.mu.Unlock()
	r := sh.findLocked(x.id, x.old, x.now)
	if r == nil {
		sh.counters.Invalid++
		return dst, token.ErrInvalid
	}
	meta := sh.metaLocked(r)
	if x.patch == nil {
		dst = append(dst, meta...)
	} else {
		start := len(dst)
		dst = x.patch.AppendMerged(dst, meta)
		if err := sh.setMetaLocked(r, dst[start:]); err != nil {
			return dst[:start], err
		}
	}
	r.digest = x.new
	sh.heap.update(r.place, x.deadline)
	sh.counters.Exchanged++
	return dst, nil
}

// findLocked returns the live session whose current token is id's with digest, or nil.
//
// Digests need no comparison in constant time: how much of one agrees tells
// nothing about the nonce that would have to be guessed.
func (sh *shard) findLocked(id token.ID, digest token.Digest, now deadline) *record {
	i, ok := sh.sessions[id]
	if !ok {
		return nil
	}
	r := sh.records.at(i)
	if r.digest != digest || sh.heap.at(r.place).deadline <= now {
		return nil
	}
	return r
}

// A session's block begins with the size of its metadata, which follows.
const blockHeader = 4

// blockLen is how much of a block n bytes of metadata take.
func blockLen(n int) int { return blockHeader + n }

// metaLocked returns a session's metadata, which is valid while the lock is held.
func (sh *shard) metaLocked(r *record) []byte {
	b := sh.meta.block(r.block)
	return b[blockHeader:][:binary.LittleEndian.Uint32(b)]
}

// resizeMetaLocked sets the size of the metadata in a block and returns the
// place for it.
func (sh *shard) resizeMetaLocked(ref blockRef, size int) []byte {
	b := sh.meta.block(ref)
	binary.LittleEndian.PutUint32(b, uint32(size))
	return b[blockHeader:][:size]
}

// setMetaLocked replaces a session's metadata, or leaves it as it is on an error.
func (sh *shard) setMetaLocked(r *record, meta []byte) error {
	old, size := len(sh.metaLocked(r)), len(meta)
	if size > sh.maxMeta {
		return token.ErrMetaTooLarge
	}
	if blockSize(blockLen(size)) != blockSize(blockLen(old)) {
		if err := sh.moveMetaLocked(r, old, size); err != nil {
			return err
		}
	}
	copy(sh.resizeMetaLocked(r.block, size), meta)
	return nil
}

// moveMetaLocked gives a session with metadata of size old a block for size bytes.
func (sh *shard) moveMetaLocked(r *record, old, size int) error {
	if !sh.budget.resize(old, size) {
		return token.ErrFull
	}
	ref, ok := sh.meta.alloc(blockLen(size))
	if !ok {
		sh.budget.bytes.give(sessionCost(size) - sessionCost(old))
		return token.ErrFull
	}
	sh.meta.free(r.block, blockLen(old))
	r.block = ref
	return nil
}

func (sh *shard) validate(id token.ID, digest token.Digest, now deadline, dst []byte) ([]byte, deadline, error) {
	sh.rlock()
	defer sh.mu.RUnlock()
	r := sh.findLocked(id, digest, now)
	if r == nil {
		return dst, 0, token.ErrInvalid
	}
	return append(dst, sh.metaLocked(r)...), sh.heap.at(r.place).deadline, nil
}

// delete ends the session whose current token is id's with digest, if there is one.
func (sh *shard) delete(id token.ID, digest token.Digest, now deadline) {
	sh.lock()
	defer sh.mu.Unlock()
	if r := sh.findLocked(id, digest, now); r != nil {
		sh.removeLocked(sh.heap.at(r.place).record)
		sh.counters.Deleted++
	}
}

// removeLocked forgets a session and gives back all that it took.
func (sh *shard) removeLocked(i recordIndex) {
	r := sh.records.at(i)
	size := len(sh.metaLocked(r))
	delete(sh.sessions, r.id)
	sh.heap.remove(r.place)
	sh.meta.free(r.block, blockLen(size))
	sh.budget.giveSession(size)
	sh.records.release(i)
}
