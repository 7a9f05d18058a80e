package shard

import (
	"encoding/binary"
	"time"

	"tokenserver/token"
)

// What one step of a compaction moves of each kind at most, under one hold of a
// lock. An operation frees one of each, so that the steps keep up with it.
const (
	compactMoves = 8
	compactBytes = 16 << 10 // of blocks
	compactKeys  = 32
)

// Records and policy states are moved down if more than a packShare of them are
// free, and more than packSlack.
const (
	packShare = 16
	packSlack = 64
)

// unlock releases the write lock, after a step of compaction if something was
// freed since the last one, or there was more to do.
func (sh *shard) unlock() {
	defer sh.mu.Unlock()
	if sh.loose {
		sh.compactLocked()
	}
}

// compactLocked makes a step of compaction. Nothing that was looked up before may
// be used any more. It requires the write lock.
func (sh *shard) compactLocked() {
	more := sh.emptyPageLocked()
	more = sh.packRecordsLocked() || more
	more = sh.packPoliciesLocked() || more
	more = sh.moveSessionsLocked() || more
	more = sh.moveSubjectsLocked() || more
	sh.loose = more
	sh.backlog.Store(more)
	sh.meta.tight = sh.meta.tight && more
}

// compact makes steps of compaction until none is left.
func (s *Store) compact(sh *shard, p *pacer) {
	for sh.backlog.Load() && !s.isClosing() {
		start := time.Now()
		sh.compactAlone()
		p.worked(time.Since(start))
	}
}

// compactAlone makes a step of compaction in a hold of its own.
func (sh *shard) compactAlone() {
	sh.lock()
	defer sh.purge.heldSince(time.Now())
	defer sh.unlock()
	sh.loose = true
}

// squeeze compacts all shards in which something was freed since the last time, and
// leaves less free than usual.
func (s *Store) squeeze(p *pacer) {
	if !s.purge.unsqueezed.Swap(false) {
		return
	}
	for i := range s.shards {
		sh := &s.shards[i]
		if !sh.squeezed.Swap(true) {
			sh.tighten()
			s.compact(sh, p)
		}
	}
}

// tighten begins a compaction that leaves less free than usual.
func (sh *shard) tighten() {
	sh.lock()
	defer sh.unlock()
	sh.meta.tight, sh.loose = true, true
	sh.meta.sparse.addAll()
}

// freedLocked notes that something was freed. It requires the write lock.
func (sh *shard) freedLocked() {
	sh.loose = true
	if sh.squeezed.Load() {
		sh.squeezed.Store(false)
		sh.purge.unsqueezed.Store(true)
	}
}

// emptyPageLocked moves blocks out of a sparse page. It returns whether there are
// more. It requires the write lock.
func (sh *shard) emptyPageLocked() (more bool) {
	a := &sh.meta
	if a.emptying == 0 && !a.pickSparse() {
		return false
	}
	size := int(blockSizes[a.page(a.emptying).class])
	for range min(compactMoves, compactBytes/size) {
		to, ok := a.makeWay()
		if !ok {
			class := a.page(a.stopEmptying()).class
			a.sparse.remove(class) // until a block of it is freed
			break
		}
		from, content := a.nextToMove()
		copy(a.block(to), content)
		sh.records.at(owner(content)).block = to
		if a.giveBlock(from); a.emptying == 0 {
			break
		}
	}
	_, more = a.sparse.first()
	return more || a.emptying != 0
}

// packRecordsLocked moves the last records into free ones before them, unless a
// listing goes through them. It returns whether there are more. It requires the
// write lock.
func (sh *shard) packRecordsLocked() (more bool) {
	s := &sh.records
	for range compactMoves {
		if s.frees <= s.n/packShare+packSlack || sh.listings.Load() > 0 {
			return false
		}
		last := recordIndex(s.n - 1)
		if s.at(last).heapIndex == 0 {
			s.unlink(last)
		} else {
			sh.moveRecordLocked(last, s.alloc())
		}
		s.n--
		s.chunks.drop(s.n)
	}
	return true
}

// moveRecordLocked moves a record, and tells all that know its index. It requires
// the write lock.
func (sh *shard) moveRecordLocked(from, to recordIndex) {
	r := sh.records.at(to)
	*r = *sh.records.at(from)
	sh.sessions.replace(r.id, to)
	sh.heap.at(r.heapIndex).record = to
	binary.LittleEndian.PutUint32(sh.meta.block(r.block), uint32(to))
	if e := sh.policyLocked(r); e != nil {
		e.record = to
	}
}

// packPoliciesLocked is packRecordsLocked for policy states. It requires the write
// lock.
func (sh *shard) packPoliciesLocked() (more bool) {
	s := &sh.policies
	for range compactMoves {
		if s.n-s.used <= s.n/packShare+packSlack {
			return false
		}
		last := policyIndex(s.n)
		if s.at(last).record == noRecord {
			s.unlink(last)
		} else {
			to := s.alloc()
			s.used--
			sh.movePolicyLocked(last, to)
		}
		s.n--
		s.chunks.drop(s.n)
	}
	return true
}

// movePolicyLocked moves a policy state, and tells all that know its index. It
// requires the write lock.
func (sh *shard) movePolicyLocked(from, to policyIndex) {
	e := sh.policies.at(to)
	*e = *sh.policies.at(from)
	block := sh.meta.block(sh.records.at(e.record).block)
	binary.LittleEndian.PutUint32(block[2*blockWord:], uint32(to))
	if e.subject == (Subject{}) {
		return
	}
	if newest, _ := sh.subjects.get(e.subject); newest == from {
		sh.subjects.replace(e.subject, to)
	}
	if e.next == from { // the only one
		e.next, e.prev = to, to
		return
	}
	sh.policies.at(e.next).prev = to
	sh.policies.at(e.prev).next = to
}

// moveSessionsLocked moves some ids to a smaller map. It returns whether there are
// more. It requires the write lock.
func (sh *shard) moveSessionsLocked() (more bool) {
	if sh.subjects.old != nil { // one old map at a time
		return false
	}
	return sh.sessions.moveSome(sh.records.n, func(i uint32) (token.ID, bool) {
		r := sh.records.at(recordIndex(i))
		return r.id, r.heapIndex != 0
	})
}

// moveSubjectsLocked is moveSessionsLocked for subjects: those of all policy states
// that it has been at, and so those whose newest session it has. It requires the
// write lock.
func (sh *shard) moveSubjectsLocked() (more bool) {
	if sh.sessions.old != nil { // one old map at a time
		return false
	}
	return sh.subjects.moveSome(sh.policies.n, func(i uint32) (Subject, bool) {
		e := sh.policies.at(policyIndex(i + 1)) // counted from 1
		return e.subject, e.subject != (Subject{})
	})
}
