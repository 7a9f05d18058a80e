package shard

import "encoding/binary"

// A class is sparse if more than a freeShare of what it uses is free, and more
// than freeSlack bytes or, where memory is short, a first page. Then the emptiest of
// its pages is emptied.
const (
	freeShare = 8
	freeSlack = 4 << 10
)

// isSparse says whether a class has too many free blocks.
func (a *arena) isSparse(class uint8) bool {
	c, size := &a.classes[class], int64(blockSizes[class])
	used, free := int64(c.used)*size, int64(c.blocks-c.used)*size
	slack := max(freeSlack, size)
	if a.tight {
		slack = size * int64(firstBlocks(uint32(size)))
	}
	return free > used/freeShare+slack
}

// pickSparse takes the emptiest page of a sparse class off its list, to be emptied.
// It returns false if no class is sparse.
func (a *arena) pickSparse() bool {
	for class, ok := a.sparse.first(); ok; class, ok = a.sparse.first() {
		for a.isSparse(class) || a.tight && a.hasEmpty(class) {
			number, fullness := a.emptiest(class)
			if number == 0 {
				break
			}
			a.unlink(number, fullness)
			if a.page(number).used > 0 {
				a.emptying, a.scanned = number, 0
				return true
			}
			a.release(number)
		}
		a.sparse.remove(class)
	}
	return false
}

// hasEmpty says whether a class has a page without blocks in use.
func (a *arena) hasEmpty(class uint8) bool {
	number, _ := a.emptiest(class)
	return number != 0 && a.page(number).used == 0
}

// emptiest returns a page of those of a class that have the fewest blocks in use,
// and its fullness, or 0.
func (a *arena) emptiest(class uint8) (number uint32, fullness int) {
	for f, number := range a.classes[class].partial {
		if number != 0 {
			return number, f
		}
	}
	return 0, 0
}

// stopEmptying puts the page that is being emptied back on its list.
func (a *arena) stopEmptying() (number uint32) {
	number, a.emptying = a.emptying, 0
	a.link(number, a.page(number).fullness())
	return number
}

// nextToMove returns the next block in use of the page that is being emptied. All
// before it have been moved, and none has been taken since.
func (a *arena) nextToMove() (blockRef, []byte) {
	p := a.page(a.emptying)
	for ; ; a.scanned++ {
		if b := p.block(a.scanned); binary.LittleEndian.Uint32(b) < freeBlock {
			return blockRef(a.emptying<<slotBits | uint32(a.scanned)), b
		}
	}
}

// makeWay returns a block for one of the page that is being emptied: of a page
// that is there already, or, where it has the last free blocks of its class, of a
// smaller one. It returns false if emptying the page would gain nothing.
func (a *arena) makeWay() (blockRef, bool) {
	p := a.page(a.emptying)
	for f := fullnesses - 1; f >= 0; f-- {
		if number := a.classes[p.class].partial[f]; number != 0 {
			return a.takeBlock(number), true
		}
	}
	blocks := p.used + p.used/freeShare + 1
	if blocks >= p.blocks {
		return 0, false
	}
	number := a.newPageOf(p.class, uint32(blocks))
	if number == 0 {
		return 0, false
	}
	return a.takeBlock(number), true
}
