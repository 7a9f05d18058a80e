package shard

import (
	"encoding/binary"
	"unsafe"

	"tokenserver/token"
)

// record is a session, without what is in its block of the arena and without
// its deadline, which its entry in the heap has. Two of its size are a cache line.
type record struct {
	digest    token.Digest
	id        token.ID
	block     blockRef // its metadata
	heapIndex uint32   // of its entry; 0 says that the record is free
}

const recordSize = int64(unsafe.Sizeof(record{}))

// recordIndex names a record in a slab.
type recordIndex uint32

// noRecord is more than any recordIndex. Less than freeBlock they are all: a
// shard's pages are numbered with fewer bits.
const noRecord recordIndex = 1<<32 - 1

// slab is a shard's records. Free records are linked in both directions, counted
// from 1, by their block field and the first bytes of their digest.
type slab struct {
	chunks chunked[record]
	n      uint32 // records up to the last one that was ever in use
	free   uint32 // first free record, counted from 1
	frees  uint32 // free records
}

func (s *slab) at(i recordIndex) *record { return s.chunks.at(uint32(i)) }

// reserve makes sure that there is a free record. It returns false if there is no
// room for one.
func (s *slab) reserve() bool { return s.free != 0 || s.chunks.reserve(s.n) }

// alloc returns a free record, which must have been reserved.
func (s *slab) alloc() recordIndex {
	if s.free != 0 {
		i := recordIndex(s.free - 1)
		s.unlink(i)
		return i
	}
	s.n++
	return recordIndex(s.n - 1)
}

// release wipes a record and puts it on the free list.
func (s *slab) release(i recordIndex) {
	*s.at(i) = record{block: blockRef(s.free)}
	if s.free != 0 {
		s.at(recordIndex(s.free - 1)).setPrev(uint32(i) + 1)
	}
	s.free = uint32(i) + 1
	s.frees++
}

// unlink takes a record off the free list.
func (s *slab) unlink(i recordIndex) {
	r := s.at(i)
	next, prev := uint32(r.block), r.prev()
	if prev == 0 {
		s.free = next
	} else {
		s.at(recordIndex(prev - 1)).block = blockRef(next)
	}
	if next != 0 {
		s.at(recordIndex(next - 1)).setPrev(prev)
	}
	s.frees--
}

// prev is the free record before a free record.
func (r *record) prev() uint32     { return binary.LittleEndian.Uint32(r.digest[:]) }
func (r *record) setPrev(i uint32) { binary.LittleEndian.PutUint32(r.digest[:], i) }
