package shard

import (
	"math/rand/v2"
	"slices"
	"testing"

	"tokenserver/internal/storetest"
)

// heapModel is a heap beside a plain list of the same deadlines.
type heapModel struct {
	t       *testing.T
	slab    slab
	heap    deadlineHeap
	records []recordIndex // in the heap
	want    map[recordIndex]timestamp
}

func newHeapModel(t *testing.T) *heapModel {
	memory := newMemory()
	m := &heapModel{t: t, want: make(map[recordIndex]timestamp)}
	m.slab.chunks.memory = memory
	m.heap.entries.memory = memory
	m.heap.records = &m.slab
	return m
}

func (m *heapModel) push(d timestamp) {
	m.slab.reserve()
	m.heap.reserve()
	i := m.slab.alloc()
	m.heap.push(entry{deadline: d, record: i})
	m.records, m.want[i] = append(m.records, i), d
}

func (m *heapModel) remove(at int) {
	i := m.records[at]
	m.heap.remove(m.slab.at(i).heapIndex)
	m.slab.release(i)
	delete(m.want, i)
	m.records = slices.Delete(m.records, at, at+1)
}

func (m *heapModel) update(at int, d timestamp) {
	i := m.records[at]
	m.heap.update(m.slab.at(i).heapIndex, d)
	m.want[i] = d
}

// check checks the whole heap.
func (m *heapModel) check() {
	m.t.Helper()
	checkHeap(m.t, &m.heap)
	if int(m.heap.n) != len(m.want) {
		m.t.Fatalf("heap has %d entries, want %d", m.heap.n, len(m.want))
	}
	for i, d := range m.want {
		if e := m.heap.at(m.slab.at(i).heapIndex); e.record != i || e.deadline != d {
			m.t.Fatalf("heap: record %d has the entry %+v, want deadline %d", i, *e, d)
		}
	}
	if m.t.Failed() {
		m.t.FailNow()
	}
}

func TestHeapRandom(t *testing.T) {
	rng := storetest.NewRand(storetest.Seed(t))
	m := newHeapModel(t)
	// Grows and shrinks a few times through more than a chunk.
	for _, target := range []int{50, 0, 200, 5, 5000, 10, 3000, 0} {
		for len(m.records) != target {
			m.step(rng, len(m.records) < target)
			if rng.IntN(1+len(m.records)) < 5 {
				m.check()
			}
		}
		m.check()
	}
}

// step does something at random; on the whole, the heap grows or shrinks.
func (m *heapModel) step(rng *rand.Rand, grow bool) {
	d := timestamp(rng.IntN(1000)) // many are the same
	n := rng.IntN(10)
	switch {
	case len(m.records) == 0, n < 6 && grow:
		m.push(d)
	case n < 6:
		m.remove(rng.IntN(len(m.records)))
	default:
		m.update(rng.IntN(len(m.records)), d)
	}
}

func TestHeapPopsInOrder(t *testing.T) {
	rng := storetest.NewRand(storetest.Seed(t))
	for _, n := range []int{1, 2, 4, 5, 6, 20, 21, 22, 5000} {
		m := newHeapModel(t)
		var want []timestamp
		for range n {
			d := timestamp(rng.Int64())
			m.push(d)
			want = append(want, d)
		}
		slices.Sort(want)
		var got []timestamp
		for m.heap.n > 0 {
			first := m.heap.min()
			got = append(got, first.deadline)
			m.heap.remove(heapRoot)
			m.slab.release(first.record)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d deadlines came back in another order", n)
		}
	}
}

// TestHeapRemoveMovesUp removes an entry whose successor, the last one, belongs
// further up.
func TestHeapRemoveMovesUp(t *testing.T) {
	m := newHeapModel(t)
	// The root, its children 100, 1, 1, 1, the children of 100, and those of a 1.
	for _, d := range []timestamp{0, 100, 1, 1, 1, 101, 102, 103, 104, 2} {
		m.push(d)
	}
	m.remove(5) // 101: 2 takes its place and goes above 100
	m.check()
	if got := m.heap.at(firstChild(heapRoot)).deadline; got != 2 {
		t.Errorf("first child of the root = %d, want 2", got)
	}
}

func TestHeapIndexes(t *testing.T) {
	if firstChild(heapRoot)%4 != 0 {
		t.Errorf("first child of the root at index %d, want a multiple of four", firstChild(heapRoot))
	}
	next := uint32(heapRoot + 1)
	for at := uint32(heapRoot); at < 10_000; at++ {
		for i := range uint32(4) {
			if child := firstChild(at) + i; child != next || parent(child) != at {
				t.Fatalf("child %d of %d is %d, whose parent is %d, want %d", i, at, child, parent(child), next)
			}
			next++
		}
	}
}
