package shard

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"tokenserver/internal/storetest"
)

func TestBlockSize(t *testing.T) {
	tests := []struct{ n, want int }{
		{1, 16}, {2, 16}, {16, 16}, {17, 20}, {20, 20}, {21, 24}, {120, 120}, {121, 124}, {125, 128}, {128, 128},
		{129, 144}, {144, 144}, {145, 160}, {255, 256}, {256, 256}, {257, 288}, {1024, 1024}, {1025, 1152},
		{4096, 4096}, {4097, 4368}, {4368, 4368}, {4369, 4680}, {7281, 8192}, {8192, 8192}, // 15, 14, 8 a page
		{8193, 8193}, {65536, 65536}, {16 << 20, 16 << 20},
	}
	for _, test := range tests {
		if got := blockSize(test.n); got != test.want {
			t.Errorf("blockSize(%d) = %d, want %d", test.n, got, test.want)
		}
	}
}

func TestClasses(t *testing.T) {
	last := uint8(0)
	for n := 1; n <= largeMin; n++ {
		class, size := classOf(n), blockSize(n)
		if class != last && class != last+1 || class >= largeClass {
			t.Fatalf("classOf(%d) = %d, after %d", n, class, last)
		}
		if class != last && n-1 != int(blockSizes[last]) {
			t.Fatalf("classOf(%d) = %d, but blocks of class %d have %d bytes", n, class, last, blockSizes[last])
		}
		if size < n || size != int(blockSizes[class]) || size%4 != 0 {
			t.Fatalf("blockSize(%d) = %d, class %d", n, size, class)
		}
		if waste := size - n; waste >= 16 && 7*waste >= n {
			t.Fatalf("blockSize(%d) = %d wastes %d", n, size, waste)
		}
		last = class
	}
	if last != largeClass-1 {
		t.Errorf("classOf(%d) = %d, want %d", largeMin, last, largeClass-1)
	}
	for n := largeMin + 1; n <= 16<<20; n = n*5/4 + 1 {
		if classOf(n) != largeClass || blockSize(n) != n {
			t.Errorf("classOf(%d), blockSize = %d, %d, want %d, %d", n, classOf(n), blockSize(n), largeClass, n)
		}
	}
}

// arenaModel is an arena beside plain copies of what is in its blocks.
type arenaModel struct {
	t      *testing.T
	arena  arena
	refs   []blockRef
	blocks map[blockRef]int
	want   map[blockRef][]byte
}

func newArenaModel(t *testing.T) *arenaModel {
	return &arenaModel{
		t:      t,
		arena:  arena{memory: newMemory()},
		blocks: make(map[blockRef]int),
		want:   make(map[blockRef][]byte),
	}
}

// alloc takes a block and fills it with b.
func (m *arenaModel) alloc(n int, b byte) blockRef {
	m.t.Helper()
	ref, ok := m.arena.alloc(n)
	if _, taken := m.blocks[ref]; !ok || taken || ref == 0 {
		m.t.Fatalf("alloc(%d) = block %d, %v, taken before: %v", n, ref, ok, taken)
	}
	got := m.arena.block(ref)
	if len(got) != blockSize(n) || cap(got) != len(got) {
		m.t.Fatalf("alloc(%d) = a block with %d bytes, capacity %d, want %d", n, len(got), cap(got), blockSize(n))
	}
	content := bytes.Repeat([]byte{b}, len(got))
	content[3] = 0 // of the owner's word
	copy(got, content)
	m.refs, m.blocks[ref], m.want[ref] = append(m.refs, ref), n, content
	return ref
}

// free gives back the block at a place in refs.
func (m *arenaModel) free(at int) {
	m.t.Helper()
	ref := m.refs[at]
	if !bytes.Equal(m.arena.block(ref), m.want[ref]) {
		m.t.Fatalf("block %d of %d bytes was written into", ref, m.blocks[ref])
	}
	m.arena.free(ref)
	delete(m.blocks, ref)
	delete(m.want, ref)
	last := len(m.refs) - 1
	m.refs[at] = m.refs[last]
	m.refs = m.refs[:last]
}

func (m *arenaModel) check() {
	m.t.Helper()
	if checkArena(m.t, &m.arena, m.blocks); m.t.Failed() {
		m.t.FailNow()
	}
}

func TestArenaRandom(t *testing.T) {
	rng := storetest.NewRand(storetest.Seed(t))
	m := newArenaModel(t)
	for _, target := range []int{100, 0, 1000, 100, 500, 0} {
		for step := 0; len(m.refs) != target; step++ {
			if grow := len(m.refs) < target; len(m.refs) == 0 || grow == (rng.IntN(10) < 7) {
				m.alloc(randomSize(rng), byte(rng.Uint32()))
			} else {
				m.free(rng.IntN(len(m.refs)))
			}
			if step%10 == 0 {
				m.check()
			}
		}
		m.check()
	}
	if m.arena.used != 0 {
		t.Errorf("empty arena: used = %d, want 0", m.arena.used)
	}
}

// randomSize returns a size between 1 and 128 KiB, in each order of magnitude as
// likely as in the others, and often just at the end of a class.
func randomSize(rng *rand.Rand) int {
	n := 1 + rng.IntN(1<<(1+rng.IntN(17)))
	if rng.IntN(3) == 0 {
		n = blockSize(n) + rng.IntN(2)
	}
	return n
}

func TestArenaEachClass(t *testing.T) {
	m := newArenaModel(t)
	for class := range uint8(largeClass) {
		size := int(blockSizes[class])
		for range 3 * minBlocks {
			m.alloc(size, class)
		}
	}
	m.check()
	for len(m.refs) > 0 {
		m.free(0)
	}
	m.check()
}

func TestArenaLargeBlocks(t *testing.T) {
	m := newArenaModel(t)
	for _, n := range []int{largeMin + 1, pageSize - 1, pageSize, pageSize + 1, 1 << 20, 16 << 20} {
		m.alloc(n, byte(n))
		if m.arena.memory.reserved != int64(n) || m.arena.used != int64(n) {
			t.Errorf("large block of %d bytes: reserved %d, used %d", n, m.arena.memory.reserved, m.arena.used)
		}
		m.check()
		m.free(0)
		m.check()
	}
	if m.arena.memory.reserved != 0 || m.arena.pages != 1 {
		t.Errorf("after large blocks: %d bytes reserved in %d pages, want 0 in 1", m.arena.memory.reserved, m.arena.pages)
	}
}

// TestArenaPagesServeOtherSizes fills an arena with blocks of one size, then of
// another: the pages of the first serve the second.
func TestArenaPagesServeOtherSizes(t *testing.T) {
	m := newArenaModel(t)
	const total = 4 << 20
	var pages uint32
	for _, size := range []int{128, 1024, 24, 8192} {
		for range total / size {
			m.alloc(size, 1)
		}
		m.check()
		if m.arena.memory.reserved > total+total/8 {
			t.Errorf("%d bytes in blocks of %d: %d reserved", total, size, m.arena.memory.reserved)
		}
		pages = max(pages, m.arena.pages)
		for len(m.refs) > 0 {
			m.free(len(m.refs) - 1)
		}
		m.check()
		if m.arena.memory.reserved > 4*pageSize {
			t.Errorf("emptied of blocks of %d: %d bytes reserved, want at most a page a class", size, m.arena.memory.reserved)
		}
	}
	const perPage = total/pageSize + 120 // the first pages of a class are smaller
	if got := len(m.arena.memory.pool.regions) * pagesPerRegion; m.arena.pages > perPage || got > perPage {
		t.Errorf("%d pages, and %d of the pool, want at most %d", m.arena.pages, got, perPage)
	}
}

// TestArenaKeepsLastPage has one block come and go, which must not cost a page
// each time.
func TestArenaKeepsLastPage(t *testing.T) {
	m := newArenaModel(t)
	m.alloc(100, 1)
	data := &m.arena.page(1).data[0]
	for range 10 {
		m.free(0)
		m.alloc(100, 1)
		if &m.arena.page(1).data[0] != data {
			t.Fatal("the only page was given up and made again")
		}
	}
}

// TestArenaStartsSmall holds that a shard with few sessions takes little.
func TestArenaStartsSmall(t *testing.T) {
	m := newArenaModel(t)
	for n := 1; n <= 10_000; n++ {
		m.alloc(100, 1)
		if limit := int64(max(2*n, minBlocks) * blockSize(100)); m.arena.memory.reserved > limit && n < pageSize/100 {
			t.Fatalf("%d blocks: %d bytes reserved, want at most %d", n, m.arena.memory.reserved, limit)
		}
	}
	m.check()
}

func TestArenaOutOfPages(t *testing.T) {
	m := newArenaModel(t)
	m.alloc(1<<20, 1)
	m.alloc(100, 2)
	used := m.arena.used
	m.arena.pages = maxPages - 1
	for _, n := range []int{200, 1 << 20} {
		if got, ok := m.arena.alloc(n); ok || got != 0 {
			t.Errorf("alloc(%d) without page numbers = block %d, %v, want 0, false", n, got, ok)
		}
	}
	if m.arena.used != used {
		t.Errorf("used = %d after refusals, want %d", m.arena.used, used)
	}
	// What is there goes on, and a released page's number serves again.
	m.alloc(100, 3)
	m.free(0)
	m.alloc(200, 4)
	for len(m.refs) > 0 {
		m.free(0)
	}
}
