package shard

import "encoding/binary"

// arena keeps byte strings in blocks of size classes, and blocks in pages of
// one class each. A freed block goes to its page's free list, and a page without
// used blocks back to where it came from, so that memory serves whatever size
// is wanted next. No block has a pointer to it or in it.
//
// The first four bytes of a block belong to its owner, who must set them to
// something less than freeBlock as soon as it has the block: they tell the blocks
// in use from the free ones when a page is emptied.
type arena struct {
	memory   *memory
	dir      [][]page // pages by number, pagesPerChunk a chunk; page 0 is none
	pages    uint32   // pages in dir, also the released ones
	released uint32   // first of the released pages, linked by next
	classes  [largeClass]sizeClass
	used     int64 // bytes in used blocks

	sparse   classSet // classes that may have too many free blocks
	emptying uint32   // the page that is being emptied, which is in no list; 0 for none
	scanned  uint16   // blocks of it that have been looked at
	tight    bool     // memory is short, and classes may have less free
}

// sizeClass is what an arena has of one class.
type sizeClass struct {
	partial [fullnesses]uint32 // first page with a free block, by fullness
	blocks  uint32             // in all its pages
	used    uint32             // of these
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
	fullnesses    = 4

	// freeBlock and more are the first four bytes of a free block, with its link.
	freeBlock = 0xFFFF0000
)

// alloc returns a block for n bytes, or false if there is no room for one more
// page, or no number.
func (a *arena) alloc(n int) (blockRef, bool) {
	class := classOf(n)
	number := uint32(0)
	if class < largeClass {
		number = a.fullest(class)
	}
	if number == 0 {
		if number = a.newPage(class, n); number == 0 {
			return 0, false
		}
	}
	a.used += int64(blockSize(n))
	return a.takeBlock(number), true
}

// takeBlock takes a free block of a page.
func (a *arena) takeBlock(number uint32) blockRef {
	p := a.page(number)
	before := p.fullness()
	p.used++
	slot := p.fresh
	if p.free != 0 {
		slot = p.free - 1
		p.free = binary.LittleEndian.Uint16(p.block(slot))
	} else {
		p.fresh++
	}
	if p.class < largeClass {
		a.classes[p.class].used++
		a.relink(number, before)
	}
	return blockRef(number<<slotBits | uint32(slot))
}

// free gives back a block.
func (a *arena) free(ref blockRef) {
	a.used -= int64(len(a.block(ref)))
	a.giveBlock(ref)
}

// giveBlock makes a block free, and its page too if it was the last one.
func (a *arena) giveBlock(ref blockRef) {
	number, slot := uint32(ref)>>slotBits, uint16(ref&maxBlocks)
	p := a.page(number)
	if p.class == largeClass {
		a.release(number)
		return
	}
	before := p.fullness()
	p.used--
	a.classes[p.class].used--
	binary.LittleEndian.PutUint32(p.block(slot), freeBlock|uint32(p.free))
	p.free = slot + 1
	if a.isSparse(p.class) {
		a.sparse.add(p.class)
	}
	if number == a.emptying {
		if p.used == 0 {
			a.emptying = 0
			a.release(number)
		}
		return
	}
	a.relink(number, before)
	// The last page with free blocks stays, unless it is large enough to be emptied:
	// a session that comes and goes must not cost a page each time.
	if c := &a.classes[p.class]; p.used == 0 && c.blocks-c.used > uint32(p.blocks) {
		a.unlink(number, p.fullness())
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
