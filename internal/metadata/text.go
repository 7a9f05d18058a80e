package metadata

import (
	"bytes"
	"iter"

	"github.com/goccy/go-json"
)

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

// Members returns the members of an object, as they are written: their names in quotes.
// It is a compact object as [Scanner] leaves it.
func Members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for rest := object[1:]; rest[0] != '}'; {
			m := cutMember(rest)
			if !yield(m.name, m.value) {
				return
			}
			rest = m.rest
		}
	}
}

// cut is a member that was cut off.
type cut struct {
	name, value []byte // as they are written
	end         int    // where the value ends
	rest        []byte // what follows the comma behind it
}

// cutMember cuts the first member, and the comma behind it, off the rest of a
// compact object.
func cutMember(rest []byte) cut {
	colon := stringLen(rest)
	end := colon + 1 + valueLen(rest[colon+1:])
	c := cut{name: rest[:colon], value: rest[colon+1 : end], end: end}
	if rest[end] == ',' {
		end++
	}
	c.rest = rest[end:]
	return c
}

// countMembers returns how many members the rest of a compact object has; none if it
// is nil.
func countMembers(rest []byte) (n int) {
	for len(rest) > 0 && rest[0] != '}' {
		rest = cutMember(rest).rest
		n++
	}
	return n
}

// countStrings returns how many strings an array of them has, or the rest of one;
// none if it is nil.
func countStrings(rest []byte) (n int) {
	if len(rest) > 0 && rest[0] == '[' {
		rest = rest[1:]
	}
	for len(rest) > 0 && rest[0] != ']' {
		_, rest = cutString(rest)
		n++
	}
	return n
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

// isQuoted says whether a JSON string, in its quotes, stands for name, which is of ASCII
// letters: of all escapes only \uXXXX stands for one. Nothing is unescaped for it, since
// whatever a client sends is compared.
func isQuoted(quoted []byte, name string) bool {
	rest := quoted[1 : len(quoted)-1]
	if len(rest) == len(name) {
		return string(rest) == name
	}
	for _, letter := range []byte(name) {
		switch {
		case len(rest) > 0 && rest[0] == letter:
			rest = rest[1:]
		case hex4(rest) == int(letter):
			rest = rest[len(`\u0000`):]
		default:
			return false
		}
	}
	return len(rest) == 0
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
