package shard

import (
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
	var f frames
	s := slab{chunks: chunked[record]{frames: &f}}
	const n = 5000
	for i := range n {
		if got := s.alloc(); int(got) != i {
			t.Fatalf("alloc = record %d, want %d", got, i)
		}
		s.at(recordIndex(i)).place = uint32(i) + heapRoot
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
	if got := s.alloc(); int(got) != n || s.n != n+1 {
		t.Errorf("alloc = record %d of %d, want %d of %d", got, s.n, n, n+1)
	}
	if got := s.at(1).place; got != 1+heapRoot {
		t.Errorf("record 1 changed: its place is %d, want %d", got, 1+heapRoot)
	}
}

func TestChunkedGrows(t *testing.T) {
	var f frames
	c := chunked[entry]{frames: &f}
	chunkLen := c.chunkLen()
	if c.len() != 0 {
		t.Errorf("empty: len = %d, want 0", c.len())
	}
	for i := range 3*chunkLen + 1 {
		c.reserve(i)
		if got, want := c.len(), roomFor(i, chunkLen); got != want {
			t.Fatalf("with element %d: len = %d, want %d", i, got, want)
		}
		c.at(i).deadline = int64(i)
		if got := c.at(i / 2).deadline; got != int64(i/2) {
			t.Fatalf("with element %d: element %d = %d", i, i/2, got)
		}
	}
	for i := range 3*chunkLen + 1 {
		if got := c.at(i).deadline; got != int64(i) {
			t.Fatalf("element %d = %d", i, got)
		}
	}
	if f.n != 4 || f.frees != 0 {
		t.Errorf("%d frames taken, %d free, want 4, 0", f.n, f.frees)
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
	var f frames
	c := chunked[entry]{frames: &f}
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
		{0, 1}, // the first one is kept
	}
	for _, test := range tests {
		c.drop(test.n)
		if got := uint32(len(c.chunks)); got != test.chunks || f.n-f.frees != test.chunks {
			t.Errorf("drop(%d): %d chunks, %d frames, want %d", test.n, got, f.n-f.frees, test.chunks)
		}
	}
	for i := range 3 * chunkLen {
		c.reserve(i)
	}
	if len(c.chunks) != 3 || f.n != 3 || f.frees != 0 {
		t.Errorf("grown again: %d chunks, %d frames, %d free, want 3, 3, 0", len(c.chunks), f.n, f.frees)
	}
}

// TestChunkedKeepsChunk goes up and down at the end of a chunk, which must not
// cost a chunk each time.
func TestChunkedKeepsChunk(t *testing.T) {
	c := chunked[entry]{frames: new(frames)}
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

func TestFramesAreApart(t *testing.T) {
	var f frames
	const n = 2*framesPerRegion + 1
	taken := make([]frame, n)
	for i := range taken {
		taken[i] = f.take()
		for j := range taken[i].data {
			taken[i].data[j] = byte(i)
		}
	}
	for i, got := range taken {
		if got.number != uint32(i+1) || len(got.data) != frameSize || cap(got.data) != frameSize {
			t.Fatalf("take = frame %d with %d bytes, want %d with %d", got.number, len(got.data), i+1, frameSize)
		}
		if j := slices.IndexFunc(got.data, func(b byte) bool { return b != byte(i) }); j >= 0 {
			t.Fatalf("frame %d shares byte %d", i, j)
		}
	}
}

func TestFramesAreReused(t *testing.T) {
	var f frames
	for range 5 {
		f.take()
	}
	f.give(2)
	f.give(4)
	if got := f.freeBytes(); got != 2*frameSize {
		t.Errorf("freeBytes = %d, want %d", got, 2*frameSize)
	}
	if a, b, c := f.take().number, f.take().number, f.take().number; a != 4 || b != 2 || c != 6 {
		t.Errorf("take = frames %d, %d, %d, want 4, 2, 6", a, b, c)
	}
	if got := f.freeBytes(); got != 0 {
		t.Errorf("freeBytes = %d, want 0", got)
	}
}
