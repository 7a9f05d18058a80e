package token

import (
	"bytes"
	"errors"
	"regexp"
	"testing"
)

// wellFormed matches the texts of tokens.
var wellFormed = regexp.MustCompile(`\A[A-Za-z0-9_-]{32}\z`)

func FuzzParse(f *testing.F) {
	f.Add([]byte(sampleText))
	f.Add(Token{}.Append(nil))
	for _, text := range illFormed {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		tok, err := Parse(text)
		if !wellFormed.Match(text) {
			if !errors.Is(err, ErrInvalid) || tok != (Token{}) {
				t.Fatalf("Parse(%q) with error %v, want %v and the zero token", text, err, ErrInvalid)
			}
			return
		}
		if got := tok.Append(nil); err != nil || !bytes.Equal(got, text) {
			t.Fatalf("Parse(%q) with error %v is the token %q", text, err, got)
		}
	})
}
