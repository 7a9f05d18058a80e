package metadata

import (
	"bytes"
	"hash/maphash"

	"github.com/goccy/go-json"
)

// Object is a metadata object split into its members, each name once. It is
// what metadata is merged with: a patch, if it has members that go.
//
// Names are the same if they are so once unescaped. A member keeps the place
// and spelling of its first appearance and takes the value of its last.
//
// An Object borrows the bytes that it was split from: they must stay as they are
// until the next Split, or until the last use of the Object. What it appends is
// a copy. The zero value is an empty object. An Object is reused to save
// allocations, never by two goroutines at once.
type Object struct {
	list []member
	// index finds members by name once there are more than linearMembers: a
	// hash table with open addressing of places in list, counted from 1.
	index []uint32
	// merged has a mark for each place in list that the merge under way has met.
	merged []bool
}

// member borrows the bytes of the object that it was split from; only a key
// with escapes has bytes of its own.
type member struct {
	name  []byte // as it is written, in quotes
	key   []byte // the name itself
	hash  uint64 // of key, where there is an index
	value []byte // nil if the member goes
}

// linearMembers is up to how many members are searched one by one.
const linearMembers = 8

// seed is fresh in each process, so that no client can choose names that collide.
var seed = maphash.MakeSeed()

// Split takes the members of object, which is a compact JSON object as [Scanner]
// leaves it and must stay as it is while o is used.
func (o *Object) Split(object []byte) { o.SplitPatch(object, nil) }

// SplitPatch takes the members of object, and of the array unset the names of those
// that go whether they are in object or in what it is merged over. Both are compact
// texts as [Scanner] leaves them, of which [IsStrings] holds for unset, or nil, and
// must stay as they are while o is used.
func (o *Object) SplitPatch(object, unset []byte) {
	o.list = o.list[:0]
	o.index = o.index[:0]
	if object != nil {
		for rest := object[1:]; rest[0] != '}'; {
			var next member
			next, rest = cutMember(rest)
			o.add(next)
		}
	}
	if unset != nil {
		for rest := unset[1:]; rest[0] != ']'; {
			var name []byte
			name, rest = cutString(rest)
			o.add(member{name: name, key: Unquote(name)})
		}
	}
}

// IsStrings says whether a text is an array of strings. It is a compact text as
// [Scanner] leaves it.
func IsStrings(text []byte) bool {
	if text[0] != '[' {
		return false
	}
	rest := text[1:]
	for rest[0] == '"' {
		_, rest = cutString(rest)
	}
	return rest[0] == ']'
}

// add takes a member in, or its value if its name is known.
func (o *Object) add(next member) {
	if len(o.list) == linearMembers && len(o.index) == 0 {
		o.grow(8 * linearMembers)
	}
	if i := o.find(&next); i >= 0 {
		o.list[i].value = next.value
		return
	}
	o.list = append(o.list, next)
	if len(o.index) == 0 {
		return
	}
	if 2*len(o.list) > len(o.index) {
		o.grow(4 * len(o.index))
		return
	}
	*o.slot(&next) = uint32(len(o.list))
}

// grow makes an index of the given size, a power of two, for the whole list.
func (o *Object) grow(size int) {
	if cap(o.index) < size {
		o.index = make([]uint32, size)
	}
	o.index = o.index[:size]
	clear(o.index)
	for i := range o.list {
		o.list[i].hash = maphash.Bytes(seed, o.list[i].key)
		*o.slot(&o.list[i]) = uint32(i + 1)
	}
}

// find returns the place in list of the member with the name of next, or -1.
// Where there is an index, it sets next.hash.
func (o *Object) find(next *member) int {
	if len(o.index) > 0 {
		next.hash = maphash.Bytes(seed, next.key)
		return int(*o.slot(next)) - 1
	}
	for i := range o.list {
		if bytes.Equal(o.list[i].key, next.key) {
			return i
		}
	}
	return -1
}

// slot returns the place in the index where the member with the name of next is,
// or where it belongs. At least half of the index is free, so there is one.
func (o *Object) slot(next *member) *uint32 {
	mask := uint64(len(o.index) - 1)
	for h := next.hash & mask; ; h = (h + 1) & mask {
		at := o.index[h]
		if at == 0 {
			return &o.index[h]
		}
		if known := &o.list[at-1]; known.hash == next.hash && bytes.Equal(known.key, next.key) {
			return &o.index[h]
		}
	}
}

// Len returns how many bytes Append appends.
func (o *Object) Len() int {
	n := len("{}")
	for i := range o.list {
		if o.list[i].value != nil {
			n += len(o.list[i].name) + len(":") + len(o.list[i].value) + len(",")
		}
	}
	if n > len("{}") {
		n -= len(",")
	}
	return n
}

// Append appends o as a compact object to dst.
func (o *Object) Append(dst []byte) []byte {
	dst = append(dst, '{')
	open := len(dst)
	for i := range o.list {
		dst = appendMember(dst, open, o.list[i].name, o.list[i].value)
	}
	return append(dst, '}')
}

// AppendMerged appends to dst the compact object that results from merging o
// over base: base's members in their places, with o's values where o has them,
// then the rest of o, and without the members that go. base is an object that Append or AppendMerged made.
//
// It takes time linear in the sizes of both.
func (o *Object) AppendMerged(dst, base []byte) []byte {
	o.merged = append(o.merged[:0], make([]bool, len(o.list))...)
	dst = append(dst, '{')
	open := len(dst)
	for rest := base[1:]; rest[0] != '}'; {
		var old member
		old, rest = cutMember(rest)
		if i := o.find(&old); i >= 0 {
			o.merged[i] = true
			old.value = o.list[i].value
		}
		dst = appendMember(dst, open, old.name, old.value)
	}
	for i := range o.list {
		if !o.merged[i] {
			dst = appendMember(dst, open, o.list[i].name, o.list[i].value)
		}
	}
	return append(dst, '}')
}

// appendMember appends a member, unless it goes, to the object whose members begin at
// open.
func appendMember(dst []byte, open int, name, value []byte) []byte {
	if value == nil {
		return dst
	}
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

// cutString cuts the first string, and the comma behind it, off the rest of a compact
// array.
func cutString(rest []byte) (quoted, behind []byte) {
	end := stringLen(rest)
	quoted = rest[:end]
	if rest[end] == ',' {
		end++
	}
	return quoted, rest[end:]
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
// its quotes. Without escapes in it the result is a part of quoted and valid as
// long as that is; otherwise it is a copy.
func Unquote(quoted []byte) []byte {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		panic("metadata: unchecked string: " + err.Error())
	}
	return []byte(s)
}
