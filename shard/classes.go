package shard

import "math/bits"

// Size classes of blocks. Those up to fineMax bytes come in steps of 4 bytes,
// larger ones in eight steps a power of two. Beyond sharedMax that would leave a
// page an unusable tail of a tenth, so that there the pages are cut into equal
// parts. From largeMin on each block is a page of its own, as long as what it holds.
const (
	fineMax     = 128
	fineStep    = 4
	leastBlock  = 16
	fineClasses = (fineMax-leastBlock)/fineStep + 1
	sharedMax   = 4 << 10
	largeMin    = 8 << 10
	sharedClass = fineClasses + 8*5
	largeClass  = sharedClass + 8 // of blocks over largeMin, and the number of other classes
)

// Of these parts a page may have one to each block over sharedMax.
const (
	mostParts  = pageSize/sharedMax - 1
	leastParts = pageSize / largeMin
)

// classOf returns the class of the blocks for n bytes, n > 0.
func classOf(n int) uint8 {
	switch {
	case n <= leastBlock:
		return 0
	case n <= fineMax:
		return uint8((n - leastBlock + fineStep - 1) / fineStep)
	case n > largeMin:
		return largeClass
	case n > sharedMax:
		return classOfPart(n)
	}
	exp := bits.Len(uint(n-1)) - 1 // 2^exp < n <= 2^(exp+1)
	step := (n - 1 - 1<<exp) >> (exp - 3)
	return uint8(fineClasses + (exp-7)*8 + step)
}

// classOfPart returns the class of the blocks for n bytes, sharedMax < n <= largeMin.
func classOfPart(n int) uint8 {
	parts := pageSize / n
	if partSize(parts) < n { // rounded down
		parts--
	}
	return uint8(sharedClass + mostParts - min(parts, mostParts))
}

// partSize returns the size of a block of which a page has so many.
func partSize(parts int) int { return pageSize / parts / fineStep * fineStep }

// blockSizes has the size of each class's blocks.
var blockSizes = func() (sizes [largeClass]uint16) {
	for c := range sizes {
		switch {
		case c < fineClasses:
			sizes[c] = uint16(leastBlock + c*fineStep)
		case c < sharedClass:
			exp, step := 7+(c-fineClasses)/8, (c-fineClasses)%8
			sizes[c] = uint16(1<<exp + (step+1)<<(exp-3))
		default:
			sizes[c] = uint16(partSize(mostParts - (c - sharedClass)))
		}
	}
	return sizes
}()

var _ = [1]struct{}{}[mostParts-leastParts-(largeClass-1-sharedClass)]

// blockSize returns how many bytes a block for n bytes takes.
func blockSize(n int) int {
	if class := classOf(n); class < largeClass {
		return int(blockSizes[class])
	}
	return n
}

// classSet is a set of classes.
type classSet [largeClass/64 + 1]uint64

func (s *classSet) add(class uint8)    { s[class/64] |= 1 << (class % 64) }
func (s *classSet) remove(class uint8) { s[class/64] &^= 1 << (class % 64) }

func (s *classSet) addAll() {
	for class := range uint8(largeClass) {
		s.add(class)
	}
}

// first returns the first class of the set, or false if there is none.
func (s *classSet) first() (class uint8, ok bool) {
	for i, classes := range s {
		if classes != 0 {
			return uint8(64*i + bits.TrailingZeros64(classes)), true
		}
	}
	return 0, false
}
