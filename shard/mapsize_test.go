package shard

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"tokenserver/token"
)

// TestMapBytes compares the estimate with what maps take of the heap that have only
// grown: no less than a half, and no more.
func TestMapBytes(t *testing.T) {
	for _, n := range []int{1, 8, 9, 14, 15, 100, 600, 800, 896, 1000, 5000, 100_000, 400_000, 700_000, 850_000, 930_000} {
		copies := max(1, 20_000/n) // small maps are lost among what else there is
		checkMapBytes(t, fmt.Sprint(n, " ids"), copies, mapBytes[token.ID, recordIndex](n), func() any {
			m := make(map[token.ID]recordIndex)
			for i := range n {
				m[decoyID(i)] = 1
			}
			return m
		})
		checkMapBytes(t, fmt.Sprint(n, " subjects"), copies, mapBytes[Subject, policyIndex](n), func() any {
			m := make(map[Subject]policyIndex)
			for i := range n {
				var subject Subject
				binary.LittleEndian.PutUint64(subject[:], uint64(i))
				m[subject] = 1
			}
			return m
		})
	}
}

func checkMapBytes(t *testing.T, name string, copies int, estimate int64, fill func() any) {
	t.Helper()
	maps := make([]any, copies)
	before := heapBytes()
	for i := range maps {
		maps[i] = fill()
	}
	got := (heapBytes() - before) / int64(copies)
	if got > estimate+estimate/20+8 || 100*got < 45*estimate {
		t.Errorf("%s take %d bytes, estimated %d", name, got, estimate)
	}
	runtime.KeepAlive(maps)
}

// TestMapBytesOfOldMap has the ids of a map come and go: the estimate is what it
// takes then, at any load of its tables.
func TestMapBytesOfOldMap(t *testing.T) {
	const tables = 64
	for _, load := range []int{400, 500, 600, 730, 800} {
		n := load * tables
		before := heapBytes()
		x := index[token.ID, recordIndex]{memory: newMemory()}
		for i := range 10 * n {
			if i >= n {
				x.remove(decoyID(i - n))
			}
			x.reserve()
			x.add(decoyID(i), 1)
		}
		got := heapBytes() - before
		if t.Logf("%d keys: %d bytes, estimated %d", n, got, x.bytes); got > x.bytes*21/20 || got < x.bytes*9/10 {
			t.Errorf("a map of %d keys that come and go takes %d bytes, estimated %d", n, got, x.bytes)
		}
		runtime.KeepAlive(x)
	}
}

// TestIndexShrinks moves the keys of an index to a smaller map while keys come, go
// and change.
func TestIndexShrinks(t *testing.T) {
	x := index[token.ID, int]{memory: newMemory()}
	const n = 10_000
	add := func(i int) {
		x.reserve()
		x.add(decoyID(i), i)
	}
	for i := range n {
		add(i)
	}
	full := x.bytes
	if x.shrink() {
		t.Error("a full index shrinks")
	}
	for i := n / 4; i < n; i++ {
		x.remove(decoyID(i))
	}
	if !x.shrink() || x.oldBytes != full || x.memory.reserved != x.bytes+full {
		t.Fatalf("an index with a quarter of its keys does not shrink: %d bytes, %d reserved", x.bytes, x.memory.reserved)
	}
	for i := range n / 4 {
		if i == n/8 {
			x.replace(decoyID(n/4-1), -1) // not moved yet
			x.replace(decoyID(0), -2)
			x.remove(decoyID(n/4 - 2))
			add(n)
		}
		if i != n/4-2 {
			x.move(decoyID(i))
		}
	}
	x.moved()
	for i, want := range map[int]int{0: -2, 1: 1, n/4 - 3: n/4 - 3, n/4 - 1: -1, n: n} {
		if got, ok := x.get(decoyID(i)); !ok || got != want {
			t.Errorf("key %d = %d, %v, want %d", i, got, ok, want)
		}
	}
	if _, ok := x.get(decoyID(n/4 - 2)); ok || x.n != n/4 || len(x.m) != n/4 || 3*x.bytes > full || x.memory.reserved != x.bytes {
		t.Errorf("%d keys, %d in the map, %d bytes of %d, %d reserved; a removed one is there: %v", x.n, len(x.m), x.bytes, full, x.memory.reserved, ok)
	}
}
