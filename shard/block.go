package shard

import (
	"encoding/binary"

	"tokenserver/token"
)

// A session's block begins with a word: the size of its metadata, and whether a
// second word follows that names the session's policy state. Then comes the metadata.
const (
	blockWord     = 4
	hasPolicyFlag = 1 << 31
)

// blockLen is how much of a block n bytes of metadata take.
func blockLen(n int, hasPolicy bool) int {
	if hasPolicy {
		return 2*blockWord + n
	}
	return blockWord + n
}

// contentLocked returns a session's metadata, which is valid while the lock is
// held, and its policy state, or 0. It requires the read lock.
func (sh *shard) contentLocked(r *record) ([]byte, policyIndex) {
	b := sh.meta.block(r.block)
	size := binary.LittleEndian.Uint32(b)
	if size&hasPolicyFlag == 0 {
		return b[blockWord:][:size], 0
	}
	e := policyIndex(binary.LittleEndian.Uint32(b[blockWord:]))
	return b[2*blockWord:][:size&^hasPolicyFlag], e
}

// policyLocked returns a session's policy state, or nil if it has none. It
// requires the read lock.
func (sh *shard) policyLocked(r *record) *policyState {
	if _, e := sh.contentLocked(r); e != 0 {
		return sh.policies.at(e)
	}
	return nil
}

// resizeLocked writes the head of a block and returns the place for n bytes of
// metadata. It requires the write lock.
func (sh *shard) resizeLocked(ref blockRef, n int, e policyIndex) []byte {
	b := sh.meta.block(ref)
	if e == 0 {
		binary.LittleEndian.PutUint32(b, uint32(n))
		return b[blockWord:][:n]
	}
	binary.LittleEndian.PutUint32(b, uint32(n)|hasPolicyFlag)
	binary.LittleEndian.PutUint32(b[blockWord:], uint32(e))
	return b[2*blockWord:][:n]
}

// setMetaLocked replaces a session's metadata of size old, or leaves it as it is
// on an error. It requires the write lock.
func (sh *shard) setMetaLocked(r *record, e policyIndex, old int, meta []byte) error {
	if len(meta) > sh.rules.maxMeta {
		return token.ErrMetaTooLarge
	}
	from, to := blockLen(old, e != 0), blockLen(len(meta), e != 0)
	if blockSize(to) != blockSize(from) {
		if err := sh.moveLocked(r, from, to); err != nil {
			return err
		}
	}
	copy(sh.resizeLocked(r.block, len(meta), e), meta)
	return nil
}

// moveLocked gives a session a block for to bytes in place of its own for from.
// It requires the write lock.
func (sh *shard) moveLocked(r *record, from, to int) error {
	grow := int64(blockSize(to) - blockSize(from))
	if !sh.budget.bytes.take(grow) {
		return token.ErrFull
	}
	ref, ok := sh.meta.alloc(to)
	if !ok {
		sh.budget.bytes.give(grow)
		return token.ErrFull
	}
	sh.meta.free(r.block, from)
	r.block = ref
	return nil
}
