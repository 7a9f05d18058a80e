package shard

import (
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

// slab is a shard's records. They never move, but for those of the first chunk
// while it grows. Free records are linked by their block field.
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
		s.free = uint32(s.at(i).block)
		return i
	}
	s.chunks.reserve(s.n)
	s.n++
	return recordIndex(s.n - 1)
}

// release wipes a record and puts it on the free list.
func (s *slab) release(i recordIndex) {
	*s.at(i) = record{block: blockRef(s.free)}
	s.free = uint32(i) + 1
}

// chunked is an array of T, which has no pointers. It grows in chunks, so that no
// growth copies more than one: the first one doubles until it has the size of a
// page, then whole pages follow.
type chunked[T any] struct {
	pool   *pagePool
	chunks [][]T
	pages  []uint32 // the pool page of each chunk; 0 for the first one while it is smaller
}

// firstLen is the length of the first chunk at first.
const firstLen = 8

// chunkLen is how many elements a page has.
func (c *chunked[T]) chunkLen() uint32 {
	var t T
	return pageSize / uint32(unsafe.Sizeof(t))
}

func (c *chunked[T]) at(i uint32) *T {
	return &c.chunks[i/c.chunkLen()][i%c.chunkLen()]
}

// reserve makes sure that there is an element i. All before it are there, or there
// are none yet and i is less than firstLen.
func (c *chunked[T]) reserve(i uint32) {
	switch {
	case len(c.chunks) == 0:
		c.chunks = append(c.chunks, make([]T, firstLen))
		c.pages = append(c.pages, 0)
	case int(i) == len(c.chunks[0]) && 2*i < c.chunkLen():
		first := make([]T, 2*i)
		copy(first, c.chunks[0])
		c.chunks[0] = first
	case int(i) == len(c.chunks[0]) && i < c.chunkLen():
		first := c.chunks[0]
		c.chunks, c.pages = c.chunks[:0], c.pages[:0]
		c.addPage()
		copy(c.chunks[0], first)
	case i/c.chunkLen() == uint32(len(c.chunks)):
		c.addPage()
	}
}

func (c *chunked[T]) addPage() {
	p := c.pool.take()
	c.chunks = append(c.chunks, unsafe.Slice((*T)(unsafe.Pointer(&p.data[0])), c.chunkLen()))
	c.pages = append(c.pages, p.number)
}

// drop gives the last chunk back if element n and all behind it are unused, and
// half a chunk before it too, so that n going up and down does not cost a chunk
// each time.
func (c *chunked[T]) drop(n uint32) {
	last := len(c.chunks) - 1
	if last > 0 && n+c.chunkLen()/2 <= uint32(last)*c.chunkLen() {
		c.pool.give(c.pages[last])
		c.chunks[last] = nil
		c.chunks, c.pages = c.chunks[:last], c.pages[:last]
	}
}

// len returns for how many elements there is room.
func (c *chunked[T]) len() int {
	if len(c.chunks) == 0 {
		return 0
	}
	return len(c.chunks[0]) + (len(c.chunks)-1)*int(c.chunkLen())
}
