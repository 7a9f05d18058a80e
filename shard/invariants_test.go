package shard

import (
	"bytes"
	"encoding/binary"
	"testing"

	"tokenserver/internal/metadata"
	"tokenserver/internal/stats"
)

// checkStore checks all that must hold of a store while no call is under way;
// its purge may be.
func checkStore(t testing.TB, s *Store) {
	t.Helper()
	checkRestored(t, s, 0)
}

// checkRestored is checkStore for a store with sessions that were restored.
func checkRestored(t testing.TB, s *Store, restored int) {
	t.Helper()
	for i := range s.shards {
		s.shards[i].mu.Lock()
		defer s.shards[i].mu.Unlock()
	}
	var sessions, reserved int64
	var c stats.Counters
	for i := range s.shards {
		sh := &s.shards[i]
		checkShard(t, sh)
		for id := range sh.sessions.m {
			if s.shard(id) != sh {
				t.Errorf("shard %d has a session of another shard", i)
			}
		}
		for subject := range sh.subjects.m {
			if s.shardOf(subject) != sh {
				t.Errorf("shard %d has a subject of another shard", i)
			}
		}
		if sh.heap.n > 0 && int64(sh.heap.min().deadline) < s.purge.earliest.Load() {
			t.Errorf("shard %d: a session expires at %d, earliest is %d", i, sh.heap.min().deadline, s.purge.earliest.Load())
		}
		sessions += int64(sh.heap.n)
		reserved += sh.memory.reserved
		c = sumOf(c, sh.counters)
	}
	if ended := c.Deleted + c.Purged + c.Revoked + c.Ended; uint64(restored)+c.Created-ended != uint64(sessions) {
		t.Errorf("%d sessions, %d restored, counters are %+v", sessions, restored, c)
	}
	checkPages(t, s)
	checkQuota(t, "sessions", &s.budget.sessions, sessions, restored > 0)
	checkQuota(t, "bytes", &s.budget.bytes, reserved, restored > 0)
	if t.Failed() {
		t.FailNow()
	}
}

func sumOf(a, b stats.Counters) stats.Counters {
	sum := stats.Store{Counters: a}
	sum.Add(stats.Store{Counters: b})
	return sum.Counters
}

// checkPages checks that each page of the pool is free or has one owner.
func checkPages(t testing.TB, s *Store) {
	t.Helper()
	pool := &s.pool
	pool.mu.Lock()
	defer pool.mu.Unlock()
	owners := make([]int, len(pool.regions)*pagesPerRegion+1)
	for i, r := range pool.regions {
		if r.idle&^r.free != 0 || r.released&^r.idle != 0 || i < pool.first && r.free != 0 || r.data == nil && r.free != 0 {
			t.Errorf("pool: region %d: free %x, idle %x, released %x, first is %d", i, r.free, r.idle, r.released, pool.first)
		}
		for page := range pagesPerRegion {
			if r.data == nil || r.free>>page&1 != 0 {
				owners[i*pagesPerRegion+page+1]++
			}
		}
	}
	for i := range s.shards {
		for _, number := range ownedPages(&s.shards[i]) {
			owners[number]++
		}
	}
	for number, n := range owners[1:] {
		if n != 1 {
			t.Errorf("pool: page %d of %d has %d owners", number+1, len(owners)-1, n)
		}
	}
}

// ownedPages returns the numbers of the pages that a shard has of the pool.
func ownedPages(sh *shard) (numbers []uint32) {
	add := func(number uint32) {
		if number != 0 {
			numbers = append(numbers, number)
		}
	}
	for _, number := range sh.records.chunks.pages {
		add(number)
	}
	for _, number := range sh.heap.entries.pages {
		add(number)
	}
	for _, number := range sh.policies.chunks.pages {
		add(number)
	}
	for number := uint32(1); number <= sh.meta.pages; number++ {
		add(sh.meta.page(number).poolPage)
	}
	return numbers
}

func checkQuota(t testing.TB, name string, q *quota, held int64, mayExceed bool) {
	t.Helper()
	want := held
	if q.limit == 0 {
		want = 0
	}
	if got := q.taken.Load(); got != want || q.limit > 0 && got > q.limit && !mayExceed {
		t.Errorf("budget of %s: %d taken of %d, and the shards hold %d", name, got, q.limit, held)
	}
}

func checkShard(t testing.TB, sh *shard) {
	t.Helper()
	live := checkRecords(t, sh)
	if sh.sessions.n != len(live) || int(sh.heap.n) != len(live) {
		t.Errorf("%d records in use, %d in the map, %d in the heap", len(live), sh.sessions.n, sh.heap.n)
	}
	checkIndex(t, "ids", &sh.sessions)
	checkIndex(t, "subjects", &sh.subjects)
	checkReserved(t, sh)
	blocks := make(map[blockRef]int)
	for _, i := range live {
		r := sh.records.at(i)
		if j, ok := sh.sessions.get(r.id); !ok || j != i {
			t.Errorf("record %d: the map has %d, %v", i, j, ok)
		}
		if r.heapIndex < heapRoot || r.heapIndex >= sh.heap.end() || sh.heap.at(r.heapIndex).record != i {
			t.Errorf("record %d: its heap index %d is not its own", i, r.heapIndex)
		}
		if _, taken := blocks[r.block]; taken {
			t.Errorf("record %d shares a block", i)
		}
		if got := owner(sh.meta.block(r.block)); got != i {
			t.Errorf("record %d: its block says that it is of record %d", i, got)
		}
		meta, e := sh.contentLocked(r)
		blocks[r.block] = blockLen(len(meta), e != 0)
	}
	checkHeap(t, &sh.heap)
	checkPolicies(t, sh, live)
	if checkArena(t, &sh.meta, blocks); t.Failed() {
		t.FailNow()
	}
	for _, i := range live {
		if meta, _ := sh.contentLocked(sh.records.at(i)); !isMetadata(meta) {
			t.Errorf("record %d: metadata is %.100q", i, meta)
		}
	}
}

// checkIndex checks that each key has its place in the maps and in the estimate.
func checkIndex[K comparable, V any](t testing.TB, name string, x *index[K, V]) {
	t.Helper()
	keys := len(x.m)
	for k := range x.old {
		if _, ok := x.m[k]; !ok {
			keys++
		}
	}
	if keys != x.n || x.n > x.room || x.bytes < mapBytes[K, V](x.room) || (x.old == nil) != (x.oldBytes == 0) {
		t.Errorf("index of %s: %d keys, %d counted, room for %d; %d bytes, and %d of an old map: %v",
			name, keys, x.n, x.room, x.bytes, x.oldBytes, x.old != nil)
	}
}

// checkReserved checks that a shard has reserved what it holds, and no more than
// it may.
func checkReserved(t testing.TB, sh *shard) {
	t.Helper()
	got := sh.sessions.bytes + sh.sessions.oldBytes + sh.subjects.bytes + sh.subjects.oldBytes
	got += sh.records.chunks.reserved() + sh.heap.entries.reserved() + sh.policies.chunks.reserved()
	for number := uint32(1); number <= sh.meta.pages; number++ {
		got += int64(len(sh.meta.page(number).data))
	}
	if got != sh.memory.reserved {
		t.Errorf("%d bytes are held, and %d reserved", got, sh.memory.reserved)
	}
	used := sh.bytesLocked()
	if limit := used + used/4 + 1<<20; got > limit && sh.listings.Load() == 0 {
		t.Errorf("%d bytes reserved for %d, want at most %d", got, used, limit)
	}
}

// isMetadata says whether a text is a compact JSON object that has each name once.
func isMetadata(text []byte) bool {
	var s metadata.Scanner
	compact, err := s.Scan(bytes.Clone(text))
	if err != nil || len(compact) != len(text) || text[0] != '{' {
		return false
	}
	var o metadata.Object
	o.Split(text)
	return o.Len() == len(text)
}

func TestIsMetadata(t *testing.T) {
	for text, want := range map[string]bool{
		`{}`: true, `{"a":1,"b":{"a":1}}`: true,
		`{"a":1,"a":2}`: false, `{"a":1,"\u0061":2}`: false, `{"a": 1}`: false, `["a"]`: false, `{"a":1`: false,
	} {
		if got := isMetadata([]byte(text)); got != want {
			t.Errorf("isMetadata(%s) = %v, want %v", text, got, want)
		}
	}
}

// checkRecords checks the slab's free list and returns the records in use.
func checkRecords(t testing.TB, sh *shard) (live []recordIndex) {
	t.Helper()
	s := &sh.records
	free := make(map[recordIndex]bool)
	prev := uint32(0)
	for next := s.free; next != 0; next = uint32(s.at(recordIndex(next - 1)).block) {
		i := recordIndex(next - 1)
		if uint32(i) >= s.n || free[i] {
			t.Fatalf("free list of records: record %d of %d, seen before: %v", i, s.n, free[i])
		}
		free[i] = true
		want := record{block: s.at(i).block}
		if want.setPrev(prev); *s.at(i) != want {
			t.Errorf("free record %d is not wiped, or not linked to %d: %+v", i, prev, *s.at(i))
		}
		prev = next
	}
	if int(s.frees) != len(free) {
		t.Errorf("%d records in the free list, frees is %d", len(free), s.frees)
	}
	for i := recordIndex(0); uint32(i) < s.n; i++ {
		switch {
		case free[i]:
		case s.at(i).heapIndex == 0:
			t.Errorf("record %d is neither in use nor in the free list", i)
		default:
			live = append(live, i)
		}
	}
	return live
}

// checkHeap checks the order of the heap, and that its records know their indexes.
func checkHeap(t testing.TB, h *deadlineHeap) {
	t.Helper()
	for i := uint32(heapRoot); i < h.end(); i++ {
		e := *h.at(i)
		if i > heapRoot && h.at(parent(i)).deadline > e.deadline {
			t.Errorf("heap: %d at index %d, under %d", e.deadline, i, h.at(parent(i)).deadline)
		}
		if got := h.records.at(e.record).heapIndex; got != i {
			t.Errorf("heap: record %d is at index %d and says %d", e.record, i, got)
		}
	}
	// A whole chunk and half of one are kept for more, no more.
	chunk := int(h.entries.chunkLen())
	if room := h.entries.len(); room > chunk && room-int(h.end()) >= chunk+chunk/2 {
		t.Errorf("heap: room for %d, %d needed", room, h.end())
	}
}

// checkArena checks an arena of which the given blocks are in use, each with its
// size in bytes.
func checkArena(t testing.TB, a *arena, blocks map[blockRef]int) {
	t.Helper()
	used := make(map[uint32]map[uint16]bool) // slots in use by page
	var usedBytes int64
	for ref, n := range blocks {
		number, slot := uint32(ref)>>slotBits, uint16(ref&maxBlocks)
		if number == 0 || number > a.pages {
			t.Fatalf("arena: block %d is in page %d of %d", ref, number, a.pages)
		}
		if used[number] == nil {
			used[number] = make(map[uint16]bool)
		}
		used[number][slot] = true
		p := a.page(number)
		usedBytes += int64(len(a.block(ref)))
		// A block may be larger than it need be where there was no room for another one.
		limited := a.memory.quota.limit != 0
		if size := len(a.block(ref)); size < blockSize(n) || size > blockSize(n) && !limited {
			t.Errorf("arena: block of %d bytes in a page of class %d with %d bytes", n, p.class, len(p.data))
		}
	}
	released := releasedPages(t, a)
	partial := partialPages(t, a)
	var classBlocks, classUsed [largeClass]uint32
	var empty [largeClass]int
	for number := uint32(1); number <= a.pages; number++ {
		if released[number] {
			if used[number] != nil || partial[number] {
				t.Errorf("arena: released page %d is in use", number)
			}
			continue
		}
		p := a.page(number)
		checkPage(t, a, number, used[number])
		if p.class == largeClass {
			continue
		}
		classBlocks[p.class] += uint32(p.blocks)
		classUsed[p.class] += uint32(p.used)
		if p.used == 0 {
			empty[p.class]++
		}
		if got, want := partial[number], p.used < p.blocks && number != a.emptying; got != want {
			t.Errorf("arena: page %d, %d of %d blocks used: in the list of partial pages: %v", number, p.used, p.blocks, got)
		}
	}
	if a.used != usedBytes {
		t.Errorf("arena: used %d, want %d", a.used, usedBytes)
	}
	for class, c := range a.classes {
		if c.blocks != classBlocks[class] || c.used != classUsed[class] {
			t.Errorf("arena: class %d has %d blocks, %d used, want %d, %d", class, c.blocks, c.used, classBlocks[class], classUsed[class])
		}
	}
	for class, n := range empty {
		if n > 1 {
			t.Errorf("arena: %d empty pages of class %d", n, class)
		}
	}
}

// checkPage checks a page of which the given slots are in use.
func checkPage(t testing.TB, a *arena, number uint32, used map[uint16]bool) {
	t.Helper()
	p := a.page(number)
	if int(p.used) != len(used) {
		t.Errorf("arena: page %d: used %d, want %d", number, p.used, len(used))
	}
	if p.class == largeClass {
		if len(used) != 1 || !used[0] {
			t.Errorf("arena: large page %d has %d blocks in use", number, len(used))
		}
		return
	}
	if rest := len(p.data) - int(p.blocks)*int(blockSizes[p.class]); rest < 0 || 16*rest >= len(p.data) {
		t.Errorf("arena: page %d of class %d: %d bytes for %d blocks", number, p.class, len(p.data), p.blocks)
	}
	seen := make(map[uint16]bool)
	for next := p.free; next != 0; {
		slot := next - 1
		if slot >= p.fresh || seen[slot] || used[slot] {
			t.Fatalf("arena: page %d: free list has slot %d: fresh %d, seen before: %v, in use: %v",
				number, slot, p.fresh, seen[slot], used[slot])
		}
		seen[slot] = true
		b := p.block(slot)
		next = binary.LittleEndian.Uint16(b)
		if binary.LittleEndian.Uint32(b) < freeBlock {
			t.Errorf("arena: page %d: free block %d looks like one in use", number, slot)
		}
	}
	for slot := range used {
		if slot >= p.fresh {
			t.Errorf("arena: page %d: slot %d in use, fresh %d", number, slot, p.fresh)
		}
	}
	if len(seen)+len(used) != int(p.fresh) || p.fresh > p.blocks {
		t.Errorf("arena: page %d: %d free and %d used blocks, fresh %d of %d", number, len(seen), len(used), p.fresh, p.blocks)
	}
}

// releasedPages returns the numbers that wait for another page.
func releasedPages(t testing.TB, a *arena) map[uint32]bool {
	t.Helper()
	released := make(map[uint32]bool)
	for number := a.released; number != 0; number = a.page(number).next {
		if released[number] || number > a.pages {
			t.Fatalf("arena: list of released pages: page %d of %d, seen before: %v", number, a.pages, released[number])
		}
		released[number] = true
		p := *a.page(number)
		if p.data != nil || p.used != 0 || p.free != 0 || p.fresh != 0 || p.blocks != 0 {
			t.Errorf("arena: released page %d is not wiped", number)
		}
	}
	return released
}

// partialPages returns the pages in the lists of pages with free blocks.
func partialPages(t testing.TB, a *arena) map[uint32]bool {
	t.Helper()
	partial := make(map[uint32]bool)
	for class := range a.classes {
		for fullness, number := range a.classes[class].partial {
			prev := uint32(0)
			for ; number != 0; number = a.page(number).next {
				p := a.page(number)
				if partial[number] || int(p.class) != class || p.fullness() != fullness || p.prev != prev {
					t.Fatalf("arena: list of class %d, fullness %d: page %d of class %d, fullness %d, prev %d, want %d, seen before: %v",
						class, fullness, number, p.class, p.fullness(), p.prev, prev, partial[number])
				}
				partial[number] = true
				prev = number
			}
		}
	}
	return partial
}
