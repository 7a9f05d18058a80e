package shard

import (
	"unsafe"

	"tokenserver/token"
)

// record is a session, without the bytes of its metadata and without its
// deadline, which its entry in the heap has.
type record struct {
	digest token.Digest
	id     token.ID
	meta   blockRef
	size   uint32 // bytes of metadata
	place  uint32 // in the heap; 0 says that the record is free
}

const recordSize = int64(unsafe.Sizeof(record{}))

// recordIndex names a record in a slab.
type recordIndex uint32

// slab is a shard's records. They never move, but for those of the first chunk
// while it grows. Free records are linked by their meta field.
type slab struct {
	chunks chunked[record]
	n      uint32 // records made so far
	free   uint32 // first free record, counted from 1
}

func (s *slab) at(i recordIndex) *record { return s.chunks.at(uint32(i)) }

// alloc returns a free record.
func (s *slab) alloc() recordIndex {
	if s.free != 0 {
		i := recordIndex(s.free - 1)
		s.free = uint32(s.at(i).meta)
		return i
	}
	s.chunks.reserve(s.n)
	s.n++
	return recordIndex(s.n - 1)
}

// release wipes a record and puts it on the free list.
func (s *slab) release(i recordIndex) {
	*s.at(i) = record{meta: blockRef(s.free)}
	s.free = uint32(i) + 1
}

// chunked is an array that grows in chunks, so that no growth copies more than
// one chunk: the first one doubles up to chunkLen, then whole ones follow.
type chunked[T any] struct{ chunks [][]T }

const (
	chunkBits = 10
	chunkLen  = 1 << chunkBits
	firstLen  = 8 // of the first chunk at first
)

func (c *chunked[T]) at(i uint32) *T {
	return &c.chunks[i>>chunkBits][i%chunkLen]
}

// reserve makes sure that there is a place i. All places before it are there, or
// there are none yet and i is less than firstLen.
func (c *chunked[T]) reserve(i uint32) {
	switch {
	case len(c.chunks) == 0:
		c.chunks = append(c.chunks, make([]T, firstLen))
	case i < chunkLen && int(i) == len(c.chunks[0]):
		c.chunks[0] = append(make([]T, 0, 2*i), c.chunks[0]...)[:2*i]
	case int(i>>chunkBits) == len(c.chunks):
		c.chunks = append(c.chunks, make([]T, chunkLen))
	}
}

// drop lets go of the last chunk if place n and all behind it are unused, and
// half a chunk before it too, so that n going up and down does not cost a chunk
// each time.
func (c *chunked[T]) drop(n uint32) {
	if last := len(c.chunks) - 1; last > 0 && n+chunkLen/2 <= uint32(last)<<chunkBits {
		c.chunks[last] = nil
		c.chunks = c.chunks[:last]
	}
}

// len returns for how many elements there is room.
func (c *chunked[T]) len() int {
	if len(c.chunks) == 0 {
		return 0
	}
	return len(c.chunks[0]) + (len(c.chunks)-1)*chunkLen
}
