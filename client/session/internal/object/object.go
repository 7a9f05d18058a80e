// Package object takes metadata apart and puts it together, as the server does: a
// merge is shallow, and values stay as they are, byte for byte.
package object

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
)

// Object is a JSON object. Names are unique.
type Object []Member

// Member is one of an object.
type Member struct {
	// Name is unescaped, and spelled is how the object has it, with its quotes.
	Name    string
	spelled string
	Value   json.RawMessage
}

// errObject says that a text is no JSON object.
var errObject = errors.New("no JSON object")

// Parse takes an object apart. Of equal names the first gives the place, and the last
// the value. Values are parts of text if that has no blanks between its tokens.
func Parse(text json.RawMessage) (o Object, err error) {
	if !json.Valid(text) {
		return nil, errObject
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return nil, err
	}
	return Split(compact.Bytes())
}

// Split is Parse for a text that is known to be valid and without blanks, as metadata
// is that a server has answered with.
func Split(text json.RawMessage) (o Object, err error) {
	if len(text) < 2 || text[0] != '{' {
		return nil, errObject
	}
	places := make(map[string]int) // by name: a patch may have thousands
	for i := 1; i < len(text) && text[i] == '"'; {
		colon := valueEnd(text, i)
		end := valueEnd(text, colon+1)
		if end >= len(text) {
			return nil, errObject
		}
		m := Member{spelled: string(text[i:colon]), Value: text[colon+1 : end : end]}
		if m.Name, err = unquote(m.spelled); err != nil {
			return nil, err
		}
		if place, ok := places[m.Name]; ok {
			o[place].Value = m.Value
		} else {
			places[m.Name], o = len(o), append(o, m)
		}
		i = end + 1
	}
	return o, nil
}

// unquote returns the text of a JSON string.
func unquote(quoted string) (text string, err error) {
	for i := range len(quoted) {
		if quoted[i] == '\\' {
			err = json.Unmarshal([]byte(quoted), &text)
			return text, err
		}
	}
	if len(quoted) < 2 {
		return "", errObject
	}
	return quoted[1 : len(quoted)-1], nil
}

// valueEnd returns where the value that begins at i ends, in text that is valid.
func valueEnd(text []byte, i int) int {
	for depth := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return i
			}
		case ',', ':':
			if depth == 0 {
				return i
			}
		}
	}
	return len(text)
}

func (o Object) index(name string) int {
	return slices.IndexFunc(o, func(m Member) bool { return m.Name == name })
}

func (o Object) put(m Member) Object {
	if i := o.index(m.Name); i >= 0 {
		o[i].Value = m.Value
		return o
	}
	return append(o, m)
}

// Get returns the value of a member, and false if there is none of that name.
func (o Object) Get(name string) (value json.RawMessage, ok bool) {
	if i := o.index(name); i >= 0 {
		return o[i].Value, true
	}
	return nil, false
}

// Set gives a member a value, which is a JSON text, and returns the object.
func (o Object) Set(name string, value json.RawMessage) Object {
	quoted, _ := json.Marshal(name) // of a string: no error
	return o.put(Member{name, string(quoted), value})
}

// Merge sets all members of a patch, and returns the object.
func (o Object) Merge(patch Object) Object {
	for _, m := range patch {
		o = o.put(m)
	}
	return o
}

// Unset takes a member away, if it is there, and returns the object.
func (o Object) Unset(name string) Object {
	return slices.DeleteFunc(o, func(m Member) bool { return m.Name == name })
}

// Text returns the object as JSON.
func (o Object) Text() json.RawMessage {
	text := []byte{'{'}
	for i, m := range o {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(append(text, m.spelled...), ':')
		text = append(text, m.Value...)
	}
	return append(text, '}')
}
