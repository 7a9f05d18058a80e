package metadata

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

// exact are texts without white space between their tokens: they come back to the byte.
var exact = []string{
	// Literals and containers.
	`true`, `false`, `null`, `{}`, `[]`, `""`, `[[]]`, `[{}]`, `{"a":{}}`, `{"a":[]}`,
	`[true,false,null]`, `[1,"2",[3],{"4":5}]`, `{"a":1,"b":[2,{"c":[{}]}],"d":{"e":{"f":null}}}`,

	// Numbers.
	`0`, `-0`, `1`, `-1`, `10`, `1234567890`, `9`, `-9`, `0.0`, `-0.0`, `1.0`, `1.00`, `0.1`, `10.01`,
	`0e0`, `0E0`, `1e5`, `1E5`, `1e+5`, `1e-5`, `1E+5`, `1E-5`, `1e05`, `1e00`, `-0e-0`, `1.5e10`, `-1.5E-10`,
	`1e999`, `-1e999`, `1e-999`, `1e99999999999999999999`, `0.1e-7`,
	`123456789012345678901234567890`, `-123456789012345678901234567890`, `9007199254740993`,
	`18446744073709551616`, `0.123456789012345678901234567890`,

	// Strings.
	`"a"`, `" "`, `" a  b "`, `"{}[],:"`, `"true"`, `"1"`, `"/"`, `"'"`, "\"\u007F\"", `"<>&"`,
	`"\""`, `"\\"`, `"\/"`, `"\b\f\n\r\t"`, `"\\\""`, `"\\\\"`, `"\\u"`, `"\\ud800"`, `"\\\\ud800"`,
	`"\u0000"`, `"\u0022"`, `"\u005c"`, `"\u005C"`, `"\u00e9"`, `"\u00E9"`, `"\u00e9é"`, `"\uabcd"`, `"\uABCD"`,
	`"\uaBcD"`, `"\uefEF"`, `"\uFFFF"`, `"\uFFFE"`, `"\uFFFD"`, `"\uD7FF"`, `"\uE000"`, `"\u00e9\u00e9"`,
	`"é"`, `"日本"`, `"😀"`, `"e` + "\u0301" + `"`, "\"\u0080\"", "\"\u07FF\"", "\"\u0800\"", "\"\uFFFD\"", "\"\uFFFF\"",
	"\"\uD7FF\"", "\"\uE000\"", "\"\U00010000\"", "\"\U0010FFFF\"", "\"\uFEFF\"", "\"\u2028\u2029\"", "\"\u00A0\"",

	// Surrogate pairs.
	`"\ud83d\ude00"`, `"\uD83D\uDE00"`, `"\uD83d\uDe00"`, `"\ud83D\uDE00"`, `"\uD800\uDC00"`, `"\udbff\udfff"`,
	`"\uDBFF\uDFFF"`, `"\uD800\uDFFF"`, `"\uDBFF\uDC00"`, `"a\ud83d\ude00b"`, `"\ud83d\ude00\ud83d\ude00"`,
	`"\\\ud83d\ude00"`, `"\ud83d\ude00\u0061"`, `"\u0061\ud83d\ude00"`, `{"\ud83d\ude00":1}`,

	// Names.
	`{"":1}`, `{"":""}`, `{"":{"":[]}}`, `{" ":1}`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"\"":1}`, `{"\\":1}`,
	`{"a\nb":1}`, `{"\u0000":1}`, `{"é":1,"\u00e9":2}`, `{"{":"}","[":"]",",":":"}`,
}

// malformed are texts that are refused, each for a reason of its own.
var malformed = []string{
	// Nothing, or no value.
	"", " ", " \t\r\n", "\x00", ",", ":", "]", "}", "a", "nul", "nulll", "nullnull", "True", "NULL", "tru", "truE", "fals",
	"undefined", "NaN", "nan", "Infinity", "-Infinity", "'a'", "`a`", "@", "\\", "\\u0061", "//", "/**/", "#",

	// Trailing data.
	"{}{}", "{} {}", "{},", "{}]", "{}}", "[]]", "[],", "1 2", "1,2", "1 a", "truefalse", "true false", `""""`, `"" ""`, `"a"b`,
	"{}\x00", "\x00{}", "{} x", "{}//", "{} /* */", "null\x00", "1\x00", "{};", "{}\n{}",

	// Byte order marks.
	"\uFEFF{}", "{}\uFEFF", "\uFEFF", "[\uFEFF]", "\uFFFE{}", "\xFE\xFF\x00{\x00}", "\xFF\xFE{\x00}\x00", "{\x00}\x00",

	// Numbers.
	"-", "+1", "+", "--1", "-+1", "01", "00", "-01", "-00", "1.", "-1.", "0.", ".5", "-.5", ".", "1..2", "1.2.3", "1.e5", "1e", "1E", "1e+", "1e-",
	"1e1.5", "1e1e1", "1e++1", "1e+-1", "e5", "-e5", "1_000", "1,000", "0x10", "0b1", "0o7", "1a", "1f", "1n", "- 1", "1 .5", "1e 5", "1 e5", "١", "¹",
	"-a", "-\x00", "1.\x00", "1e\x00", "[1.]", "[-]", "[01]", "[1e]", "[.5]", `{"a":1.}`, `{"a":-}`, `{"a":01}`,

	// Arrays.
	"[", "[1", "[1,", "[,", "[,]", "[1,]", "[,1]", "[1,,2]", "[1 2]", "[1:2]", `["a":1]`, "[1}", "[}", "[[]", "[]]", "[[],", "[1;2]", "[tru]", "[nul",
	`["a`, `["a"`, `["a""b"]`, "[\x00]", "[1\x00]",

	// Objects.
	"{", "{]", "{,}", "{:}", `{"`, `{"a`, `{"a"`, `{"a"}`, `{"a":`, `{"a":}`, `{"a":,}`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{,"a":1}`, `{"a":1,,"b":2}`,
	`{"a" 1}`, `{"a",1}`, `{"a"::1}`, `{"a":1:2}`, `{"a":1 "b":2}`, `{"a":1;"b":2}`, `{"a":1]`, `{a:1}`, `{'a':1}`, `{1:2}`, `{null:1}`, `{true:1}`, `{[]:1}`, `{{}:1}`,
	`{"a":1,"b"}`, `{"a":1,"b":}`, `{"a":1,b:2}`, `{"a"=1}`, `{"a":{}`, `{"a":{"b":1}`, `{"a":1}}`, `{"a":1},`, "{\x00}", `{"a` + "\x00" + `":1}`, `{"a":tru}`, `{"a\x":1}`,

	// Strings and escapes.
	`"`, `"a`, `a"`, `"\`, `"\"`, `"\\\"`, `"\a"`, `"\'"`, `"\0"`, `"\1"`, `"\v"`, `"\x41"`, `"\e"`, `"\ "`, `"\N"`, `"\U0041"`, "\"\\\n\"", "\"\\\x00\"", `"\é"`,
	`"\u"`, `"\u1"`, `"\u12"`, `"\u123"`, `"\u123g"`, `"\ug123"`, `"\u 123"`, `"\u+123"`, `"\u-123"`, `"\u12 4"`, `"\u{41}"`, `"\u00`, `"\u0041`, `"\u004G"`, `"\u004@"`, "\"\\u004`\"",
	`"\u00:0"`, `"\u00/0"`, `"\u0`, `"\u`, "\"\\u004\x00\"", `"\uD83D`, `"\uD83D\`, `"\uD83D\u`, `"\uD83D\uDE0`, `"\uD83D\uDE00`,

	// Lone surrogate escapes.
	`"\ud800"`, `"\uD800"`, `"\udbff"`, `"\uDBFF"`, `"\uDbFf"`, `"\udc00"`, `"\uDC00"`, `"\udfff"`, `"\uDFFF"`, `"\udFfF"`, `"\ud83d"`, `"\ude00"`,
	`"\ud800\ud800"`, `"\uD83D\uD83D"`, `"\udc00\ud800"`, `"\uDE00\uD83D"`, `"\ude00\ude00"`, `"\ud83d\ud83d\ude00"`, `"\ud83d\ude00\ude00"`, `"\ud83d\ude00\ud83d"`,
	`"\ud83d\n"`, `"\ud83d\\"`, `"\ud83d\\ude00"`, `"\ud83d\/ude00"`, `"\ud83d\""`, `"\ud83d\u0061"`, `"\ud83d\ue000"`, `"\ud83d\udbff"`, `"\ud83d\ude0g"`, `"\ud83d\ude0"`,
	`"\ud83dude00"`, `"\ud83d \ude00"`, `"\ud83da"`, `"a\ud83d"`, `"\ud83d😀"`, `"\ud83dé"`, `"\ude00a"`, `"\\\ud800"`, `"\ud83d\Ude00"`, "\"\\ud83d\xED\xB8\x80\"",
	`{"\ud800":1}`, `{"a":"\udc00"}`, `{"a":{"\ud800":1}}`, `["\udfff"]`,

	// Invalid UTF-8.
	"\"\xFF\"", "\"\xFE\"", "\"\x80\"", "\"\xBF\"", "\"a\x80b\"", "\"é\xA9\"", "\"\xC3\"", "\"\xC3", "\"\xC3a\"", "\"\xC3\xC3\xA9\"", "\"\xE2\x82\"", "\"\xE2\x82a\"", "\"\xE2\"", "\"\xF0\x9F\x98\"", "\"\xF0\x9F\"", "\"\xF0\"",
	"\"\xF0\x9F\x98a\"", "\"\xC0\x80\"", "\"\xC0\xAF\"", "\"\xC1\xBF\"", "\"\xC0\xA2\"", "\"\xE0\x80\x80\"", "\"\xE0\x80\xAF\"", "\"\xE0\x9F\xBF\"", "\"\xF0\x80\x80\x80\"", "\"\xF0\x8F\xBF\xBF\"",
	"\"\xED\xA0\x80\"", "\"\xED\xAF\xBF\"", "\"\xED\xB0\x80\"", "\"\xED\xBF\xBF\"", "\"\xED\xA0\xBD\xED\xB8\x80\"", "\"\xF4\x90\x80\x80\"", "\"\xF5\x80\x80\x80\"", "\"\xF8\x88\x80\x80\x80\"", "\"\xFC\x84\x80\x80\x80\x80\"",
	"{\"\xFF\":1}", "{\"a\":\"\xFF\"}", "[\"\xC3\"]", "\xFF", "{}\xFF", "[\xFF]", "{\xFF}", "\xC3\xA9", "\"\\\xFF\"", "\"\\u00e9\xE9\"",
}

// nest returns a value that is n times inside open and close.
func nest(n int, open, value, close string) string {
	return strings.Repeat(open, n) + value + strings.Repeat(close, n)
}

// deepest are texts that nest as deep as is allowed, tooDeep those one level deeper.
var deepest, tooDeep = nested(MaxDepth), nested(MaxDepth + 1)

func nested(depth int) []string {
	texts := []string{
		nest(depth, "[", "", "]"),
		nest(depth-1, "[", "{}", "]"),
		nest(depth, "[", `"a"`, "]"),
		nest(depth-1, `{"a":`, "{}", "}"),
		nest(depth-1, `{"a":`, "[]", "}"),
		nest(depth, `{"a":`, "1", "}"),
		"[1," + nest(depth-1, `[`, "null", "]") + ",2]",
		`{"a":[],"b":` + nest(depth-1, `{"":`, "0", "}") + `,"c":{}}`,
	}
	mixed := nest(depth/2, `{"a":[`, "", `]}`)
	if depth%2 == 1 {
		mixed = "[" + mixed + "]"
	}
	return append(texts, mixed)
}

// scan has s scan a copy of text.
func scan(s *Scanner, text string) (string, error) {
	got, err := s.Scan([]byte(text))
	return string(got), err
}

func TestScanKeepsToTheByte(t *testing.T) {
	var s Scanner
	for _, text := range slices.Concat(exact, deepest) {
		for _, around := range [][2]string{{"", ""}, {" ", " "}, {"\r\n\t", "\t\n\r"}} {
			given := around[0] + text + around[1]
			if got, err := scan(&s, given); err != nil || got != text {
				t.Errorf("Scan(%q) = %q, %v, want %q", given, got, err, text)
			}
		}
	}
}

// A value is the same to the scanner wherever it stands.
func TestScanKeepsToTheByteInside(t *testing.T) {
	var s Scanner
	for _, value := range exact {
		given := "{ \"a\" : " + value + " ,\n\"b\":[\t" + value + "\r, " + value + " ] }"
		want := `{"a":` + value + `,"b":[` + value + "," + value + "]}"
		if got, err := scan(&s, given); err != nil || got != want {
			t.Errorf("Scan(%q) = %q, %v, want %q", given, got, err, want)
		}
	}
}

func TestScanRefuses(t *testing.T) {
	var s Scanner
	for _, text := range slices.Concat(malformed, tooDeep) {
		checkRefused(t, &s, text)
		checkRefused(t, &s, " "+text+"\n")
	}
}

func checkRefused(t *testing.T, s *Scanner, text string) {
	t.Helper()
	if got, err := scan(s, text); !errors.Is(err, ErrMalformed) || got != "" {
		t.Errorf("Scan(%q) = %q, %v, want %v", text, got, err, ErrMalformed)
	}
	if got := s.Fields(); len(got) != 0 {
		t.Errorf("after Scan(%q), which failed, Fields() has %d fields, want none", text, len(got))
	}
}

// No text that ends in a bracket, brace or quote is one without its end.
func TestScanRefusesEveryPrefix(t *testing.T) {
	var s Scanner
	for _, text := range slices.Concat(exact, deepest) {
		if !strings.ContainsAny(text[:1], `{["tfn`) {
			continue
		}
		for n := range len(text) {
			checkRefused(t, &s, text[:n])
		}
	}
}

func TestScanRefusesControlCharactersInStrings(t *testing.T) {
	var s Scanner
	for c := range byte(' ') {
		for _, text := range []string{`"` + string(c) + `"`, `"a` + string(c) + `b"`, `{"` + string(c) + `":1}`, `["\` + string(c) + `"]`} {
			checkRefused(t, &s, text)
		}
	}
}

// tokens make up a text that has a place between tokens of every kind.
var tokens = []string{"", "{", `"a"`, ":", "[", "1", ",", "-2.5e3", ",", "true", ",", "[", "]", "]", ",", `"b"`, ":", "{", "}", "}", ""}

func TestScanDropsWhiteSpace(t *testing.T) {
	var s Scanner
	want := strings.Join(tokens, "")
	for _, space := range []string{" ", "\t", "\n", "\r", "\r\n", " \t\n\r ", strings.Repeat(" ", 1000)} {
		given := strings.Join(tokens, space)
		if got, err := scan(&s, given); err != nil || got != want {
			t.Errorf("Scan(%q) = %q, %v, want %q", given, got, err, want)
		}
	}
}

func TestScanRefusesOtherSpace(t *testing.T) {
	var s Scanner
	for _, space := range []string{
		"\v", "\f", "\b", "\x00", "\x1c", "\x1f", "\x7f", "\xA0", "\x85", "\u0085", "\u00A0", "\u1680", "\u2003", "\u2028", "\u2029", "\u200B", "\u3000", "\uFEFF", `\n`, "/**/",
	} {
		for gap := 1; gap < len(tokens); gap++ {
			before, after := strings.Join(tokens[:gap], " "), strings.Join(tokens[gap:], " ")
			checkRefused(t, &s, before+space+after)
		}
	}
}

// White space parts tokens, and is no part of one.
func TestScanRefusesWhiteSpaceInsideTokens(t *testing.T) {
	var s Scanner
	for _, word := range []string{"true", "false", "null", "12", "-1", "1.5", "1e5", "1e+5"} {
		for n := 1; n < len(word); n++ {
			checkRefused(t, &s, word[:n]+" "+word[n:])
		}
	}
}

// Depth limits the stack: of endless nesting no more than its beginning is read.
func TestScanRefusesHugeNesting(t *testing.T) {
	var s Scanner
	for _, open := range []string{"[", `{"a":`, `[{"a":`, "[[],", "[\n"} {
		text := bytes.Repeat([]byte(open), 4<<20/len(open))
		if _, err := s.Scan(text); !errors.Is(err, ErrMalformed) {
			t.Errorf("Scan of %d bytes of %q: %v, want %v", len(text), open, err, ErrMalformed)
		}
		if limit := (MaxDepth + 1) * len(open); s.r > limit {
			t.Errorf("Scan of %d bytes of %q read %d bytes, want at most %d", len(text), open, s.r, limit)
		}
	}
}

func TestScanTakesHugeTexts(t *testing.T) {
	var s Scanner
	const n = 200_000
	for _, part := range []string{"[]", `{"a":1}`, `"a\n"`, "12.5", "null"} {
		want := "[" + strings.Repeat(part+",", n) + part + "]"
		got, err := scan(&s, strings.ReplaceAll(want, ",", " ,\n"))
		if err != nil || got != want {
			t.Errorf("Scan of an array of %d times %q: error %v, right: %v", n+1, part, err, got == want)
		}
	}
}

func TestScanCompactsInPlace(t *testing.T) {
	var s Scanner
	text := []byte(` { "a" : [ 1 ] } `)
	got, err := s.Scan(text)
	if err != nil || &got[0] != &text[0] {
		t.Errorf("Scan returned %q at another place than its text, error %v", got, err)
	}
}

func TestScanAllocatesNothing(t *testing.T) {
	s := Scanner{Names: []string{"token", "meta"}}
	given := []byte(` {"token": "abc", "meta": {"user": "Zoë", "n": [1, 2.5, -3e7], "\u0061": "\ud83d\ude00"}} `)
	text := make([]byte, len(given))
	got := testing.AllocsPerRun(100, func() {
		copy(text, given)
		if _, err := s.Scan(text); err != nil {
			t.Fatal(err)
		}
	})
	if got != 0 {
		t.Errorf("Scan allocates %v times, want 0", got)
	}
}

type field struct{ name, value string }

// fieldsOf returns copies of the fields that s found.
func fieldsOf(s *Scanner) []field {
	var got []field
	for _, f := range s.Fields() {
		got = append(got, field{f.Name, string(f.Value)})
	}
	return got
}

var fieldTests = []struct {
	text string
	want []field
}{
	{`{}`, nil},
	{` { } `, nil},
	{`[]`, nil},
	{`[{"a":1}]`, nil},
	{`"{\"a\":1}"`, nil},
	{`1`, nil},
	{`null`, nil},
	{`{"a":1}`, []field{{"a", "1"}}},
	{`{"":""}`, []field{{"", `""`}}},
	{` { "b" : 1 , "a" : [ 1 , { "c" : 2 } ] } `, []field{{"b", "1"}, {"a", `[1,{"c":2}]`}}},
	{`{"a":{"b":{"c":1}},"d":{}}`, []field{{"a", `{"b":{"c":1}}`}, {"d", "{}"}}},
	{`{"a":1,"a":2,"b":3,"a":4}`, []field{{"a", "1"}, {"a", "2"}, {"b", "3"}, {"a", "4"}}},
	{`{"a":1,"\u0061":2,"A":3}`, []field{{"a", "1"}, {"a", "2"}, {"A", "3"}}},
	{`{"\u0074oken":"\u0061","m\u0065ta":null}`, []field{{"token", `"\u0061"`}, {"meta", "null"}}},
	{`{"\"\\\/\b\f\n\r\t":"\"\\\/\b\f\n\r\t"}`, []field{{"\"\\/\b\f\n\r\t", `"\"\\\/\b\f\n\r\t"`}}},
	{`{"\ud83d\ude00\u00e9\u0000":1}`, []field{{"😀é\x00", "1"}}},
	{`{"é":"\u00e9","\u00e9":"é"}`, []field{{"é", `"\u00e9"`}, {"é", `"é"`}}},
	{`{"\\u0061":1,"\\\\":2}`, []field{{`\u0061`, "1"}, {`\\`, "2"}}},
	{`{"\uFFFD":1,"` + "\uFFFD" + `":2}`, []field{{"\uFFFD", "1"}, {"\uFFFD", "2"}}},
	{`{"a":1e999,"b":1.0,"c":123456789012345678901234567890}`, []field{{"a", "1e999"}, {"b", "1.0"}, {"c", "123456789012345678901234567890"}}},
	{`{"a":"}","b":"{","c":",\"d\":1"}`, []field{{"a", `"}"`}, {"b", `"{"`}, {"c", `",\"d\":1"`}}},
}

func TestFields(t *testing.T) {
	var s Scanner
	for _, test := range fieldTests {
		if _, err := scan(&s, test.text); err != nil {
			t.Errorf("Scan(%q): %v", test.text, err)
		}
		if got := fieldsOf(&s); !slices.Equal(got, test.want) {
			t.Errorf("Fields of %q = %q, want %q", test.text, got, test.want)
		}
	}
}

func TestFieldsOfManyMembers(t *testing.T) {
	var s Scanner
	const n = 10_000
	if _, err := scan(&s, "{"+strings.Repeat(` "a\tb" : [ ] ,`, n-1)+`"c":0}`); err != nil {
		t.Fatal(err)
	}
	want := append(slices.Repeat([]field{{"a\tb", "[]"}}, n-1), field{"c", "0"})
	if got := fieldsOf(&s); !slices.Equal(got, want) {
		t.Errorf("Fields of %d members differ from what was given", n)
	}
}

// One field's value can't be appended to at the cost of the text behind it.
func TestFieldValuesAreClipped(t *testing.T) {
	var s Scanner
	text, err := s.Scan([]byte(`{"a":1,"b":2}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = append(s.Fields()[0].Value, "XXXX"...)
	if got, want := string(text), `{"a":1,"b":2}`; got != want {
		t.Errorf("after an append to a field's value the text is %q, want %q", got, want)
	}
}

// What a scanner met before, good or bad, is nothing to what follows.
func TestScannerIsReused(t *testing.T) {
	var s Scanner
	for _, bad := range slices.Concat(malformed, tooDeep, []string{`{"x":1,"y":[2`, `{"x":1}z`}) {
		for _, test := range fieldTests {
			checkRefused(t, &s, bad)
			if _, err := scan(&s, test.text); err != nil {
				t.Fatalf("Scan(%q) after Scan(%q): %v", test.text, bad, err)
			}
			if got := fieldsOf(&s); !slices.Equal(got, test.want) {
				t.Fatalf("Fields of %q after Scan(%q) = %q, want %q", test.text, bad, got, test.want)
			}
		}
	}
}

func TestNamedFields(t *testing.T) {
	names := []string{"token", "meta"}
	tests := []struct{ text, want string }{
		{`{"token":1,"other":2,"meta":3}`, "token=1 meta=3"},
		{`{"\u0074oken":1,"m\u0065ta":2}`, "token=1 meta=2"},
		{`{"\u0074\u006f\u006b\u0065\u006e":1}`, "token=1"},
		{`{"Token":1,"toke":2,"token ":3,"tok\u0000n":4,"\n":5,"":6,"\u0074\u006f\u006b\u0065\u006e\u006e":7}`, ""},
		{`{"token":1,"token":2}`, "token=1 token=2"},
		{`{"token":1,"token":2,"meta":3,"token":4,"meta":5}`, "token=1 token=2 meta=3"}, // enough to see it
		{`{"other":{"token":1}}`, ""},
		{`[{"token":1}]`, ""},
	}
	s := Scanner{Names: names}
	for _, tt := range tests {
		if _, err := s.Scan([]byte(tt.text)); err != nil {
			t.Fatalf("Scan(%q): %v", tt.text, err)
		}
		var got []string
		for _, f := range s.Fields() {
			got = append(got, f.Name+"="+string(f.Value))
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("fields of %s = %q, want %q", tt.text, got, tt.want)
		}
	}
}

// What is not wanted takes no memory, however much there is of it.
func TestScannerTakesNoMemory(t *testing.T) {
	const size, most = 1 << 20, 1 << 10
	tests := []struct{ name, member string }{
		{"tiny members", `"":0`},
		{"a name twice", `"a":0`},
		{"escapes", `"\n":0`},
		{"a name in escapes", `"\u0061":0`},
	}
	for _, tt := range tests {
		text := []byte(repeated(size, func(int) string { return tt.member }))
		s := Scanner{Names: []string{"a"}}
		if got := allocatedBy(func() { s.Scan(text) }); got > most {
			t.Errorf("%s: a scan of %d bytes allocates %d, want at most %d", tt.name, size, got, most)
		}
		s.Reset()
		if s.text != nil || len(s.Fields()) != 0 {
			t.Errorf("%s: after Reset the scanner has %d bytes and %d fields, want none", tt.name, len(s.text), len(s.Fields()))
		}
	}
}
