package shard

import (
	"encoding/binary"

	"tokenserver/token"
)

// A session's block begins with two words: the index of its record, and the size
// of its metadata, with whether a third word follows that names the session's
// policy state. Then comes the metadata.
const (
	blockWord     = 4
	hasPolicyFlag = 1 << 31
)

// blockLen is how much of a block n bytes of metadata take.
func blockLen(n int, hasPolicy bool) int {
	if hasPolicy {
		return 3*blockWord + n
	}
	return 2*blockWord + n
}

// owner returns the record whose block it is.
func owner(block []byte) recordIndex { return recordIndex(binary.LittleEndian.Uint32(block)) }

// contentLocked returns a session's metadata, which is valid while the lock is
// held, and its policy state, or 0. It requires the read lock.
func (sh *shard) contentLocked(r *record) ([]byte, policyIndex) {
	b := sh.meta.block(r.block)
	size := binary.LittleEndian.Uint32(b[blockWord:])
	if size&hasPolicyFlag == 0 {
		return b[2*blockWord:][:size], 0
	}
	e := policyIndex(binary.LittleEndian.Uint32(b[2*blockWord:]))
	return b[3*blockWord:][:size&^hasPolicyFlag], e
}

// policyLocked returns a session's policy state, or nil if it has none. It
// requires the read lock.
func (sh *shard) policyLocked(r *record) *policyState {
	if _, e := sh.contentLocked(r); e != 0 {
		return sh.policies.at(e)
	}
	return nil
}

// resizeLocked writes the size into the head of a block and returns the place for n
// bytes of metadata. It requires the write lock.
func (sh *shard) resizeLocked(ref blockRef, n int, e policyIndex) []byte {
	b := sh.meta.block(ref)
	if e == 0 {
		binary.LittleEndian.PutUint32(b[blockWord:], uint32(n))
		return b[2*blockWord:][:n]
	}
	binary.LittleEndian.PutUint32(b[blockWord:], uint32(n)|hasPolicyFlag)
	binary.LittleEndian.PutUint32(b[2*blockWord:], uint32(e))
	return b[3*blockWord:][:n]
}

// setMetaLocked replaces a session's metadata, or leaves it as it is on an error.
// It requires the write lock.
func (sh *shard) setMetaLocked(r *record, e policyIndex, meta []byte) error {
	if len(meta) > sh.rules.maxMeta {
		return token.ErrMetaTooLarge
	}
	n, has := blockLen(len(meta), e != 0), len(sh.meta.block(r.block))
	if blockSize(n) != has && !sh.moveLocked(r, n) && n > has {
		return token.ErrFull
	}
	copy(sh.resizeLocked(r.block, len(meta), e), meta)
	return nil
}

// moveLocked gives a session a block for n bytes in place of its own. It returns
// false if there is no room, also for a smaller one, which has other pages. It
// requires the write lock.
func (sh *shard) moveLocked(r *record, n int) bool {
	ref, ok := sh.meta.alloc(n)
	if !ok {
		return false
	}
	copy(sh.meta.block(ref)[:blockWord], sh.meta.block(r.block))
	sh.meta.free(r.block)
	r.block = ref
	sh.freedLocked()
	return true
}
