package shard

import (
	"math/bits"
	"unsafe"
)

// How Go's maps grow: groups of slots with a word of control, in tables that
// double until they have tableSlots. Beyond that a map has tables under a
// directory, and each is split in two when seven eighths of it are used. Keys are
// spread at random, so that the tables of a map that only grows are split when they
// have from splitFrom to splitTo keys on average, and there are twice as many then.
const (
	groupSlots    = 8
	tableSlots    = 1024
	tableMaxKeys  = tableSlots * 7 / 8
	splitFrom     = 800
	splitTo       = 900
	mapHeader     = 48
	tableHeader   = 32 + 8 // and its place in the directory
	tableRoundsUp = 256    // to a size of Go's allocator
)

// mapBytes estimates what a map takes that has had at most n keys. A map whose
// keys have come and gone for long may have split a table more here and there.
func mapBytes[K comparable, V any](n int) int64 {
	var slot struct {
		k K
		v V
	}
	group := 8 + groupSlots*int(unsafe.Sizeof(slot))
	table := tableHeader + tableSlots/groupSlots*group + tableRoundsUp
	switch {
	case n == 0:
		return 0
	case n <= groupSlots:
		return int64(mapHeader + group)
	case n <= tableMaxKeys:
		slots := 1 << bits.Len(uint(8*n-1)/7)
		return int64(mapHeader + tableHeader + slots/groupSlots*group)
	}
	tables := 1
	for n >= splitTo*tables {
		tables *= 2
	}
	split := max(0, n-splitFrom*tables) / (splitTo - splitFrom)
	return int64(mapHeader + (tables+split)*table)
}
