package storetest

import (
	"fmt"
	"strings"
)

// metadataTests have each value of values come back to the byte, and merges
// settle names as the contract says.
func metadataTests() []test {
	tests := []test{
		{name: "Values", run: testValues},
		{name: "Sizes", run: testSizes},
		{name: "ManyMembers", run: testManyMembers},
		{name: "ManyUnset", run: testManyUnset},
	}
	for _, m := range merges {
		tests = append(tests, test{name: m.name, run: func(t *tester) {
			tok := t.create(m.base)
			if m.patch != "" {
				tok = t.exchange(tok, m.patch, m.want)
			}
			t.live(tok, m.want)
			t.exchange(tok, "", m.want)
		}})
	}
	return tests
}

var merges = []struct{ name, base, patch, want string }{
	{"Empty", `{}`, `{}`, `{}`},
	{"IntoEmpty", `{}`, `{"b":1,"a":2}`, `{"b":1,"a":2}`},
	{"PlaceKept", `{"a":1,"b":2,"c":3}`, `{"c":4,"d":5,"a":6}`, `{"a":6,"b":2,"c":4,"d":5}`},
	{"Shallow", `{"a":{"x":1,"y":2}}`, `{"a":{"x":3}}`, `{"a":{"x":3}}`},
	{"NullIsAValue", `{"a":1}`, `{"a":null}`, `{"a":null}`},
	{"SpellingKept", `{"\u0061":1,"é":2}`, `{"a":3,"\u00e9":4}`, `{"\u0061":3,"é":4}`},
	{"CaseCounts", `{"a":1}`, `{"A":2}`, `{"a":1,"A":2}`},
	{"EmptyName", `{"":1}`, `{"":2,"a":3}`, `{"":2,"a":3}`},
	{"Twice", `{"a":1,"b":2,"a":3}`, "", `{"a":3,"b":2}`},
	{"TwiceSpelledApart", `{"a":1,"b":2,"\u0061":3}`, "", `{"a":3,"b":2}`},
	{"TwiceInPatch", `{"a":1}`, `{"b":2,"a":3,"\u0062":4,"a":5}`, `{"a":5,"b":4}`},
	{"NestedTwiceStays", `{"a":{"x":1,"x":2}}`, `{"b":{"y":1,"y":2}}`, `{"a":{"x":1,"x":2},"b":{"y":1,"y":2}}`},
	{"Surrogates", `{"\ud83d\ude00":1}`, `{"😀":2,"\uD83D\uDE00":3}`, `{"\ud83d\ude00":3}`},
	{"Unset", `{"a":1,"b":2,"c":3}`, `["b"]`, `{"a":1,"c":3}`},
	{"UnsetEnds", `{"a":1,"b":2,"c":3}`, `["c","a"]`, `{"b":2}`},
	{"UnsetAll", `{"a":1,"b":2}`, `["b","a","b"]`, `{}`},
	{"UnsetNothing", `{"a":1}`, `[]`, `{"a":1}`},
	{"UnsetUnknown", `{"a":1}`, `["b","A",""]`, `{"a":1}`},
	{"UnsetAfterMerge", `{"a":1,"b":2}`, `{"c":3,"a":4,"d":5}["a","c"]`, `{"b":2,"d":5}`},
	{"UnsetUnescaped", `{"\u0061":1,"b":2,"😀":3,"é\\":4}`, `["a","\u0062","\ud83d\ude00","\u00e9\u005c"]`, `{}`},
	{"UnsetIsShallow", `{"a":{"b":1},"c":["b"]}`, `["b"]`, `{"a":{"b":1},"c":["b"]}`},
	{"UnsetPunctuation", `{"],":1,"\"":2,"[":3}`, `["],","\"","}["]`, `{"[":3}`},
	{"Punctuation", `{"a:b,c}":"]}","\"":"\\\""}`, `{"\u0022":[","]}`, `{"a:b,c}":"]}","\"":[","]}`},
}

func testValues(t *tester) {
	for _, value := range values {
		meta := `{"v":` + value + `}`
		tok := t.create(meta)
		tok = t.exchange(tok, `{"w":`+value+`}`, `{"v":`+value+`,"w":`+value+`}`)
		tok = t.exchange(tok, `{"v":1}`, `{"v":1,"w":`+value+`}`)
		t.live(tok, `{"v":1,"w":`+value+`}`)
	}
}

// testSizes moves a session's metadata through sizes on both sides of each
// power of two.
func testSizes(t *tester) {
	tok, beside := t.create(`{}`), t.create(`{"beside":true}`)
	for n := 16; n <= 64<<10; n *= 2 {
		for _, size := range []int{n - 1, n, min(n+1, 64<<10), 2 + n/2} {
			tok = t.exchange(tok, text("a", size), text("a", size))
			tok = t.exchange(tok, "", text("a", size))
		}
	}
	t.exchange(tok, `{"a":1}`, `{"a":1}`)
	t.live(beside, `{"beside":true}`)
}

func testManyMembers(t *tester) {
	const n = 1000
	var base, patch, want []string
	for i := range n {
		base = append(base, fmt.Sprintf(`"k%d":%d`, i, i))
		patch = append(patch, fmt.Sprintf(`"k%d":"p%d"`, n/2+i, i))
		if i < n/2 {
			want = append(want, base[i])
		}
	}
	object := func(members []string) string { return "{" + strings.Join(members, ",") + "}" }
	t.exchange(t.create(object(base)), object(patch), object(append(want, patch...)))
}

// testManyUnset unsets every other member, and as many that are not there.
func testManyUnset(t *tester) {
	const n = 1000
	var base, unset, want []string
	for i := range 2 * n {
		if i < n {
			base = append(base, fmt.Sprintf(`"k%d":%d`, i, i))
		}
		if i%2 == 0 {
			unset = append(unset, fmt.Sprintf(`"k%d"`, i))
		} else if i < n {
			want = append(want, base[i])
		}
	}
	tok := t.create("{" + strings.Join(base, ",") + "}")
	wanted := "{" + strings.Join(append(want, `"new":1`), ",") + "}"
	tok = t.exchange(tok, `{"new":1}[`+strings.Join(unset, ",")+"]", wanted)
	t.live(tok, wanted)
}
