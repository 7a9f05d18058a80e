package metadata

import "errors"

// ErrNoBatch says that a text has not the one array that a batch is.
var ErrNoBatch = errors.New("metadata: no batch")

// BatchScanner is a Scanner for batches: an object with an array of items, each an
// object that has one of several members, whose value is an object with the fields
// of a request. It checks and compacts a text and finds the items in one pass.
//
// In the value of a member of an item nesting is counted afresh: it is level 1, as in
// a text of its own.
//
// Like a Scanner, a BatchScanner keeps a reference to the text last scanned, and is
// reused to save allocations, never by two goroutines at once.
type BatchScanner struct {
	Array    string   // the member of the outermost object that has the items
	Kinds    []string // the members of which an item has exactly one
	Names    []string // of the fields that are wanted
	MaxItems int      // of more, none is kept

	scanner Scanner
	items   []Item
	n       int  // items in the array so far
	arrays  int  // members called Array so far
	isArray bool // the last of them is one
	item    Item // that is being read
	kinds   int  // members of it that have a kind
}

// Item is an item of a batch.
type Item struct {
	Kind       int // in BatchScanner.Kinds, or NoKind
	start, end int // of its fields in scanner.fields
}

// NoKind is the kind of an item that has not exactly one of BatchScanner.Kinds, with
// an object as its value.
const NoKind = -1

// Scan checks text and compacts it in place. Its errors are ErrMalformed, after which
// text is garbage, and ErrNoBatch: Array is missing, given twice, no array, empty, or
// has more items than MaxItems.
func (b *BatchScanner) Scan(text []byte) error {
	s := &b.scanner
	*s = Scanner{Names: b.Names, text: text, fields: s.fields[:0]}
	b.items, b.n, b.arrays = b.items[:0], 0, 0
	ok := s.objectOr(1, b.readMember)
	switch s.space(); {
	case !ok || s.r != len(s.text):
		return ErrMalformed
	case b.arrays != 1 || !b.isArray || b.n == 0 || b.n > b.MaxItems:
		return ErrNoBatch
	}
	return nil
}

// Items returns the items in their order. The slice is valid until the next Scan.
func (b *BatchScanner) Items() []Item { return b.items }

// Fields returns the fields of an item that has a kind, as Scanner.Fields does.
func (b *BatchScanner) Fields(i Item) []Field { return b.scanner.fields[i.start:i.end] }

// Reset lets go of the text last scanned, and of memory that few batches need.
func (b *BatchScanner) Reset() {
	b.scanner.Reset()
	if cap(b.scanner.fields) > keptFields {
		b.scanner.fields = nil
	}
	if b.items = b.items[:0]; cap(b.items) > keptFields {
		b.items = nil
	}
}

// keptFields is up to how many fields' and items' memory Reset keeps.
const keptFields = 4096

// objectOr reads an object, with read for the value of each member, or a value of
// another kind, whose level is depth.
func (s *Scanner) objectOr(depth int, read func(name []byte) bool) bool {
	if s.next() == '{' {
		return s.members(read)
	}
	return s.value(depth)
}

// readMember reads a member of the outermost object.
func (b *BatchScanner) readMember(name []byte) bool {
	s := &b.scanner
	if !isQuoted(name, b.Array) {
		return s.value(2)
	}
	b.arrays++
	if b.isArray = s.next() == '['; !b.isArray {
		return s.value(2)
	}
	return s.elements(b.readItem)
}

// readItem reads an item, and keeps it unless there are too many.
func (b *BatchScanner) readItem() bool {
	s := &b.scanner
	s.first = len(s.fields)
	b.item, b.kinds = Item{Kind: NoKind, start: s.first}, 0
	ok := s.objectOr(3, b.readKind)
	if b.kinds != 1 {
		b.item.Kind = NoKind
	}
	b.item.end = len(s.fields)
	if b.n++; b.n > b.MaxItems {
		s.fields = s.fields[:s.first]
	} else {
		b.items = append(b.items, b.item)
	}
	return ok
}

// readKind reads a member of an item, and the fields in its value if it is the first
// that has a kind.
func (b *BatchScanner) readKind(name []byte) bool {
	s := &b.scanner
	kind := b.kindOf(name)
	if kind == NoKind {
		return b.skip()
	}
	if b.kinds++; b.kinds > 1 || s.next() != '{' {
		return b.skip()
	}
	b.item.Kind = kind
	return s.object(1)
}

// skip reads a value of a member of an item, and takes no fields.
func (b *BatchScanner) skip() bool {
	s := &b.scanner
	n := len(s.fields)
	ok := s.value(1)
	s.fields = s.fields[:n]
	return ok
}

func (b *BatchScanner) kindOf(name []byte) int {
	for kind, each := range b.Kinds {
		if isQuoted(name, each) {
			return kind
		}
	}
	return NoKind
}
