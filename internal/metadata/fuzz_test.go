package metadata

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// separator parts the texts of one input of a fuzz test. No JSON text has it.
const separator = "\x1e"

func FuzzScan(f *testing.F) {
	for _, texts := range [][]string{exact, malformed, deepest, tooDeep} {
		for _, text := range texts {
			f.Add([]byte(text))
		}
		f.Add([]byte(strings.Join(texts, separator)))
	}
	for _, test := range fieldTests {
		f.Add([]byte(test.text + separator + `{"a":1`))
		f.Add([]byte(`{"x":1,"y":[` + separator + test.text))
	}
	f.Add([]byte(strings.Join(tokens, " \t\r\n")))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s Scanner
		for text := range bytes.SplitSeq(data, []byte(separator)) {
			checkScan(t, &s, text)
		}
	})
}

// checkScan compares what s makes of text with what encoding/json makes of it.
func checkScan(t *testing.T, s *Scanner, text []byte) {
	if !isStrictJSON(text) {
		checkRefused(t, s, string(text))
		return
	}
	got, err := s.Scan(bytes.Clone(text))
	if err != nil {
		t.Fatalf("Scan(%q): %v", text, err)
	}
	var want bytes.Buffer
	if err := json.Compact(&want, text); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Fatalf("Scan(%q) = %q, want %q", text, got, want.Bytes())
	}
	if got, want := decode(t, got), decode(t, text); !reflect.DeepEqual(got, want) {
		t.Fatalf("Scan(%q) means %v, want %v", text, got, want)
	}
	if got, want := fieldsOf(s), fieldsByDecoder(t, text); !slices.Equal(got, want) {
		t.Fatalf("Fields of %q = %q, want %q", text, got, want)
	}
	checkUnquote(t, text)
}

// isStrictJSON says by encoding/json, and what it is too lenient in, whether text
// is to be accepted.
func isStrictJSON(text []byte) bool {
	return json.Valid(text) && utf8.Valid(text) && !hasLoneSurrogate(text) && depthOf(text) <= MaxDepth
}

// escapes matches the escapes of a text one by one: those of surrogate pairs,
// those of lone surrogates, which are captured, and any other.
var escapes = regexp.MustCompile(`(?si)\\ud[89ab]..\\ud[c-f]..|(\\ud[89a-f]..)|\\.`)

// hasLoneSurrogate says whether a valid text has the escape of half a character.
func hasLoneSurrogate(text []byte) bool {
	for _, match := range escapes.FindAllSubmatch(text, -1) {
		if match[1] != nil {
			return true
		}
	}
	return false
}

// depthOf returns how deep a valid text nests.
func depthOf(text []byte) int {
	deepest, depth := 0, 0
	for dec := decoder(text); ; deepest = max(deepest, depth) {
		switch tok, err := dec.Token(); {
		case err != nil:
			return deepest
		case tok == json.Delim('{') || tok == json.Delim('['):
			depth++
		case tok == json.Delim('}') || tok == json.Delim(']'):
			depth--
		}
	}
}

func decoder(text []byte) *json.Decoder {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return dec
}

func decode(t *testing.T, text []byte) any {
	var v any
	if err := decoder(text).Decode(&v); err != nil {
		t.Fatalf("decoding %q: %v", text, err)
	}
	return v
}

func fieldsByDecoder(t *testing.T, text []byte) []field {
	var fields []field
	if bytes.TrimLeft(text, " \t\r\n")[0] != '{' {
		return nil
	}
	for _, m := range model(nil).all(t, text) {
		fields = append(fields, field{m.key, m.value})
	}
	return fields
}

// checkUnquote checks Unquote with each string in a valid text.
func checkUnquote(t *testing.T, text []byte) {
	dec := decoder(text)
	for {
		start := dec.InputOffset()
		tok, err := dec.Token()
		if err == io.EOF {
			return
		}
		quoted := bytes.TrimLeft(text[start:dec.InputOffset()], " \t\r\n,:")
		if want, ok := tok.(string); ok && string(Unquote(quoted)) != want {
			t.Fatalf("Unquote(%q) = %q, want %q", quoted, Unquote(quoted), want)
		}
	}
}

// model is metadata as the contract describes it, made with encoding/json.
type model []modelMember

type modelMember struct{ spelling, key, value string }

// with returns m with the members of object merged in.
func (m model) with(t testing.TB, object string) model {
	for _, next := range m.all(t, []byte(object)) {
		same := func(known modelMember) bool { return known.key == next.key }
		if i := slices.IndexFunc(m, same); i >= 0 {
			m[i].value = next.value
		} else {
			m = append(m, next)
		}
	}
	return m
}

// all returns the members of object one by one, with equal names apart.
func (model) all(t testing.TB, object []byte) (members []modelMember) {
	dec := decoder(object)
	dec.Token()
	for dec.More() {
		start := dec.InputOffset()
		name, err := dec.Token()
		if err != nil {
			t.Fatalf("a name in %q: %v", object, err)
		}
		spelling := bytes.TrimLeft(object[start:dec.InputOffset()], " \t\r\n,")
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			t.Fatalf("a value in %q: %v", object, err)
		}
		var compacted bytes.Buffer
		json.Compact(&compacted, value)
		members = append(members, modelMember{string(spelling), name.(string), compacted.String()})
	}
	return members
}

func (m model) String() string {
	var members []string
	for _, member := range m {
		members = append(members, member.spelling+":"+member.value)
	}
	return "{" + strings.Join(members, ",") + "}"
}

// without returns m without the members that an array names.
func (m model) without(t testing.TB, array []byte) model {
	var names []string
	if err := json.Unmarshal(array, &names); err != nil {
		t.Fatalf("names in %q: %v", array, err)
	}
	return slices.DeleteFunc(m, func(known modelMember) bool { return slices.Contains(names, known.key) })
}

// FuzzMerge merges object after object into one metadata. An array of strings unsets
// members, together with the merge of the object before it if that comes next to it.
func FuzzMerge(f *testing.F) {
	for _, test := range mergeTests {
		f.Add([]byte(test.base + separator + test.patch))
		f.Add([]byte(numbered(0, 9, "many") + separator + test.base + separator + test.patch))
	}
	f.Add([]byte(numbered(0, 40, "a") + separator + numbered(20, 40, "b") + separator + `{}` + separator + numbered(30, 3, "c")))
	f.Add([]byte(`{"0":1,"\u0030":2,"1":3,"2":4,"3":5,"4":6,"5":7,"6":8,"7":9,"8":0,"9":1}` + separator + `{"\u0039":1,"7":2}`))
	for _, test := range unsetTests {
		f.Add([]byte(test.base + separator + test.patch + separator + test.unset + separator + test.unset))
		f.Add([]byte(numbered(0, 9, "many") + separator + test.base + separator + test.patch + separator + test.unset))
	}
	f.Add([]byte(numbered(0, 40, "a") + separator + `["1","39","40"]` + separator + `[1]` + separator + `["2",null]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s Scanner
		var o Object
		meta, want := []byte("{}"), model(nil)
		var before, patch []byte // the metadata before the last object, and that
		for text := range bytes.SplitSeq(data, []byte(separator)) {
			object, err := s.Scan(bytes.Clone(text))
			switch {
			case err != nil:
				continue
			case object[0] == '{':
				checkSplit(t, &o, object)
				before, patch = meta, object
				meta, want = o.AppendMerged(nil, meta), want.with(t, string(text))
			case isNames(object):
				o.SplitPatch(patch, object)
				if patch == nil {
					before = meta
				}
				meta, want = o.AppendMerged(nil, before), want.without(t, object)
				patch = nil
			}
			if got, want := string(meta), want.String(); got != want {
				t.Fatalf("the merge of %q is %q, want %q", data, got, want)
			}
		}
	})
}

// isNames says by encoding/json whether a text is an array of strings, and checks that
// IsStrings does too.
func isNames(text []byte) bool {
	var list []*string
	want := json.Unmarshal(text, &list) == nil && list != nil && !slices.Contains(list, nil)
	if got := IsStrings(text); got != want {
		panic("IsStrings is wrong about " + string(text))
	}
	return want
}

// checkSplit splits object and checks the object that o then is.
func checkSplit(t *testing.T, o *Object, object []byte) {
	o.Split(object)
	got, want := string(o.Append(nil)), model(nil).with(t, string(object)).String()
	if got != want || o.Len() != len(want) {
		t.Fatalf("after Split(%q), Append = %q, Len = %d, want %q, %d", object, got, o.Len(), want, len(want))
	}
}
