package shard

import "unsafe"

// entry is a session in the order of deadlines. It has 16 bytes, so that the four
// children of an entry are one cache line.
type entry struct {
	deadline timestamp
	record   recordIndex
}

const entrySize = int64(unsafe.Sizeof(entry{}))

// deadlineHeap is an indexed min-heap of deadlines, four children an entry: each
// record knows the heap index of its entry.
//
// The first entry has index heapRoot, so that children begin at multiples of four.
type deadlineHeap struct {
	entries chunked[entry]
	n       uint32 // entries
	records *slab  // whose heapIndex fields the heap keeps
}

const heapRoot = 3

func firstChild(i uint32) uint32 { return 4 * (i - 2) }
func parent(i uint32) uint32     { return i/4 + 2 }

func (h *deadlineHeap) at(i uint32) *entry { return h.entries.at(i) }

// end is the index behind the last entry.
func (h *deadlineHeap) end() uint32 { return heapRoot + h.n }

// min returns the first entry; the heap must not be empty.
func (h *deadlineHeap) min() entry { return *h.at(heapRoot) }

// reserve makes sure that there is room for one more entry. It returns false if
// there is none.
func (h *deadlineHeap) reserve() bool { return h.entries.reserve(h.end()) }

// push adds an entry, for which there must be room.
func (h *deadlineHeap) push(e entry) {
	i := h.end()
	h.n++
	h.up(i, e)
}

// remove takes the entry at i away.
func (h *deadlineHeap) remove(i uint32) {
	h.n--
	last := *h.at(h.end())
	if i != h.end() {
		h.put(i, last)
	}
	h.entries.drop(h.end())
}

// update gives the entry at i another deadline.
func (h *deadlineHeap) update(i uint32, deadline timestamp) {
	h.put(i, entry{deadline: deadline, record: h.at(i).record})
}

// put puts e where another entry was, at i, and then where it belongs.
func (h *deadlineHeap) put(i uint32, e entry) {
	if e.deadline < h.at(i).deadline {
		h.up(i, e)
	} else {
		h.down(i, e)
	}
}

// up moves later entries down, from i on, until e fits.
func (h *deadlineHeap) up(i uint32, e entry) {
	for i > heapRoot {
		above := *h.at(parent(i))
		if above.deadline <= e.deadline {
			break
		}
		h.set(i, above)
		i = parent(i)
	}
	h.set(i, e)
}

// down moves earlier entries up, from i on, until e fits.
func (h *deadlineHeap) down(i uint32, e entry) {
	for end := h.end(); ; {
		child := firstChild(i)
		if child >= end {
			break
		}
		least := *h.at(child)
		for c, last := child+1, min(child+4, end); c < last; c++ {
			if next := *h.at(c); next.deadline < least.deadline {
				child, least = c, next
			}
		}
		if e.deadline <= least.deadline {
			break
		}
		h.set(i, least)
		i = child
	}
	h.set(i, e)
}

// set writes an entry and tells its record.
func (h *deadlineHeap) set(i uint32, e entry) {
	*h.at(i) = e
	h.records.at(e.record).heapIndex = i
}
