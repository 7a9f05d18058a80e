package shard

import "unsafe"

// deadline is nanoseconds since the store's start, on the monotonic clock.
type deadline = int64

// entry is a session's place in the order of deadlines. It has 16 bytes, so that
// the four children of an entry are one cache line.
type entry struct {
	deadline deadline
	record   recordIndex
}

const entrySize = int64(unsafe.Sizeof(entry{}))

// deadlineHeap is a min-heap of deadlines, four children an entry, in which
// each record knows its entry's place.
//
// The first entry has place heapRoot, so that children begin at multiples of four.
type deadlineHeap struct {
	entries chunked[entry]
	n       uint32 // entries
	records *slab  // whose place fields the heap keeps
}

const heapRoot = 3

func firstChild(place uint32) uint32 { return 4 * (place - 2) }
func parent(place uint32) uint32     { return place/4 + 2 }

func (h *deadlineHeap) at(place uint32) *entry { return h.entries.at(place) }

// end is the place behind the last entry.
func (h *deadlineHeap) end() uint32 { return heapRoot + h.n }

// min returns the first entry; the heap must not be empty.
func (h *deadlineHeap) min() entry { return *h.at(heapRoot) }

// push adds an entry.
func (h *deadlineHeap) push(e entry) {
	place := h.end()
	h.entries.reserve(place)
	h.n++
	h.up(place, e)
}

// remove takes the entry at place away.
func (h *deadlineHeap) remove(place uint32) {
	h.n--
	last := *h.at(h.end())
	if place != h.end() {
		h.put(place, last)
	}
	h.entries.drop(h.end())
}

// update gives the entry at place another deadline.
func (h *deadlineHeap) update(place uint32, d deadline) {
	h.put(place, entry{deadline: d, record: h.at(place).record})
}

// put puts e in the place of another entry, and then where it belongs.
func (h *deadlineHeap) put(place uint32, e entry) {
	if e.deadline < h.at(place).deadline {
		h.up(place, e)
	} else {
		h.down(place, e)
	}
}

// up moves later entries down, from place on, until e fits.
func (h *deadlineHeap) up(place uint32, e entry) {
	for place > heapRoot {
		above := *h.at(parent(place))
		if above.deadline <= e.deadline {
			break
		}
		h.set(place, above)
		place = parent(place)
	}
	h.set(place, e)
}

// down moves earlier entries up, from place on, until e fits.
func (h *deadlineHeap) down(place uint32, e entry) {
	for end := h.end(); ; {
		child := firstChild(place)
		if child >= end {
			break
		}
		least := *h.at(child)
		for i, last := child+1, min(child+4, end); i < last; i++ {
			if next := *h.at(i); next.deadline < least.deadline {
				child, least = i, next
			}
		}
		if e.deadline <= least.deadline {
			break
		}
		h.set(place, least)
		place = child
	}
	h.set(place, e)
}

// set writes an entry and tells its record.
func (h *deadlineHeap) set(place uint32, e entry) {
	*h.at(place) = e
	h.records.at(e.record).place = place
}
