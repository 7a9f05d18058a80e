package shard

import (
	"math/bits"
	"slices"
	"testing"
	"unsafe"
)

func TestRecordsShareCacheLines(t *testing.T) {
	if recordSize != 32 || entrySize != 16 {
		t.Errorf("a record has %d bytes and an entry %d, want 32 and 16", recordSize, entrySize)
	}
}

func TestSlabReuses(t *testing.T) {
	s := slab{chunks: chunked[record]{memory: newMemory()}}
	const n = 5000
	for i := range n {
		s.reserve()
		if got := s.alloc(); int(got) != i {
			t.Fatalf("alloc = record %d, want %d", got, i)
		}
		s.at(recordIndex(i)).heapIndex = uint32(i) + heapRoot
	}
	for i := 0; i < n; i += 3 {
		s.release(recordIndex(i))
	}
	var reused []recordIndex
	for range (n + 2) / 3 {
		reused = append(reused, s.alloc())
	}
	slices.Sort(reused)
	for i, got := range reused {
		if int(got) != 3*i {
			t.Fatalf("records given out again: %d as the %dth, want %d", got, i, 3*i)
		}
	}
	s.reserve()
	if got := s.alloc(); int(got) != n || s.n != n+1 {
		t.Errorf("alloc = record %d of %d, want %d of %d", got, s.n, n, n+1)
	}
	if got := s.at(1).heapIndex; got != 1+heapRoot {
		t.Errorf("record 1 changed: its heap index is %d, want %d", got, 1+heapRoot)
	}
}

func TestChunkedGrows(t *testing.T) {
	memory := newMemory()
	c := chunked[entry]{memory: memory}
	chunkLen := c.chunkLen()
	if c.len() != 0 {
		t.Errorf("empty: len = %d, want 0", c.len())
	}
	for i := range 3*chunkLen + 1 {
		c.reserve(i)
		if got, want := c.len(), roomFor(i, chunkLen); got != want {
			t.Fatalf("with element %d: len = %d, want %d", i, got, want)
		}
		c.at(i).deadline = timestamp(i)
		if got := c.at(i / 2).deadline; got != timestamp(i/2) {
			t.Fatalf("with element %d: element %d = %d", i, i/2, got)
		}
	}
	for i := range 3*chunkLen + 1 {
		if got := c.at(i).deadline; got != timestamp(i) {
			t.Fatalf("element %d = %d", i, got)
		}
	}
	if got := memory.pool.taken(); got != 4 || memory.reserved != 4*pageSize {
		t.Errorf("%d pages taken, %d bytes reserved, want 4, %d", got, memory.reserved, 4*pageSize)
	}
}

// roomFor returns for how many elements there is room when element i is the last.
func roomFor(i, chunkLen uint32) int {
	for room := uint32(firstLen); room < chunkLen; room *= 2 {
		if i < room {
			return int(room)
		}
	}
	return int((i/chunkLen + 1) * chunkLen)
}

func TestChunkedDrops(t *testing.T) {
	memory := newMemory()
	c := chunked[entry]{memory: memory}
	chunkLen := c.chunkLen()
	for i := range 3 * chunkLen {
		c.reserve(i)
	}
	tests := []struct{ n, chunks uint32 }{
		{3*chunkLen - 1, 3},
		{2 * chunkLen, 3},
		{2*chunkLen - chunkLen/2 + 1, 3},
		{2*chunkLen - chunkLen/2, 2},
		{2*chunkLen - chunkLen/2, 2}, // again: what is in use stays
		{chunkLen - chunkLen/2 + 1, 2},
		{chunkLen - chunkLen/2, 1},
	}
	for _, test := range tests {
		c.drop(test.n)
		if got := uint32(len(c.chunks)); got != test.chunks || memory.pool.taken() != int(test.chunks) || memory.reserved != int64(got)*pageSize {
			t.Errorf("drop(%d): %d chunks, %d pages, want %d", test.n, got, memory.pool.taken(), test.chunks)
		}
	}
	for i := range 3 * chunkLen {
		c.reserve(i)
	}
	if got := memory.pool.taken(); len(c.chunks) != 3 || got != 3 {
		t.Errorf("grown again: %d chunks, %d pages, want 3, 3", len(c.chunks), got)
	}
	// The first one becomes smaller, down to its first length.
	for n := 3 * chunkLen; n > 0; n-- {
		c.drop(n - 1)
		if got, limit := c.len(), int(max(4*n, n+2*chunkLen, firstLen)); got > limit || got < int(n)-1 {
			t.Fatalf("drop(%d): room for %d, want at most %d", n-1, got, limit)
		}
	}
	if got := memory.pool.taken(); c.len() != firstLen || got != 0 || memory.reserved != c.bytes(firstLen) {
		t.Errorf("emptied: room for %d, %d pages, %d bytes reserved", c.len(), got, memory.reserved)
	}
}

// TestChunkedKeepsChunk goes up and down at the end of a chunk, which must not
// cost a chunk each time.
func TestChunkedKeepsChunk(t *testing.T) {
	c := chunked[entry]{memory: newMemory()}
	chunkLen := c.chunkLen()
	for i := range chunkLen + 1 {
		c.reserve(i)
	}
	last := unsafe.Pointer(&c.chunks[1][0])
	for range 100 {
		c.drop(chunkLen)
		c.drop(chunkLen - 1)
		c.reserve(chunkLen - 1)
		c.reserve(chunkLen)
		if unsafe.Pointer(&c.chunks[1][0]) != last {
			t.Fatal("the last chunk was given up and made again")
		}
	}
}

func TestPagesAreApart(t *testing.T) {
	var pool pagePool
	const n = 2*pagesPerRegion + 1
	taken := make([]poolPage, n)
	for i := range taken {
		taken[i] = pool.take()
		for j := range taken[i].data {
			taken[i].data[j] = byte(i)
		}
	}
	for i, got := range taken {
		if got.number != uint32(i+1) || len(got.data) != pageSize || cap(got.data) != pageSize {
			t.Fatalf("take = page %d with %d bytes, want %d with %d", got.number, len(got.data), i+1, pageSize)
		}
		if j := slices.IndexFunc(got.data, func(b byte) bool { return b != byte(i) }); j >= 0 {
			t.Fatalf("page %d shares byte %d", i, j)
		}
	}
}

func TestPagesAreReused(t *testing.T) {
	var pool pagePool
	for range 5 {
		pool.take()
	}
	pool.give(2)
	pool.give(4)
	if got := pool.taken(); got != 3 {
		t.Errorf("%d pages taken, want 3", got)
	}
	if a, b, c := pool.take().number, pool.take().number, pool.take().number; a != 2 || b != 4 || c != 6 {
		t.Errorf("take = pages %d, %d, %d, want 2, 4, 6", a, b, c)
	}
	// What the first regions have goes first.
	for range 2 * pagesPerRegion {
		pool.take()
	}
	pool.give(pagesPerRegion + 3)
	pool.give(7)
	if a, b := pool.take().number, pool.take().number; a != 7 || b != pagesPerRegion+3 {
		t.Errorf("take = pages %d, %d, want 7, %d", a, b, pagesPerRegion+3)
	}
}

// newMemory returns the memory of a shard of its own, without a limit.
func newMemory() *memory { return &memory{pool: new(pagePool), quota: new(quota)} }

// taken returns how many pages are in use.
func (p *pagePool) taken() (n int) {
	for _, r := range p.regions {
		if r.data != nil {
			n += bits.OnesCount64(^r.free)
		}
	}
	return n
}

// len returns for how many elements there is room.
func (c *chunked[T]) len() int {
	if len(c.chunks) == 0 {
		return 0
	}
	return len(c.chunks[0]) + (len(c.chunks)-1)*int(c.chunkLen())
}

// reserved returns how many bytes are reserved.
func (c *chunked[T]) reserved() (bytes int64) {
	for i, chunk := range c.chunks {
		if c.pages[i] != 0 {
			bytes += pageSize
		} else {
			bytes += c.bytes(len(chunk))
		}
	}
	return bytes
}
