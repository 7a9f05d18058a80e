package server

import (
	"fmt"
	"strings"
	"testing"

	"tokenserver/shard"
)

// Values come back to the byte. want is empty where it is the value itself.
var values = []struct{ value, want string }{
	{"0", ""}, {"-0", ""}, {"1", ""}, {"1.0", ""}, {"1.50", ""}, {"-0.0", ""}, {"1e999", ""}, {"1E+2", ""}, {"1e-07", ""},
	{"123456789012345678901234567890", ""}, {"-123456789012345678901234567890", ""}, {"9007199254740993", ""},
	{"0.1234567890123456789012345678901234567890", ""}, {"1E400", ""}, {"0e0", ""},
	{`""`, ""}, {`"é"`, ""}, {`"\u00e9"`, ""}, {`"\u00E9"`, ""}, {`"é\u00e9"`, ""}, {`"\/"`, ""}, {`"/"`, ""},
	{`"\"\\\b\f\n\r\t"`, ""}, {`"\u0000"`, ""}, {`"\u001f\u007f"`, ""}, {"\"\u007f\"", ""}, {"\"\u2028\u2029\"", ""},
	{`"\u2028"`, ""}, {`"<script>&'"`, ""}, {`"\u003c"`, ""}, {`"😀"`, ""}, {`"\ud83d\ude00"`, ""}, {`"\uD83D\uDE00"`, ""},
	{"\"\uFEFF\"", ""}, {"\"\uFFFD\"", ""}, {"\"\U0010FFFF\"", ""}, {`"  two  spaces  "`, ""}, {`"{\"a\": 1}"`, ""}, {`"a,b:c]d}"`, ""},
	{"true", ""}, {"false", ""}, {"null", ""}, {"{}", ""}, {"[]", ""}, {"[[]]", ""}, {`[{},[],"",null,0]`, ""},
	{`{"b":1,"a":2}`, ""}, {`{"":{"":[]}}`, ""}, {`{"a":1,"a":2}`, ""}, {`{"\u0061":1,"a":2}`, ""},
	{" 1.0 ", "1.0"}, {"[ 1 , 2.0\n,\t3e1 ]", "[1,2.0,3e1]"}, {"{ \"a b\" : { } ,\r\n\"c\":[ ] }", `{"a b":{},"c":[]}`},
	{"[ \"a b\" , \" \" ]", `["a b"," "]`}, {"[ [ ] , { } ]", "[[],{}]"},
}

func TestValuesComeBackAsTheyWere(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	all := c.create(`{}`)
	for i, v := range values {
		want := v.value
		if v.want != "" {
			want = v.want
		}
		meta := `{"v":` + want + `}`
		tok, got := c.exchange(c.create(`{"v":`+v.value+`}`), "")
		if got != meta {
			t.Errorf("metadata of %q = %s, want %s", v.value, got, meta)
		}
		if _, got = c.exchange(tok, `{"w":`+v.value+`}`); got != `{"v":`+want+`,"w":`+want+`}` {
			t.Errorf("metadata of %q after a patch = %s", v.value, got)
		}
		all, got = c.exchange(all, fmt.Sprintf(`{"v%d":%s}`, i, v.value))
		if suffix := fmt.Sprintf(`"v%d":%s}`, i, want); !strings.HasSuffix(got, suffix) {
			t.Errorf("metadata of all does not end with %s", suffix)
		}
		if r := c.do("POST", "/token/validate", tokenBody(all)); !strings.HasPrefix(r.body, `{"Ok":{"meta":`+got+`,"expires_in":`) {
			t.Errorf("validate = %s, want metadata %s", r.body, got)
		}
	}
}

func TestNamesComeBackAsTheyWere(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	for _, name := range []string{
		"", " ", "a", "é", `\u00e9`, `\u00E9`, `\"`, `\\`, `\/`, "/", `\n`, `\u0000`, "😀", `\ud83d\ude00`, "token", "meta", "Ok", "Err",
		"__proto__", "\u2028", "a.b", "0", strings.Repeat("x", 1000),
	} {
		meta := `{"` + name + `":1}`
		tok, got := c.exchange(c.create(`{ "`+name+`" : 1 }`), "")
		if got != meta {
			t.Errorf("metadata = %s, want %s", got, meta)
		}
		if _, got = c.exchange(tok, `{"`+name+`":[]}`); got != `{"`+name+`":[]}` {
			t.Errorf("metadata after a patch of %q = %s", name, got)
		}
	}
}

func TestMerge(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	tests := []struct{ name, base, patch, want string }{
		{"nothing into nothing", `{}`, `{}`, `{}`},
		{"something into nothing", `{}`, `{"a":1}`, `{"a":1}`},
		{"nothing into something", `{"a":1}`, `{}`, `{"a":1}`},
		{"new members follow", `{"b":1,"a":2}`, `{"d":3,"c":4}`, `{"b":1,"a":2,"d":3,"c":4}`},
		{"known members stay in place", `{"a":1,"b":2,"c":3}`, `{"c":30,"a":10}`, `{"a":10,"b":2,"c":30}`},
		{"both", `{"a":1,"b":2}`, `{"c":3,"b":20,"d":4}`, `{"a":1,"b":20,"c":3,"d":4}`},
		{"shallow", `{"a":{"x":1,"y":2}}`, `{"a":{"x":3}}`, `{"a":{"x":3}}`},
		{"null is a value", `{"a":1,"b":2}`, `{"a":null}`, `{"a":null,"b":2}`},
		{"other kinds", `{"a":{},"b":[1],"c":"x"}`, `{"a":[],"b":"y","c":{}}`, `{"a":[],"b":"y","c":{}}`},
		{"given twice at first", `{"a":1,"b":2,"a":3}`, `{}`, `{"a":3,"b":2}`},
		{"given twice in the patch", `{}`, `{"a":1,"b":2,"a":3}`, `{"a":3,"b":2}`},
		{"given twice in both", `{"a":1,"a":2,"b":3}`, `{"b":4,"a":5,"b":6}`, `{"a":5,"b":6}`},
		{"same name, other spelling", `{"\u0061":1}`, `{"a":2}`, `{"\u0061":2}`},
		{"same name, other spelling, escaped later", `{"a":1}`, `{"\u0061":2}`, `{"a":2}`},
		{"same name twice, other spelling", `{"\u0061":1,"a":2}`, `{}`, `{"\u0061":2}`},
		{"hex digits of either case", `{"\u00e9":1}`, `{"\u00E9":2,"é":3}`, `{"\u00e9":3}`},
		{"surrogate pair", `{"😀":1}`, `{"\ud83d\ude00":2}`, `{"😀":2}`},
		{"escaped solidus", `{"\/":1}`, `{"/":2}`, `{"\/":2}`},
		{"case of letters counts", `{"a":1}`, `{"A":2}`, `{"a":1,"A":2}`},
		{"forms of Unicode count", `{"é":1}`, `{"e\u0301":2}`, `{"é":1,"e\u0301":2}`},
		{"empty name", `{"":1}`, `{"":2," ":3}`, `{"":2," ":3}`},
		{"names that are values", `{"a":"b"}`, `{"b":"a"}`, `{"a":"b","b":"a"}`},
		{"inner duplicates stay", `{"a":{"x":1,"x":2}}`, `{"b":{"y":1,"y":2}}`, `{"a":{"x":1,"x":2},"b":{"y":1,"y":2}}`},
		{"white space", "{ \"a\" : [ 1 ] }", "{\n\"b\" :\t{ } }", `{"a":[1],"b":{}}`},
	}
	for _, test := range tests {
		tok, _ := c.exchange(c.create(test.base), "")
		tok, got := c.exchange(tok, test.patch)
		if got != test.want {
			t.Errorf("%s: %s with %s = %s, want %s", test.name, test.base, test.patch, got, test.want)
		}
		if _, kept := c.exchange(tok, ""); kept != got {
			t.Errorf("%s: next exchange has %s, want %s", test.name, kept, got)
		}
	}
}

// object returns an object of n members with values made from v, in the order of
// their numbers, which begin at from.
func object(from, n int, v string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"member %d":"%s%d"`, from+i, v, from+i)
	}
	return "{" + b.String()[1:] + "}"
}

func TestThousandsOfMembers(t *testing.T) {
	const limit = 1 << 20
	c := serve(t, Config{Store: newStore(t, shard.Config{MaxMeta: limit}), MaxBody: limit}).dial(t)
	tok := c.create(object(0, 5000, "old"))
	_, got := c.exchange(tok, object(2500, 5000, "new"))
	kept, _ := strings.CutSuffix(object(0, 2500, "old"), "}")
	if want := kept + "," + object(2500, 5000, "new")[1:]; got != want {
		t.Errorf("merged metadata has %d bytes, want %d: %.100q …", len(got), len(want), got)
	}
}

func TestMetaTooLarge(t *testing.T) {
	const limit = 1000
	s := serve(t, Config{Store: newStore(t, shard.Config{MaxMeta: limit}), MaxBody: 10 * limit})
	c := s.dial(t)
	sized := func(name string, n int) string { // an object of n bytes
		return `{"` + name + `":"` + strings.Repeat("x", n-len(`{"":""}`)-len(name)) + `"}`
	}

	c.do("POST", "/token", `{"meta":`+sized(marker, limit+1)+`}`).wantError(t, 413, "MetaTooLarge")
	tok, got := c.exchange(c.create(sized("a", limit)), "")
	if len(got) != limit {
		t.Errorf("metadata of the greatest size has %d bytes", len(got))
	}
	// A patch may leave it as large as it is, but no larger.
	tok, _ = c.exchange(tok, sized("a", limit))
	for _, patch := range []string{sized("a", limit+1), sized(marker, limit), `{"b":1}`, sized(marker, 5*limit)} {
		c.do("PUT", "/token", exchangeBody(tok, patch)).wantError(t, 413, "MetaTooLarge")
	}
	tok, again := c.exchange(tok, "") // the old token is valid, and nothing has changed
	if again != got {
		t.Errorf("metadata after patches that were too large = %.100q, want %.100q", again, got)
	}
	if _, got := c.exchange(tok, `{"a":1}`); got != `{"a":1}` {
		t.Errorf("metadata = %s after it was made smaller", got)
	}

	// White space and members that are overruled do not count.
	spaced := `{"a":` + strings.Repeat(" ", 2*limit) + `1}`
	doubled := `{"a":"` + strings.Repeat("x", 2*limit) + `","a":1}`
	for _, meta := range []string{spaced, doubled} {
		if _, got := c.exchange(c.create(meta), meta); got != `{"a":1}` {
			t.Errorf("metadata = %s, want one short member", got)
		}
	}
	c.wantOpen()
	s.wantWorking(t)
}
