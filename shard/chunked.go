package shard

import "unsafe"

// chunked is an array of T, which has no pointers. It grows and shrinks in chunks,
// so that no step copies more than one: the first one doubles until it has the size
// of a page, then whole pages follow.
type chunked[T any] struct {
	memory *memory
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

// bytes returns how many bytes n elements take.
func (c *chunked[T]) bytes(n int) int64 {
	var t T
	return int64(n) * int64(unsafe.Sizeof(t))
}

func (c *chunked[T]) at(i uint32) *T {
	return &c.chunks[i/c.chunkLen()][i%c.chunkLen()]
}

// reserve makes sure that there is an element i, or returns false if there is no
// room for it. All before it are there, or there are none yet and i is less than
// firstLen.
func (c *chunked[T]) reserve(i uint32) bool {
	switch {
	case len(c.chunks) == 0:
		return c.addFirst(firstLen, 0)
	case int(i) == len(c.chunks[0]) && i < c.chunkLen():
		return c.resize(2 * i)
	case i/c.chunkLen() == uint32(len(c.chunks)):
		return c.addPage(0)
	}
	return true
}

// resize copies the first chunk to one of another length, or a page if that would
// be as large. It returns false if there is no room.
func (c *chunked[T]) resize(n uint32) bool {
	first, page := c.chunks[0], c.pages[0]
	was := c.bytes(len(first))
	if page != 0 {
		was = pageSize
	}
	c.chunks, c.pages = c.chunks[:0], c.pages[:0]
	if !c.addFirst(n, was) {
		c.chunks, c.pages = append(c.chunks, first), append(c.pages, page)
		return false
	}
	copy(c.chunks[0], first)
	if page != 0 {
		c.memory.pool.give(page)
	}
	return true
}

// addFirst adds a first chunk of n elements, or of a page if that would be as large, in
// place of some bytes that were taken before. It returns false if there is no room.
func (c *chunked[T]) addFirst(n uint32, instead int64) bool {
	if n >= c.chunkLen() {
		return c.addPage(instead)
	}
	if !c.memory.take(c.bytes(int(n)) - instead) {
		return false
	}
	c.chunks, c.pages = append(c.chunks, make([]T, n)), append(c.pages, 0)
	return true
}

// addPage adds a page, in place of some bytes that were taken before. It returns
// false if there is no room.
func (c *chunked[T]) addPage(instead int64) bool {
	p, ok := c.memory.takePage(instead)
	if ok {
		c.chunks = append(c.chunks, unsafe.Slice((*T)(unsafe.Pointer(&p.data[0])), c.chunkLen()))
		c.pages = append(c.pages, p.number)
	}
	return ok
}

// drop gives the last chunk back if element n and all behind it are unused, and
// half a chunk before it too, so that n going up and down does not cost a chunk
// each time. The first one becomes smaller when a quarter of it is used.
func (c *chunked[T]) drop(n uint32) {
	last := len(c.chunks) - 1
	switch {
	case last > 0 && n+c.chunkLen()/2 <= uint32(last)*c.chunkLen():
		c.memory.givePage(c.pages[last])
		c.chunks[last] = nil
		c.chunks, c.pages = c.chunks[:last], c.pages[:last]
	case last == 0 && len(c.chunks[0]) > firstLen && 4*n <= uint32(len(c.chunks[0])):
		to := uint32(firstLen)
		for to < 2*n {
			to *= 2
		}
		c.resize(to)
	}
}
