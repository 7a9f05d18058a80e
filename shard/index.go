package shard

// index is a Go map that becomes smaller again. Once it has room for twice as many
// keys as it has, they are moved to a new map, some at a time. Meanwhile each key
// of the new map counts, whatever the old one has for it.
type index[K comparable, V any] struct {
	memory *memory
	m      map[K]V
	old    map[K]V // what is being moved from; nil for none
	n      int     // keys
	room   int     // keys that m has been made for, or the most that it has had
	next   uint32  // of what is indexed, the first that may not be in m yet

	// What the maps are estimated to take.
	bytes, oldBytes int64
}

func (x *index[K, V]) get(k K) (V, bool) {
	v, ok := x.m[k]
	if !ok && x.old != nil {
		v, ok = x.old[k]
	}
	return v, ok
}

// used returns what the keys use, of which each takes cost bytes at most, and no more
// than the maps are estimated to take.
func (x *index[K, V]) used(cost int64) int64 { return min(int64(x.n)*cost, x.bytes+x.oldBytes) }

// reserve makes sure that there is room for one more key. It returns false if
// there is none.
func (x *index[K, V]) reserve() bool {
	if x.n < x.room {
		return true
	}
	bytes := mapBytes[K, V](x.n + 1)
	if !x.memory.take(bytes - x.bytes) {
		return false
	}
	x.room, x.bytes = x.n+1, bytes
	return true
}

// add adds a key, for which there must be room.
func (x *index[K, V]) add(k K, v V) {
	if x.m == nil {
		x.m = make(map[K]V)
	}
	x.m[k] = v
	x.n++
}

// replace gives a key another value.
func (x *index[K, V]) replace(k K, v V) { x.m[k] = v }

func (x *index[K, V]) remove(k K) {
	delete(x.m, k)
	if x.old != nil {
		delete(x.old, k)
	}
	x.n--
}

// shrink begins to move the keys to a new map, if that would take about half at most
// and there is room for it. It says whether there are keys to be moved.
func (x *index[K, V]) shrink() bool {
	if x.old != nil {
		return true
	}
	bytes := mapBytes[K, V](x.n)
	if x.bytes <= indexSlack || 2*bytes > x.bytes+x.bytes/indexShare || !x.memory.take(bytes) {
		return false
	}
	x.old, x.oldBytes = x.m, x.bytes
	x.m, x.bytes, x.room = make(map[K]V), bytes, x.n
	x.next = 0
	return true
}

// An index may take indexSlack bytes however few its keys are. It begins to shrink
// an indexShare before half of it would do, while there is room for both maps.
const (
	indexSlack = 4 << 10
	indexShare = 16
)

// moveSome moves compactKeys keys at most to a smaller map, if that is worth it. keyOf
// returns the key of what is indexed at i, less than end, if it has one. It returns
// whether there are more.
func (x *index[K, V]) moveSome(end uint32, keyOf func(i uint32) (K, bool)) (more bool) {
	if !x.shrink() {
		return false
	}
	for range compactKeys {
		if x.next >= end {
			x.moved()
			return false
		}
		if k, ok := keyOf(x.next); ok {
			x.move(k)
		}
		x.next++
	}
	return true
}

// move moves a key to the new map, if it is not there.
func (x *index[K, V]) move(k K) {
	if _, ok := x.m[k]; !ok {
		x.m[k] = x.old[k]
	}
}

// moved ends the moving.
func (x *index[K, V]) moved() {
	x.memory.give(x.oldBytes)
	x.old, x.oldBytes = nil, 0
}
