package metadata

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
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
//
// It takes up to six times the size of what it was split from.
type Object struct {
	object, unset []byte // what it was split from
	list          []member
	keys          []byte // names that have escapes, unescaped, each after its length
	// index finds members by name once there are more than linearMembers: a
	// hash table with open addressing of places in list, counted from 1.
	index []uint32
	// merged has a mark for each place in list that the merge under way has met.
	merged []bool
}

// member is where a member lies in the object that it was split from. It has 16 bytes
// and no pointers: the smallest member has 5 bytes of text.
type member struct {
	name  uint32 // where its name begins, in quotes; with inUnset, in the array unset
	value uint32 // where its value begins
	end   uint32 // where its value ends; 0 if the member goes
	key   uint32 // its name's place in keys, counted from 1; 0 if it has no escapes
}

// inUnset is in the name of a member that is named by unset alone.
const inUnset = 1 << 31

const (
	// linearMembers is up to how many members are searched one by one.
	linearMembers = 8
	// countedMembers is from how many members on the rest is counted, so that
	// nothing takes more than it needs.
	countedMembers = 64
	// keptMembers is up to how many members' memory Reset keeps.
	keptMembers = 1024
	keptKeys    = 4 << 10 // bytes
)

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
	o.object, o.unset = object, unset
	o.list, o.keys, o.index = o.list[:0], o.keys[:0], o.index[:0]
	if object != nil {
		o.addMembers()
	}
	if unset != nil {
		o.addUnset()
	}
}

func (o *Object) addMembers() {
	for rest := o.object[1:]; rest[0] != '}'; {
		at := uint32(len(o.object) - len(rest))
		m := cutMember(rest)
		o.add(m.name, member{name: at, value: at + uint32(len(m.name)) + 1, end: at + uint32(m.end)}, rest, o.unset)
		rest = m.rest
	}
}

func (o *Object) addUnset() {
	for rest := o.unset[1:]; rest[0] != ']'; {
		at := uint32(len(o.unset) - len(rest))
		name, behind := cutString(rest)
		o.add(name, member{name: at | inUnset}, nil, rest)
		rest = behind
	}
}

// Reset lets go of what o was split from, and of memory that few objects need.
func (o *Object) Reset() {
	o.object, o.unset = nil, nil
	o.list, o.index, o.keys = o.list[:0], o.index[:0], o.keys[:0]
	clear(o.keys[:cap(o.keys)])
	if cap(o.list) > keptMembers {
		o.list, o.index, o.merged = nil, nil, nil
	}
	if cap(o.keys) > keptKeys {
		o.keys = nil
	}
}

// add takes a member in, or its value if its name is known. It and all that follow
// are at the start of rest and of unset.
func (o *Object) add(name []byte, next member, rest, unset []byte) {
	key := Unquote(name)
	if i := o.find(key); i >= 0 {
		o.list[i].value, o.list[i].end = next.value, next.end
		return
	}
	if len(key) != len(name)-len(`""`) {
		next.key = o.keep(key)
	}
	if len(o.list) == cap(o.list) && len(o.list) >= countedMembers {
		o.list = append(make([]member, 0, len(o.list)+countMembers(rest)+countStrings(unset)), o.list...)
	}
	o.list = append(o.list, next)
	o.addToIndex(key, rest, unset)
}

// keep keeps a key that has had escapes, and returns its place, counted from 1.
func (o *Object) keep(key []byte) uint32 {
	place := uint32(len(o.keys) + 1)
	o.keys = binary.AppendUvarint(o.keys, uint64(len(key)))
	o.keys = append(o.keys, key...)
	return place
}

// addToIndex puts the last member, whose key is given, into the index. The index is
// free for a third at least.
func (o *Object) addToIndex(key, rest, unset []byte) {
	switch n := len(o.list); {
	case n <= linearMembers:
	case 3*n <= 2*len(o.index):
		*o.slot(key) = uint32(n)
	case n < countedMembers:
		o.makeIndex(2 * countedMembers)
	default:
		o.makeIndex(n + countMembers(rest) + countStrings(unset))
	}
}

// makeIndex makes an index for n members, of those that there are.
func (o *Object) makeIndex(n int) {
	size := 1 << bits.Len(uint(n+n/2))
	if cap(o.index) < size {
		o.index = make([]uint32, size)
	}
	o.index = o.index[:size]
	clear(o.index)
	for i := range o.list {
		*o.slot(o.key(i)) = uint32(i + 1)
	}
}

// find returns the place in list of the member with a key, or -1.
func (o *Object) find(key []byte) int {
	if len(o.index) > 0 {
		return int(*o.slot(key)) - 1
	}
	for i := range o.list {
		if bytes.Equal(o.key(i), key) {
			return i
		}
	}
	return -1
}

// slot returns the place in the index where the member with a key is, or where it
// belongs. Some of the index is free, so there is one.
func (o *Object) slot(key []byte) *uint32 {
	mask := uint64(len(o.index) - 1)
	for h := maphash.Bytes(seed, key) & mask; ; h = (h + 1) & mask {
		if at := o.index[h]; at == 0 || bytes.Equal(o.key(int(at-1)), key) {
			return &o.index[h]
		}
	}
}

// name returns the name of a member as it is written, in quotes.
func (o *Object) name(i int) []byte {
	text, at := o.object, o.list[i].name
	if at&inUnset != 0 {
		text, at = o.unset, at&^inUnset
	}
	return text[at:][:stringLen(text[at:])]
}

// key returns the name of a member itself.
func (o *Object) key(i int) []byte {
	if at := o.list[i].key; at != 0 {
		n, width := binary.Uvarint(o.keys[at-1:])
		return o.keys[at-1:][width:][:n]
	}
	name := o.name(i)
	return name[1 : len(name)-1]
}

// value returns the value of a member, nil if the member goes.
func (o *Object) value(i int) []byte {
	if m := &o.list[i]; m.end != 0 {
		return o.object[m.value:m.end]
	}
	return nil
}

// Len returns how many bytes Append appends.
func (o *Object) Len() int {
	n := len("{}")
	for i := range o.list {
		if value := o.value(i); value != nil {
			n += len(o.name(i)) + len(":") + len(value) + len(",")
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
		dst = appendMember(dst, open, o.name(i), o.value(i))
	}
	return append(dst, '}')
}

// AppendMerged appends to dst the compact object that results from merging o
// over base: base's members in their places, with o's values where o has them,
// then the rest of o, and without the members that go. base is an object that
// Append or AppendMerged made.
//
// It takes time linear in the sizes of both.
func (o *Object) AppendMerged(dst, base []byte) []byte {
	o.merged = append(o.merged[:0], make([]bool, len(o.list))...)
	dst = append(dst, '{')
	open := len(dst)
	for rest := base[1:]; rest[0] != '}'; {
		old := cutMember(rest)
		value := old.value
		if i := o.find(Unquote(old.name)); i >= 0 {
			o.merged[i] = true
			value = o.value(i)
		}
		dst = appendMember(dst, open, old.name, value)
		rest = old.rest
	}
	for i := range o.list {
		if !o.merged[i] {
			dst = appendMember(dst, open, o.name(i), o.value(i))
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
