package client

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzItem: what encoding/json takes for an answer the parser does too, with the same
// values, and nothing makes it fall.
func FuzzItem(f *testing.F) {
	for _, seed := range []string{
		`{"Ok":{"token":"n","meta":{"a":"\"}\\"}}}`,
		`{"Ok":{"meta":{"a":[1,{}]},"expires_in":12}}`,
		`{"Ok":{"x":[true,null],"token":"n","meta":{},"reused":true}}`,
		`{"Err":"StoreUnavailable","message":"a\"b","done":false}`,
		`{"Ok":{}}`, `{"Err":"`, `{"Ok":{"meta":`, `[]`, `{"\`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, k := range []kind{create, exchange, validate, remove, list} {
			p, a := parser{b: text}, answer{}
			ok := p.item(k, &a)
			if p.i > len(text) {
				t.Fatalf("%q: it has read %d bytes of %d", text, p.i, len(text))
			}
			var compact bytes.Buffer
			var want struct {
				Ok *struct {
					Token string
					Meta  json.RawMessage
				}
			}
			if k == list || !ok || json.Compact(&compact, text) != nil || !bytes.Equal(compact.Bytes(), text) || bytes.ContainsAny(text, `\`) || json.Unmarshal(text, &want) != nil {
				continue
			}
			if want.Ok == nil || !bytes.HasPrefix(text, []byte(`{"Ok":{"token":`)) || bytes.Count(text, []byte(`"`)) > 6 {
				continue // names in another case, or twice
			}
			if string(a.token) != want.Ok.Token || !bytes.Equal(a.meta, want.Ok.Meta) {
				t.Errorf("%q: token %q and metadata %q, want %q and %q", text, a.token, a.meta, want.Ok.Token, want.Ok.Meta)
			}
		}
	})
}
