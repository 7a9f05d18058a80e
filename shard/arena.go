package shard

import "math/bits"

// arena keeps byte strings in blocks of size classes, and blocks in pages of
// one class each. A freed block goes to its page's free list, and a page without
// used blocks back to where it came from, so that memory serves whatever size
// is wanted next. No block has a pointer to it or in it.
type arena struct {
	pool     *pagePool
	dir      [][]page           // pages by number, pagesPerChunk a chunk; page 0 is none
	pages    uint32             // pages in dir, also the released ones
	released uint32             // first of the released pages, linked by next
	partial  [largeClass]uint32 // first page of each class with a free block
	blocks   [largeClass]uint32 // blocks of each class in all its pages
	reserved int64              // bytes in pages
	used     int64              // bytes in used blocks
}

// page is a run of blocks of one class, or one large block.
type page struct {
	data       []byte
	poolPage   uint32 // number of the pool page that data is; 0 if it is smaller or larger than one
	next, prev uint32 // neighbours in the list that the page is in
	class      uint8
	free       uint16 // first free block, counted from 1, linked by each block's first two bytes
	fresh      uint16 // blocks from here on were never used and are in no list
	used       uint16 // used blocks
	blocks     uint16
}

// blockRef names a block: its page's number and its slot in the page. 0 is none.
type blockRef uint32

const (
	slotBits      = 12
	maxBlocks     = 1<<slotBits - 1 // in a page
	maxPages      = 1 << (32 - slotBits)
	pagesPerChunk = 64
	minBlocks     = 4 // in a class's first page

	// Blocks up to fineMax bytes come in steps of 8 bytes, larger ones in
	// eight steps a power of two, and from largeMin on each is a page of its own.
	fineMax     = 128
	fineStep    = 8
	fineClasses = fineMax/fineStep - 1 // the smallest block has 16 bytes
	largeMin    = 32 << 10
	largeClass  = fineClasses + 8*8 // of blocks over largeMin, and the number of other classes
)

// classOf returns the class of the blocks for n bytes, n > 0.
func classOf(n int) uint8 {
	switch {
	case n <= 2*fineStep:
		return 0
	case n <= fineMax:
		return uint8((n+fineStep-1)/fineStep - 2)
	case n > largeMin:
		return largeClass
	}
	exp := bits.Len(uint(n-1)) - 1 // 2^exp < n <= 2^(exp+1)
	step := (n - 1 - 1<<exp) >> (exp - 3)
	return uint8(fineClasses + (exp-7)*8 + step)
}

// blockSizes has the size of each class's blocks.
var blockSizes = func() (sizes [largeClass]uint16) {
	for c := range sizes {
		if c < fineClasses {
			sizes[c] = uint16((c + 2) * fineStep)
			continue
		}
		exp, step := 7+(c-fineClasses)/8, (c-fineClasses)%8
		sizes[c] = uint16(1<<exp + (step+1)<<(exp-3))
	}
	return sizes
}()

// blockSize returns how many bytes a block for n bytes takes.
func blockSize(n int) int {
	if class := classOf(n); class < largeClass {
		return int(blockSizes[class])
	}
	return n
}

// alloc returns a block for n bytes, or false if the arena can't name one more page.
func (a *arena) alloc(n int) (blockRef, bool) {
	class := classOf(n)
	number := uint32(0)
	if class < largeClass {
		number = a.partial[class]
	}
	if number == 0 {
		if number = a.newPage(class, n); number == 0 {
			return 0, false
		}
	}
	a.used += int64(blockSize(n))
	return blockRef(number<<slotBits | uint32(a.takeBlock(number))), true
}

// takeBlock takes a free block of a page, and the page off its list if it was the last.
func (a *arena) takeBlock(number uint32) uint16 {
	p := a.page(number)
	p.used++
	slot := p.fresh
	if p.free != 0 {
		slot = p.free - 1
		b := p.block(slot)
		p.free = uint16(b[0]) | uint16(b[1])<<8
	} else {
		p.fresh++
	}
	if p.used == p.blocks && p.class < largeClass {
		a.unlink(number)
	}
	return slot
}

// free gives back a block of n bytes.
func (a *arena) free(ref blockRef, n int) {
	number, slot := uint32(ref)>>slotBits, uint16(ref&maxBlocks)
	p := a.page(number)
	a.used -= int64(blockSize(n))
	p.used--
	if p.class == largeClass {
		a.release(number)
		return
	}
	b := p.block(slot)
	b[0], b[1] = byte(p.free), byte(p.free>>8)
	p.free = slot + 1
	if p.used+1 == p.blocks {
		a.link(number)
	}
	// The last page with free blocks stays: a session that comes and goes
	// must not cost a page each time.
	if p.used == 0 && (p.next != 0 || p.prev != 0) {
		a.unlink(number)
		a.release(number)
	}
}

// block returns a block.
func (a *arena) block(ref blockRef) []byte {
	return a.page(uint32(ref) >> slotBits).block(uint16(ref & maxBlocks))
}

func (p *page) block(slot uint16) []byte {
	if p.class == largeClass {
		return p.data
	}
	size := uint32(blockSizes[p.class])
	return p.data[uint32(slot)*size:][:size:size]
}

func (a *arena) page(number uint32) *page {
	return &a.dir[number/pagesPerChunk][number%pagesPerChunk]
}

// newPage makes a page and puts it on its class's list. It returns 0 if there
// are no more page numbers.
func (a *arena) newPage(class uint8, n int) uint32 {
	number := a.pageNumber()
	if number == 0 {
		return 0
	}
	p := a.page(number)
	*p = page{class: class, blocks: 1}
	if class == largeClass {
		p.data = make([]byte, n)
	} else {
		a.fillPage(p)
		a.link(number)
	}
	a.reserved += int64(len(p.data))
	return number
}

// fillPage gives a page its memory. A class doubles with each page until that
// is a page of the pool, so that a shard with few sessions takes little.
func (a *arena) fillPage(p *page) {
	size := uint32(blockSizes[p.class])
	blocks := max(a.blocks[p.class], minBlocks)
	if limit := min(pageSize/size, maxBlocks); blocks < limit {
		p.data = make([]byte, blocks*size)
	} else {
		blocks = limit
		m := a.pool.take()
		p.poolPage, p.data = m.number, m.data
	}
	p.blocks = uint16(blocks)
	a.blocks[p.class] += blocks
}

// pageNumber returns the number of a released page or else of a new one.
func (a *arena) pageNumber() uint32 {
	if number := a.released; number != 0 {
		a.released = a.page(number).next
		return number
	}
	if a.pages >= maxPages-1 {
		return 0
	}
	a.pages++ // from 1 on: page 0 is none
	if int(a.pages/pagesPerChunk) >= len(a.dir) {
		a.dir = append(a.dir, make([]page, pagesPerChunk))
	}
	return a.pages
}

// release gives a page's memory back. The page is in no list.
func (a *arena) release(number uint32) {
	p := a.page(number)
	a.reserved -= int64(len(p.data))
	if p.class < largeClass {
		a.blocks[p.class] -= uint32(p.blocks)
	}
	if p.poolPage != 0 {
		a.pool.give(p.poolPage)
	}
	*p = page{next: a.released}
	a.released = number
}

// link puts a page at the head of its class's list.
func (a *arena) link(number uint32) {
	p := a.page(number)
	head := &a.partial[p.class]
	if p.prev, p.next = 0, *head; *head != 0 {
		a.page(*head).prev = number
	}
	*head = number
}

// unlink takes a page off its class's list.
func (a *arena) unlink(number uint32) {
	p := a.page(number)
	if p.prev == 0 {
		a.partial[p.class] = p.next
	} else {
		a.page(p.prev).next = p.next
	}
	if p.next != 0 {
		a.page(p.next).prev = p.prev
	}
	p.next, p.prev = 0, 0
}
