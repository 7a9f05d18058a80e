package valkey

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"tokenserver/token"
)

// extendedValue returns an extended value as scripts write it.
func extendedValue(content string) string {
	b := []byte("0123456789abcdef\x01callcall")
	b = binary.BigEndian.AppendUint32(b, 7)
	b = binary.BigEndian.AppendUint64(b, 1_700_000_000_000_001)
	for _, n := range []uint64{60_000, 1_700_000_000_500, 1_700_000_000_900} {
		b = append48(b, n)
	}
	b = append(b, "subjectsubjectsu"...)
	for age := range token.GraceDepth {
		b = append48(b, uint64(1_700_000_000_000+age))
	}
	return string(b) + content
}

func append48(b []byte, n uint64) []byte {
	return append(b, byte(n>>40), byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

func TestDecodePlain(t *testing.T) {
	v, err := decode("0123456789abcdef" + `{"a":1}` + "\n" + `{"b":2}`)
	if err != nil || v.extended || string(v.digest[:]) != "0123456789abcdef" || v.content != "{\"a\":1}\n{\"b\":2}" || v.spentAt(1) != 0 {
		t.Errorf("decode = %+v, error %v", v, err)
	}
}

func TestDecodeExtended(t *testing.T) {
	v, err := decode(extendedValue(`{}`))
	if err != nil {
		t.Fatalf("decode = error %v", err)
	}
	if !v.extended || v.call != "callcall" || v.changes != 7 || v.created != 1_700_000_000_000_001*time.Microsecond ||
		v.lifetime != 60_000 || v.absolute != 1_700_000_000_500 || v.indexEnd != 1_700_000_000_900 ||
		string(v.subject[:]) != "subjectsubjectsu" || v.content != "{}" {
		t.Errorf("decode = %+v", v)
	}
	for age := 1; age <= token.GraceDepth; age++ {
		if got, want := v.spentAt(age), int64(1_700_000_000_000+age-1); got != want {
			t.Errorf("spentAt(%d) = %d, want %d", age, got, want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	extended := extendedValue("{}")
	for name, text := range map[string]string{
		"empty":            "",
		"digest alone":     "0123456789abcdef",
		"another format":   "0123456789abcdef\x02{}",
		"a later format":   strings.Replace(extended, "\x01", "\x03", 1),
		"short head":       extended[:extendedHead],
		"no metadata":      extended[:extendedHead] + "xx",
		"somebody's value": "hello, this is not ours",
	} {
		if _, err := decode(text); !errors.Is(err, errFormat) {
			t.Errorf("%s: decode = error %v, want %v", name, err, errFormat)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("0123456789abcdef{}")
	f.Add(extendedValue(`{"a":1}` + "\n" + `["a"]`))
	f.Fuzz(func(t *testing.T, text string) {
		v, err := decode(text)
		if err == nil && !strings.HasPrefix(v.content, "{") {
			t.Errorf("decode(%q) has the content %q", text, v.content)
		}
	})
}

func TestIsCapped(t *testing.T) {
	const now, hour = 1_000_000, time.Hour
	end := int64(now + hour.Milliseconds())
	tests := []struct {
		name string
		v    value
		want bool
	}{
		{"no index", value{}, false},
		{"index ends with the session", value{indexEnd: end}, false},
		{"index ends before", value{indexEnd: end - 1}, true},
		{"own lifetime is shorter", value{indexEnd: end - 1, lifetime: 1000}, false},
		{"absolute deadline is sooner", value{indexEnd: end - 1, absolute: end - 2}, false},
		{"absolute deadline is later", value{indexEnd: end - 2, absolute: end - 1}, true},
	}
	for _, test := range tests {
		if got := test.v.isCapped(now, hour); got != test.want {
			t.Errorf("%s: isCapped = %v, want %v", test.name, got, test.want)
		}
	}
}

func TestIsLong(t *testing.T) {
	line := "\n" + `{"a":1}`
	tests := []struct {
		meta, tail string
		want       bool
	}{
		{"{}", "", false},
		{"{}", strings.Repeat(line, maxTailLines), false},
		{"{}", strings.Repeat(line, maxTailLines+1), true},
		{"{}", strings.Repeat("x", minTail), false},
		{"{}", strings.Repeat("x", minTail+1), true},
		{strings.Repeat("x", 1000), strings.Repeat("x", 1000), false},
		{strings.Repeat("x", 1000), strings.Repeat("x", 1001), true},
	}
	for _, test := range tests {
		if got := isLong(test.meta, test.tail); got != test.want {
			t.Errorf("isLong(%d bytes, %d bytes) = %v, want %v", len(test.meta), len(test.tail), got, test.want)
		}
	}
}
