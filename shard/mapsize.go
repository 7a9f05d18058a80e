package shard

import (
	"math/bits"
	"unsafe"
)

// How Go's maps grow: groups of slots with a word of control, in tables that
// double until they have tableSlots. Beyond that a map has tables under a directory,
// and each is split in two when seven eighths of its slots have a key or are marked
// as deleted. In a map whose keys come and go that is so when there are splitFrom to
// splitTo keys a table on average; one that only grows comes further.
const (
	groupSlots    = 8
	tableSlots    = 1024
	splitFrom     = 640
	splitTo       = 700
	mapHeader     = 48
	tableHeader   = 32 + 8 // and its place in the directory
	tableRoundsUp = 256    // to a size of Go's allocator
)

// mapBytes estimates what a map takes that has had at most n keys, which have come
// and gone for long. One that has only grown takes half of it at least.
func mapBytes[K comparable, V any](n int) int64 {
	var slot struct {
		k K
		v V
	}
	group := 8 + groupSlots*int(unsafe.Sizeof(slot))
	switch {
	case n == 0:
		return 0
	case n <= groupSlots:
		return int64(mapHeader + group)
	case n <= splitFrom:
		slots := 1 << bits.Len(uint(n*tableSlots-1)/splitFrom)
		return int64(mapHeader + tableHeader + slots/groupSlots*group)
	}
	tables := 1
	for n >= splitTo*tables {
		tables *= 2
	}
	split := max(0, n-splitFrom*tables) / (splitTo - splitFrom)
	return int64(mapHeader + (tables+split)*(tableHeader+tableSlots/groupSlots*group+tableRoundsUp))
}
