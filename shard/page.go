package shard

import "math/bits"

// A class grows by a pageShare of what it has, so that a new page leaves no more
// than that free, until it grows by whole pages of the pool. Its first pages have
// minBlocks, or one block if that is more than minPage bytes.
const (
	pageShare = 8
	minBlocks = 4
	minPage   = 1 << 10
	// A page with a tail has at least so many blocks: the tail is less than one.
	tailBlocks = 16
)

// firstBlocks returns how many blocks the first pages of a class have.
func firstBlocks(size uint32) uint32 { return min(max(minPage/size, 1), minBlocks) }

// newPage makes a page and puts it on its class's list. It returns 0 if there is
// no room or there are no more page numbers.
func (a *arena) newPage(class uint8, n int) uint32 {
	if class == largeClass {
		return a.addPage(page{class: class, blocks: 1}, int64(n))
	}
	first := firstBlocks(uint32(blockSizes[class]))
	for _, blocks := range [...]uint32{max(a.classes[class].blocks/pageShare, first), first, 1} {
		if number := a.newPageOf(class, blocks); number != 0 {
			return number // if it is none of the first size, what is left sufficed for no more
		}
	}
	return 0
}

// newPageOf is newPage for so many blocks, or as many as a page of the pool has.
func (a *arena) newPageOf(class uint8, blocks uint32) uint32 {
	size := uint32(blockSizes[class])
	limit := min(pageSize/size, maxBlocks)
	bytes := blocks * size
	switch {
	case blocks >= limit:
		blocks, bytes = limit, pageSize
	case blocks >= tailBlocks: // what Go allocates is no larger then
		bytes = max(1<<(bits.Len32(bytes)-1), tailBlocks*size)
		blocks = bytes / size
	}
	number := a.addPage(page{class: class, blocks: uint16(blocks)}, int64(bytes))
	if number != 0 {
		a.classes[class].blocks += blocks
		a.link(number, 0)
	}
	return number
}

// addPage gives a page its memory and a number. It returns 0 if there is no room
// or no number.
func (a *arena) addPage(p page, bytes int64) uint32 {
	if a.released == 0 && a.pages >= maxPages-1 {
		return 0
	}
	if bytes == pageSize && p.class < largeClass {
		m, ok := a.memory.takePage(0)
		if !ok {
			return 0
		}
		p.poolPage, p.data = m.number, m.data
	} else {
		if !a.memory.take(bytes) {
			return 0
		}
		p.data = make([]byte, bytes)
	}
	number := a.pageNumber()
	*a.page(number) = p
	return number
}

// pageNumber returns the number of a released page or else of a new one.
func (a *arena) pageNumber() uint32 {
	if number := a.released; number != 0 {
		a.released = a.page(number).next
		return number
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
	if p.class < largeClass {
		a.classes[p.class].blocks -= uint32(p.blocks)
	}
	if p.poolPage != 0 {
		a.memory.givePage(p.poolPage)
	} else {
		a.memory.give(int64(len(p.data)))
	}
	*p = page{next: a.released}
	a.released = number
}

// fullness says how full a page is: it is less than fullnesses if a block is free.
func (p *page) fullness() int { return int(p.used) * fullnesses / int(p.blocks) }

// fullest returns a page with a free block, of the fullest that a class has, or 0.
func (a *arena) fullest(class uint8) uint32 {
	c := &a.classes[class]
	for f := fullnesses - 1; f >= 0; f-- {
		if c.partial[f] != 0 {
			return c.partial[f]
		}
	}
	if a.emptying != 0 && a.page(a.emptying).class == class && a.page(a.emptying).used < a.page(a.emptying).blocks {
		return a.stopEmptying()
	}
	return 0
}

// relink puts a page on the list where it belongs after its fullness has changed.
func (a *arena) relink(number uint32, before int) {
	after := a.page(number).fullness()
	if after == before {
		return
	}
	if before < fullnesses {
		a.unlink(number, before)
	}
	if after < fullnesses {
		a.link(number, after)
	}
}

// link puts a page at the head of a list of its class.
func (a *arena) link(number uint32, fullness int) {
	p := a.page(number)
	head := &a.classes[p.class].partial[fullness]
	if p.prev, p.next = 0, *head; *head != 0 {
		a.page(*head).prev = number
	}
	*head = number
}

// unlink takes a page off a list of its class.
func (a *arena) unlink(number uint32, fullness int) {
	p := a.page(number)
	if p.prev == 0 {
		a.classes[p.class].partial[fullness] = p.next
	} else {
		a.page(p.prev).next = p.next
	}
	if p.next != 0 {
		a.page(p.next).prev = p.prev
	}
	p.next, p.prev = 0, 0
}
