package storetest

import (
	"fmt"
	"strings"
)

// names are member names, some of them the same but for their spelling.
var names = []string{
	`""`, `"a"`, `"\u0061"`, `"b"`, `"a\"b"`, `"a\u0022b"`, `"\\"`, `"\u005C"`, `"/"`, `"\/"`, `"é"`, `"\u00e9"`,
	`"😀"`, `"\ud83d\ude00"`, `"\uD83D\uDE00"`, `"\u0000"`, `"\n"`, `"\u000a"`, `"meta"`, `"a:b,c}"`, `"{"`, `"]"`,
}

// values are values that must come back to the byte.
var values = []string{
	`null`, `true`, `false`, `0`, `-0`, `1.0`, `1e999`, `-12.50E-07`, `123456789012345678901234567890`,
	`""`, `"é"`, `"\u00e9"`, `"\ud83d\ude00"`, `"a\/b"`, `"\"}"`, `"\\"`, `{}`, `[]`, `[[],{},""]`,
	`{"a":{"a":1,"a":2},"":[1,{"b":"]"}]}`, `[1,"two",3.0,null,true]`,
}

// object returns a compact object: mostly a small one, sometimes one of
// hundreds of members or with many bytes, now and then with a name twice.
func (w *walk) object() string {
	n := w.rng.IntN(6)
	if w.rng.IntN(20) == 0 {
		n = w.rng.IntN(200)
	}
	members := make([]string, n)
	for i := range members {
		members[i] = w.name() + ":" + w.value()
	}
	return "{" + strings.Join(members, ",") + "}"
}

// unset returns a compact array of names, mostly of few.
func (w *walk) unset() string {
	n := w.rng.IntN(5)
	if w.rng.IntN(20) == 0 {
		n = w.rng.IntN(100)
	}
	list := make([]string, n)
	for i := range list {
		list[i] = w.name()
	}
	return "[" + strings.Join(list, ",") + "]"
}

func (w *walk) name() string {
	if w.rng.IntN(2) == 0 {
		return pick(w.rng, names)
	}
	return fmt.Sprintf(`"k%d"`, w.rng.IntN(50))
}

func (w *walk) value() string {
	switch n := w.rng.IntN(100); {
	case n < 60:
		return pick(w.rng, values)
	case n < 98:
		return `"` + strings.Repeat("v", w.rng.IntN(1<<w.rng.IntN(9))) + `"`
	}
	return `"` + strings.Repeat("w", w.rng.IntN(1<<w.rng.IntN(17))) + `"`
}
