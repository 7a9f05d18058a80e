package sessiontest

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deep metadata may be nested: a request is level 1.
const maxDepth = 63

func validText(text []byte) bool { return utf8.Valid(text) }

// depth returns how deep JSON is nested.
func depth(text []byte) (most int) {
	now, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			now++
			most = max(most, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return most
}

// hasLoneSurrogate says whether valid JSON has an escape that is half of a character.
func hasLoneSurrogate(text []byte) bool {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		r, ok := escape(text[i:])
		if !ok {
			i++ // past what is escaped
			continue
		}
		i += 5
		if !utf16.IsSurrogate(r) {
			continue
		}
		next, ok := escape(text[i+1:])
		if !ok || utf16.DecodeRune(r, next) == utf8.RuneError {
			return true
		}
		i += 6
	}
	return false
}

// escape returns the code unit of an escape as \u00e9, if text begins with one.
func escape(text []byte) (r rune, ok bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	return rune(n), err == nil
}
