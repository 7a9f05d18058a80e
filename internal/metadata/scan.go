// Package metadata is JSON as the server and its stores need it: checked by
// strict rules, compacted, split into members, and merged.
//
// # Basics
//
// A [Scanner] checks a text and compacts it in place, in one pass. An [Object]
// takes a compact object apart and merges it over another one. Both work on
// bytes and never decode a value: numbers come back digit for digit and strings
// escape for escape.
//
// # Caveats
//
// Nothing is copied that need not be. A [Field] and what [Unquote] returns
// borrow the text that was scanned, an [Object] the text that it was split from:
// each type says for how long. Only a text that Scan has accepted may be split
// or unquoted; anything else may panic.
package metadata

import (
	"errors"
	"unicode/utf8"
)

// ErrMalformed says that a text is not JSON by the server's strict rules.
var ErrMalformed = errors.New("metadata: malformed JSON")

// MaxDepth is how deep a JSON text may nest. Its outermost array or object is level 1.
const MaxDepth = 64

// Field is a member of the outermost object of a scanned text. Its value borrows
// that text and is valid as long as it stays as it is.
type Field struct {
	Name  string // without quotes and escapes
	Value []byte // compact, otherwise as it was given
}

// Scanner checks JSON texts against RFC 8259 and compacts them, in one pass.
// It is stricter than encoding/json: invalid UTF-8, a lone surrogate escape and
// nesting deeper than MaxDepth are malformed too. Numbers and strings stay as
// they are written; only white space between tokens goes.
//
// A Scanner keeps a reference to the text last scanned, which belongs to the
// caller and which Scan overwrites. The zero value is ready. A Scanner is reused
// to save allocations, never by two goroutines at once.
type Scanner struct {
	// Names are those of the fields that are wanted. Others are checked and passed
	// over. Nil means that all are.
	Names []string

	text   []byte // text[:w] is the compacted part, text[r:] the part to be read
	r, w   int
	fields []Field
	first  int // of fields: the first one of the present object
}

// Scan checks text and compacts it in place. It returns the compacted text,
// which is a part of text, or ErrMalformed, after which text is garbage.
func (s *Scanner) Scan(text []byte) ([]byte, error) {
	*s = Scanner{Names: s.Names, text: text, fields: s.fields[:0]}
	ok := s.value(1)
	if s.space(); !ok || s.r != len(s.text) {
		s.fields = s.fields[:0]
		return nil, ErrMalformed
	}
	return s.text[:s.w], nil
}

// Fields returns the members of the outermost object in their order, and none
// if the text is no object. Of Names, there is one more than there are names at
// most: then one of them was given twice. The slice is valid until the next Scan,
// and what it refers to as long as the scanned text is.
func (s *Scanner) Fields() []Field { return s.fields }

// Reset lets go of the text last scanned.
func (s *Scanner) Reset() {
	s.text = nil
	clear(s.fields[:cap(s.fields)])
	s.fields = s.fields[:0]
}

// value reads white space and a value whose level, if it is an array or an
// object, is depth.
func (s *Scanner) value(depth int) bool {
	switch c := s.next(); c {
	case '"':
		return s.string()
	case '{':
		return depth <= MaxDepth && s.object(depth)
	case '[':
		return depth <= MaxDepth && s.array(depth)
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	default:
		return s.number()
	}
}

func (s *Scanner) object(depth int) bool {
	return s.members(func(name []byte) bool { return s.member(name, depth) })
}

// members reads an object, with read for the value of each member.
func (s *Scanner) members(read func(name []byte) bool) bool {
	for more, ok := s.open('}'), true; more; {
		name, named := s.name()
		if !named || !read(name) {
			return false
		}
		if more, ok = s.more('}'); !ok {
			return false
		}
	}
	return true
}

// member reads the value of a member, and takes it if it is a field.
func (s *Scanner) member(name []byte, depth int) bool {
	value := s.w
	if !s.value(depth + 1) {
		return false
	}
	if depth == 1 {
		s.field(name, s.text[value:s.w:s.w])
	}
	return true
}

// name reads the name of a member, and the colon behind it. It returns it in its quotes.
func (s *Scanner) name() (quoted []byte, ok bool) {
	start := s.w
	if s.next() != '"' || !s.string() {
		return nil, false
	}
	quoted = s.text[start:s.w]
	if s.next() != ':' {
		return nil, false
	}
	s.keep(s.r + 1)
	return quoted, true
}

// field takes a member of the outermost object, if it is wanted.
func (s *Scanner) field(quoted, value []byte) {
	if s.Names == nil {
		s.fields = append(s.fields, Field{Name: string(Unquote(quoted)), Value: value})
		return
	}
	if len(s.fields)-s.first > len(s.Names) {
		return
	}
	for _, name := range s.Names {
		if isQuoted(quoted, name) {
			s.fields = append(s.fields, Field{Name: name, Value: value})
			return
		}
	}
}

func (s *Scanner) array(depth int) bool {
	return s.elements(func() bool { return s.value(depth + 1) })
}

// elements reads an array, with read for each element.
func (s *Scanner) elements(read func() bool) bool {
	for more, ok := s.open(']'), true; more; {
		if !read() {
			return false
		}
		if more, ok = s.more(']'); !ok {
			return false
		}
	}
	return true
}

// open reads the bracket that an array or an object begins with, and says whether
// anything is in it. If not, it reads the closing one too.
func (s *Scanner) open(closing byte) (more bool) {
	s.keep(s.r + 1)
	if s.next() == closing {
		s.keep(s.r + 1)
		return false
	}
	return true
}

// more reads what follows an element or a member, and says whether another one does.
func (s *Scanner) more(closing byte) (more, ok bool) {
	switch s.next() {
	case ',':
		s.keep(s.r + 1)
		return true, true
	case closing:
		s.keep(s.r + 1)
		return false, true
	}
	return false, false
}

// string reads a string that begins at r.
func (s *Scanner) string() bool {
	text, i := s.text, s.r+1
	for i < len(text) {
		switch c := text[i]; {
		case c == '"':
			s.keep(i + 1)
			return true
		case c == '\\':
			n := escapeLen(text[i:])
			if n == 0 {
				return false
			}
			i += n
		case c < ' ':
			return false
		case c < utf8.RuneSelf:
			i++
		default:
			r, n := utf8.DecodeRune(text[i:])
			if r == utf8.RuneError && n == 1 {
				return false
			}
			i += n
		}
	}
	return false
}

// escapeLen returns the length of the escape that b begins with, a surrogate
// pair being one, or 0 if it is none.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		switch r := hex4(b); {
		case r < 0, 0xDC00 <= r && r <= 0xDFFF:
			return 0
		case 0xD800 <= r && r <= 0xDBFF:
			if low := hex4(b[6:]); low < 0xDC00 || 0xDFFF < low {
				return 0
			}
			return 12
		}
		return 6
	}
	return 0
}

// hex4 returns the number in an escape \uXXXX at the start of b, or -1.
func hex4(b []byte) (n int) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	for _, c := range b[2:6] {
		switch {
		case '0' <= c && c <= '9':
			n = n<<4 | int(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			n = n<<4 | int(c|0x20-'a'+10)
		default:
			return -1
		}
	}
	return n
}

// number reads a number that begins at r.
func (s *Scanner) number() bool {
	i := s.r
	if s.at(i) == '-' {
		i++
	}
	if s.at(i) == '0' {
		i++
	} else if i = s.digits(i); i < 0 {
		return false
	}
	if s.at(i) == '.' {
		if i = s.digits(i + 1); i < 0 {
			return false
		}
	}
	if s.at(i)|0x20 == 'e' {
		if i++; s.at(i) == '+' || s.at(i) == '-' {
			i++
		}
		if i = s.digits(i); i < 0 {
			return false
		}
	}
	s.keep(i)
	return true
}

// digits returns the end of the digits that begin at i, or -1 if there is none.
func (s *Scanner) digits(i int) int {
	start := i
	for c := s.at(i); '0' <= c && c <= '9'; c = s.at(i) {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

func (s *Scanner) literal(word string) bool {
	end := s.r + len(word)
	if end > len(s.text) || string(s.text[s.r:end]) != word {
		return false
	}
	s.keep(end)
	return true
}

// keep takes text[r:end] over into the compacted part.
func (s *Scanner) keep(end int) {
	if s.w != s.r {
		copy(s.text[s.w:], s.text[s.r:end])
	}
	s.w += end - s.r
	s.r = end
}

// next passes over white space and returns the byte at r, or 0 at the end.
func (s *Scanner) next() byte {
	s.space()
	return s.at(s.r)
}

func (s *Scanner) space() {
	for s.r < len(s.text) {
		switch s.text[s.r] {
		case ' ', '\t', '\n', '\r':
			s.r++
		default:
			return
		}
	}
}

// at returns the byte at i, or 0, which no token has, past the end.
func (s *Scanner) at(i int) byte {
	if i < len(s.text) {
		return s.text[i]
	}
	return 0
}
