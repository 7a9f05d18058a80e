package token

import (
	"bytes"
	"hash/maphash"

	"github.com/goccy/go-json"
)

// Members is a metadata object split into its members, each name once. It is
// what metadata is merged with.
//
// Names are the same if they are so once unescaped. A member keeps the place
// and spelling of its first appearance and takes the value of its last.
//
// The zero value is an empty object. A Members is reused to save allocations,
// never by two goroutines at once.
type Members struct {
	list []member
	// index finds members by name once there are more than linearMembers: a
	// hash table with open addressing of places in list, counted from 1.
	index []uint32
	// merged has a mark for each place in list that the merge under way has met.
	merged []bool
}

// member refers to the object that it was split from.
type member struct {
	name  []byte // as it is written, in quotes
	key   []byte // the name itself
	hash  uint64 // of key, where there is an index
	value []byte
}

// linearMembers is up to how many members are searched one by one.
const linearMembers = 8

// seed is fresh in each process, so that no client can choose names that collide.
var seed = maphash.MakeSeed()

// Split takes the members of object, which is a compact JSON object as Scanner
// leaves it and must stay as it is while m is used.
func (m *Members) Split(object []byte) {
	m.list = m.list[:0]
	m.index = m.index[:0]
	for rest := object[1:]; rest[0] != '}'; {
		var next member
		next, rest = cutMember(rest)
		m.add(next)
	}
}

// add takes a member in, or its value if its name is known.
func (m *Members) add(next member) {
	if len(m.list) == linearMembers && len(m.index) == 0 {
		m.grow(8 * linearMembers)
	}
	if i := m.find(&next); i >= 0 {
		m.list[i].value = next.value
		return
	}
	m.list = append(m.list, next)
	if len(m.index) == 0 {
		return
	}
	if 2*len(m.list) > len(m.index) {
		m.grow(4 * len(m.index))
		return
	}
	*m.slot(&next) = uint32(len(m.list))
}

// grow makes an index of the given size, a power of two, for the whole list.
func (m *Members) grow(size int) {
	if cap(m.index) < size {
		m.index = make([]uint32, size)
	}
	m.index = m.index[:size]
	clear(m.index)
	for i := range m.list {
		m.list[i].hash = maphash.Bytes(seed, m.list[i].key)
		*m.slot(&m.list[i]) = uint32(i + 1)
	}
}

// find returns the place in list of the member with the name of next, or -1.
// Where there is an index, it sets next.hash.
func (m *Members) find(next *member) int {
	if len(m.index) > 0 {
		next.hash = maphash.Bytes(seed, next.key)
		return int(*m.slot(next)) - 1
	}
	for i := range m.list {
		if bytes.Equal(m.list[i].key, next.key) {
			return i
		}
	}
	return -1
}

// slot returns the place in the index where the member with the name of next is,
// or where it belongs. At least half of the index is free, so there is one.
func (m *Members) slot(next *member) *uint32 {
	mask := uint64(len(m.index) - 1)
	for h := next.hash & mask; ; h = (h + 1) & mask {
		at := m.index[h]
		if at == 0 {
			return &m.index[h]
		}
		if known := &m.list[at-1]; known.hash == next.hash && bytes.Equal(known.key, next.key) {
			return &m.index[h]
		}
	}
}

// Len returns how many bytes Append appends.
func (m *Members) Len() int {
	n := max(len(m.list)-1, 0) + len("{}")
	for i := range m.list {
		n += len(m.list[i].name) + len(":") + len(m.list[i].value)
	}
	return n
}

// Append appends m as a compact object to dst.
func (m *Members) Append(dst []byte) []byte {
	dst = append(dst, '{')
	open := len(dst)
	for i := range m.list {
		dst = appendMember(dst, open, m.list[i].name, m.list[i].value)
	}
	return append(dst, '}')
}

// AppendMerged appends to dst the compact object that results from merging m
// over base: base's members in their places, with m's values where m has them,
// then the rest of m. base is an object that Append or AppendMerged made.
//
// It takes time linear in the sizes of both.
func (m *Members) AppendMerged(dst, base []byte) []byte {
	m.merged = append(m.merged[:0], make([]bool, len(m.list))...)
	dst = append(dst, '{')
	open := len(dst)
	for rest := base[1:]; rest[0] != '}'; {
		var old member
		old, rest = cutMember(rest)
		if i := m.find(&old); i >= 0 {
			m.merged[i] = true
			old.value = m.list[i].value
		}
		dst = appendMember(dst, open, old.name, old.value)
	}
	for i := range m.list {
		if !m.merged[i] {
			dst = appendMember(dst, open, m.list[i].name, m.list[i].value)
		}
	}
	return append(dst, '}')
}

// appendMember appends a member to the object whose members begin at open.
func appendMember(dst []byte, open int, name, value []byte) []byte {
	if len(dst) > open {
		dst = append(dst, ',')
	}
	dst = append(dst, name...)
	dst = append(dst, ':')
	return append(dst, value...)
}

// cutMember cuts the first member, and the comma behind it, off the rest of a
// compact object.
func cutMember(rest []byte) (member, []byte) {
	colon := stringLen(rest)
	end := colon + 1 + valueLen(rest[colon+1:])
	name := rest[:colon]
	m := member{name: name, key: Unquote(name), value: rest[colon+1 : end]}
	if rest[end] == ',' {
		end++
	}
	return m, rest[end:]
}

// valueLen returns the length of the value that b, a part of a checked and
// compact text, begins with.
func valueLen(b []byte) int {
	switch b[0] {
	case '"':
		return stringLen(b)
	case '{', '[':
		return nestedLen(b)
	}
	return bytes.IndexAny(b, ",}]")
}

func nestedLen(b []byte) int {
	for i, depth := 0, 0; ; {
		switch b[i] {
		case '"':
			i += stringLen(b[i:])
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		if i++; depth == 0 {
			return i
		}
	}
}

// stringLen returns the length of the string, with its quotes, that b begins with.
func stringLen(b []byte) int {
	for i := 1; ; i++ {
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
}

// Unquote returns what a JSON string stands for. quoted is a checked string in
// its quotes; without escapes in it, the result is a part of it.
func Unquote(quoted []byte) []byte {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		panic("token: unchecked string: " + err.Error())
	}
	return []byte(s)
}
