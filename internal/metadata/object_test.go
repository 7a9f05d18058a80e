package metadata

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// compact returns text as Scanner leaves it.
func compact(t testing.TB, text string) []byte {
	t.Helper()
	var s Scanner
	object, err := s.Scan([]byte(text))
	if err != nil {
		t.Fatalf("Scan(%q): %v", text, err)
	}
	return object
}

// merge makes metadata of base, as a create does, and merges patch over it with
// o, as an exchange does.
func merge(t testing.TB, o *Object, base, patch string) string {
	t.Helper()
	o.Split(compact(t, base))
	meta := o.Append(nil)
	if got := o.Len(); got != len(meta) {
		t.Errorf("Len of %q = %d, want %d", base, got, len(meta))
	}
	o.Split(compact(t, patch))
	return string(o.AppendMerged(nil, meta))
}

var mergeTests = []struct{ name, base, patch, want string }{
	{"both empty", `{}`, `{}`, `{}`},
	{"empty base", `{}`, `{"a":1,"b":2}`, `{"a":1,"b":2}`},
	{"empty patch", `{"a":1,"b":2}`, `{}`, `{"a":1,"b":2}`},
	{"white space", " { \"a\" : [ 1 ] } ", "{ \"b\" :\t{ \"c\" : 2 } }\n", `{"a":[1],"b":{"c":2}}`},
	{"new names follow", `{"b":1,"a":2}`, `{"d":3,"c":4}`, `{"b":1,"a":2,"d":3,"c":4}`},
	{"a known name keeps its place", `{"a":1,"b":2,"c":3}`, `{"b":4}`, `{"a":1,"b":4,"c":3}`},
	{"first and last", `{"a":1,"b":2,"c":3}`, `{"c":5,"a":4}`, `{"a":4,"b":2,"c":5}`},
	{"known and new", `{"a":1,"b":2}`, `{"c":3,"b":4,"d":5,"a":6}`, `{"a":6,"b":4,"c":3,"d":5}`},
	{"null is a value", `{"a":1,"b":2}`, `{"a":null}`, `{"a":null,"b":2}`},
	{"shallow", `{"a":{"x":1,"y":2}}`, `{"a":{"z":3}}`, `{"a":{"z":3}}`},
	{"case of letters", `{"a":1}`, `{"A":2}`, `{"a":1,"A":2}`},

	{"twice in the base", `{"a":1,"b":2,"a":3}`, `{}`, `{"a":3,"b":2}`},
	{"twice in the patch", `{}`, `{"a":1,"b":2,"a":3}`, `{"a":3,"b":2}`},
	{"twice in both", `{"a":1,"b":2,"a":3}`, `{"c":4,"a":5,"c":6,"a":7}`, `{"a":7,"b":2,"c":6}`},
	{"only one name", `{"a":1,"a":2,"a":3}`, `{"a":4,"a":5}`, `{"a":5}`},
	{"nested duplicates stay", `{"a":{"x":1,"x":2}}`, `{"b":{"y":1,"y":2}}`, `{"a":{"x":1,"x":2},"b":{"y":1,"y":2}}`},

	{"escape in the patch", `{"a":1}`, `{"\u0061":2}`, `{"a":2}`},
	{"escape in the base", `{"\u0061":1}`, `{"a":2}`, `{"\u0061":2}`},
	{"two spellings in the base", `{"a":1,"\u0061":2}`, `{"b":3}`, `{"a":2,"b":3}`},
	{"two spellings in the patch", `{"b":3}`, `{"\u0061":1,"a":2}`, `{"b":3,"\u0061":2}`},
	{"three spellings", `{"é/":1}`, `{"\u00e9\/":2,"\u00E9/":3}`, `{"é/":3}`},
	{"surrogate pair", `{"\ud83d\ude00":1}`, `{"😀":2,"\uD83D\uDE00":3}`, `{"\ud83d\ude00":3}`},
	{"short escapes", `{"\n\t\"\\\/":1}`, `{"\u000a\u0009\u0022\u005c\u002f":2}`, `{"\n\t\"\\\/":2}`},
	{"null character", `{"\u0000":1,"":2}`, `{"\u0000":3}`, `{"\u0000":3,"":2}`},
	{"escaped backslash is no escape", `{"\\u0061":1}`, `{"a":2}`, `{"\\u0061":1,"a":2}`},
	{"unlike forms of one letter", `{"é":1}`, `{"e\u0301":2}`, `{"é":1,"e\u0301":2}`},
	{"quotes in names", `{"\"a":1,"a\"":2}`, `{"a\"":3}`, `{"\"a":1,"a\"":3}`},
	{"backslash at the end of a name", `{"a\\":1}`, `{"a\u005c":2,"a":3}`, `{"a\\":2,"a":3}`},
	{"empty name", `{"":1}`, `{"a":2,"":3}`, `{"":3,"a":2}`},
	{"punctuation in names", `{"{":1,"},":2,":":3}`, `{",":4,"}":5,"},":6}`, `{"{":1,"},":6,":":3,",":4,"}":5}`},

	{"punctuation in strings", `{"a":"}","b":"{","c":",\"b\":1","d":"]"}`, `{"b":"}}","e":"[,"}`, `{"a":"}","b":"}}","c":",\"b\":1","d":"]","e":"[,"}`},
	{"quotes in strings", `{"a":"\"","b":"\\","c":"\\\""}`, `{"b":"\\\\","d":"\"\\"}`, `{"a":"\"","b":"\\\\","c":"\\\"","d":"\"\\"}`},
	{"strings in nested values", `{"a":["}","]",{"\"}":"\\"}],"b":1}`, `{"b":{"c":"}\"]\\"},"d":[["]"]]}`, `{"a":["}","]",{"\"}":"\\"}],"b":{"c":"}\"]\\"},"d":[["]"]]}`},
	{"empty values", `{"a":{},"b":[],"c":""}`, `{"c":{},"a":[],"b":""}`, `{"a":[],"b":"","c":{}}`},
	{"kinds of values", `{"a":1,"b":"s","c":true,"d":null,"e":[1],"f":{"g":2}}`, `{"a":"t","b":[],"c":{},"d":-1.5e3,"e":false,"f":0}`, `{"a":"t","b":[],"c":{},"d":-1.5e3,"e":false,"f":0}`},
	{"numbers to the digit", `{"a":1.0,"b":1e999}`, `{"c":123456789012345678901234567890,"a":-0}`, `{"a":-0,"b":1e999,"c":123456789012345678901234567890}`},
	{"escapes to the letter", `{"a":"\u00e9","b":"é"}`, `{"c":"\u00E9\/"}`, `{"a":"\u00e9","b":"é","c":"\u00E9\/"}`},
}

func TestMerge(t *testing.T) {
	var reused Object
	for _, test := range mergeTests {
		for _, o := range []*Object{new(Object), &reused} {
			if got := merge(t, o, test.base, test.patch); got != test.want {
				t.Errorf("%s: %s merged over %s = %s, want %s", test.name, test.patch, test.base, got, test.want)
			}
		}
	}
}

var unsetTests = []struct{ name, base, patch, unset, want string }{
	{"the only one", `{"a":1}`, `{}`, `["a"]`, `{}`},
	{"first, middle, last", `{"a":1,"b":2,"c":3,"d":4,"e":5}`, `{}`, `["e","c","a"]`, `{"b":2,"d":4}`},
	{"none", `{"a":1}`, `{"b":2}`, `[]`, `{"a":1,"b":2}`},
	{"unknown", `{"a":1}`, `{"b":2}`, `["c","A","a ",""]`, `{"a":1,"b":2}`},
	{"twice", `{"a":1,"b":2}`, `{}`, `["a","a","\u0061"]`, `{"b":2}`},
	{"after the merge", `{"a":1,"b":2}`, `{"a":3,"c":4,"d":5}`, `["c","a"]`, `{"b":2,"d":5}`},
	{"all that the patch has", `{}`, `{"a":1,"b":2}`, `["b","a"]`, `{}`},
	{"escapes", `{"\u0061":1,"b":2,"😀":3,"\"":4}`, `{"\/":5}`, `["a","\u0062","\ud83d\ude00","\u0022","/"]`, `{}`},
	{"shallow", `{"a":{"b":1},"c":["b"]}`, `{}`, `["b"]`, `{"a":{"b":1},"c":["b"]}`},
	{"punctuation", `{"],":1,"\"":2,"[":3,"\\":4}`, `{}`, `["],","\"","}[","\\"]`, `{"[":3}`},
}

func TestUnset(t *testing.T) {
	var o Object
	many := strings.TrimSuffix(numbered(0, 50, "many"), "}")
	for _, test := range unsetTests {
		base, patch, unset := compact(t, test.base), compact(t, test.patch), compact(t, test.unset)
		o.SplitPatch(patch, unset)
		if got := string(o.AppendMerged(nil, base)); got != test.want {
			t.Errorf("%s: %s merged over %s without %s = %s, want %s", test.name, patch, base, unset, got, test.want)
		}
		if got := o.Append(nil); o.Len() != len(got) {
			t.Errorf("%s: Len = %d, want that of %s", test.name, o.Len(), got)
		}
		if test.patch == "{}" {
			o.SplitPatch(nil, unset)
			if got := string(o.AppendMerged(nil, base)); got != test.want {
				t.Errorf("%s: %s without %s = %s, want %s", test.name, base, unset, got, test.want)
			}
		}
		o.SplitPatch([]byte(many+"}"), unset)
		want := model(nil).with(t, string(base)).with(t, many+"}").without(t, unset).String()
		if got := string(o.AppendMerged(nil, base)); got != want {
			t.Errorf("%s: many merged over %s without %s = %s, want %s", test.name, base, unset, got, want)
		}
	}
}

func TestIsStrings(t *testing.T) {
	tests := []struct {
		text string
		want bool
	}{
		{`[]`, true}, {`["a"]`, true}, {`["a","]","\"","\\"]`, true}, {`[""]`, true},
		{`[1]`, false}, {`["a",1]`, false}, {`[null]`, false}, {`["a",null,"b"]`, false}, {`[["a"]]`, false}, {`["a",{}]`, false},
		{`{}`, false}, {`"[]"`, false}, {`1`, false}, {`null`, false}, {`true`, false}, {`{"a":["b"]}`, false},
	}
	for _, test := range tests {
		if got := IsStrings([]byte(test.text)); got != test.want {
			t.Errorf("IsStrings(%s) = %v, want %v", test.text, got, test.want)
		}
	}
}

// The rules are the same beyond linearMembers.
func TestMergeAmongManyMembers(t *testing.T) {
	var o Object
	many := strings.TrimSuffix(numbered(0, 50, "many"), "}")
	among := func(object string) string {
		if object == "{}" {
			return many + "}"
		}
		return many + "," + object[len("{"):]
	}
	for _, test := range mergeTests {
		base, patch := string(compact(t, test.base)), string(compact(t, test.patch))
		if got, want := merge(t, &o, among(base), patch), among(test.want); got != want {
			t.Errorf("%s: %s merged over %s among many = %s, want %s", test.name, patch, base, got, want)
		}
		if got, want := merge(t, &o, base, among(patch)), model(nil).with(t, base).with(t, among(patch)).String(); got != want {
			t.Errorf("%s: %s among many merged over %s = %s, want %s", test.name, patch, base, got, want)
		}
	}
}

func TestZeroObjectIsEmpty(t *testing.T) {
	var o Object
	if got, want := string(o.Append(nil)), "{}"; got != want || o.Len() != len(want) {
		t.Errorf("Append = %q, Len = %d, want %q", got, o.Len(), want)
	}
	if got, want := string(o.AppendMerged(nil, []byte(`{"a":1}`))), `{"a":1}`; got != want {
		t.Errorf("AppendMerged = %q, want %q", got, want)
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	var o Object
	o.Split([]byte(`{"a":1,"b":2}`))
	if got, want := string(o.Append([]byte("{["))), `{[{"a":1,"b":2}`; got != want {
		t.Errorf("Append = %q, want %q", got, want)
	}
	if got, want := string(o.AppendMerged([]byte("{["), []byte(`{"b":0}`))), `{[{"b":2,"a":1}`; got != want {
		t.Errorf("AppendMerged = %q, want %q", got, want)
	}
}

// A merge leaves the members as they are, for the next one.
func TestObjectIsMergedAgain(t *testing.T) {
	var o Object
	for _, n := range []int{3, 30} {
		patch := numbered(0, n, "new")
		o.Split([]byte(patch))
		for _, base := range []string{"{}", numbered(0, n, "old"), "{}"} {
			if got := string(o.AppendMerged(nil, []byte(base))); got != patch {
				t.Errorf("%s merged over %s = %s, want %s", patch, base, got, patch)
			}
		}
		if got := string(o.Append(nil)); got != patch {
			t.Errorf("after merges, Append = %s, want %s", got, patch)
		}
	}
}

// numbered returns an object of n members, named by numbers from first on.
func numbered(first, n int, value string) string {
	members := make([]string, n)
	for i := range members {
		members[i] = fmt.Sprintf(`"%d":"%s"`, first+i, value)
	}
	return "{" + strings.Join(members, ",") + "}"
}

// With and without an index, and with one that is left from a bigger object.
func TestMergeOfAllSizes(t *testing.T) {
	var o Object
	var sizes []int
	for n := range 21 {
		sizes = append(sizes, n, 40-n)
	}
	for _, inBase := range sizes {
		for _, inPatch := range sizes {
			common := min(inBase, inPatch) / 2
			base, patch := numbered(common, inBase, "old"), numbered(0, inPatch, "new")
			want := numberedMerge(common, inBase, inPatch)
			if got := merge(t, &o, base, patch); got != want {
				t.Fatalf("%s merged over %s = %s, want %s", patch, base, got, want)
			}
		}
	}
}

// numberedMerge returns what the merge of numbered objects must be: base begins
// with the name first, patch with 0.
func numberedMerge(first, inBase, inPatch int) string {
	var members []string
	for i := first; i < first+inBase; i++ {
		value := "old"
		if i < inPatch {
			value = "new"
		}
		members = append(members, fmt.Sprintf(`"%d":"%s"`, i, value))
	}
	for i := range inPatch {
		if i < first || i >= first+inBase {
			members = append(members, fmt.Sprintf(`"%d":"new"`, i))
		}
	}
	return "{" + strings.Join(members, ",") + "}"
}

func TestMergeOfRandomObjects(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	var o Object
	for range 1000 {
		base, patch := randomObject(random), randomObject(random)
		want := model(nil).with(t, base).with(t, patch).String()
		if got := merge(t, &o, base, patch); got != want {
			t.Fatalf("seed %d: %s merged over %s = %s, want %s", seed, patch, base, got, want)
		}
	}
}

// randomObject returns an object of up to 40 members from few names, in all spellings.
func randomObject(random *rand.Rand) string {
	values := []string{`1.0`, `"\u00e9"`, `"é"`, `{}`, `[]`, `{"a":"}"}`, `[{"\"":"]"},"\\"]`, `null`, `-1e999`, `"\\\""`}
	names := 1 + random.IntN(40)
	members := make([]string, random.IntN(41))
	for i := range members {
		name := strconv.Itoa(random.IntN(names))
		if random.IntN(3) == 0 {
			name = escaped(name)
		}
		members[i] = `"` + name + `" : ` + values[random.IntN(len(values))]
	}
	return "{ " + strings.Join(members, " , ") + " }"
}

// escaped returns name, of letters within ASCII, with each of them as an escape.
func escaped(name string) string {
	var b strings.Builder
	for _, c := range name {
		fmt.Fprintf(&b, `\u%04x`, c)
	}
	return b.String()
}

// An object takes so many times the size of its text at most, and no more on the way.
func TestMemoryOfObjects(t *testing.T) {
	const text, all, memory = 1 << 20, 8, 6
	tests := []struct{ name, object, unset string }{
		{"one tiny member again and again", repeated(text, func(int) string { return `"":0` }), ""},
		{"tiny members", repeated(text, func(i int) string { return `"` + strconv.FormatInt(int64(i), 36) + `":0` }), ""},
		{"tiny members with escapes", repeated(text, func(i int) string { return `"\n` + strconv.FormatInt(int64(i), 36) + `":0` }), ""},
		{"tiny names that go", "{}", strings.ReplaceAll(repeated(text, func(i int) string { return `"` + strconv.FormatInt(int64(i), 36) + `"` }), "{", "[")},
	}
	for _, tt := range tests {
		unset := []byte(strings.ReplaceAll(tt.unset, "}", "]"))
		if len(unset) == 0 {
			unset = nil
		}
		size := len(tt.object) + len(unset)
		var o Object
		allocated := allocatedBy(func() {
			o.SplitPatch([]byte(tt.object), unset)
			o.AppendMerged(nil, []byte("{}"))
		}) - 2*size // the copy of the text, and the outcome at most
		held := 16*cap(o.list) + 4*cap(o.index) + cap(o.keys) + cap(o.merged)
		if held > memory*size {
			t.Errorf("%s: an object of %d bytes holds %d, %.1f times as many, want at most %d", tt.name, size, held, float64(held)/float64(size), memory)
		}
		if strings.Contains(tt.name, "escapes") {
			continue // to unescape a name allocates, and is forgotten at once
		}
		if allocated > all*size {
			t.Errorf("%s: an object of %d bytes allocates %d, %.1f times as many, want at most %d", tt.name, size, allocated, float64(allocated)/float64(size), all)
		}
	}
}

// allocatedBy returns how many bytes f allocates.
func allocatedBy(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// repeated returns an object of so many bytes, whose members member makes.
func repeated(size int, member func(i int) string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := 0; b.Len() < size; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(member(i))
	}
	return b.String() + "}"
}

// After Reset an object refers to nothing that it was split from, and has kept little.
func TestReset(t *testing.T) {
	var o Object
	few := []byte(`{"\u0061":1,"b":2}`)
	o.SplitPatch(few, []byte(`["c"]`))
	o.Reset()
	if o.object != nil || o.unset != nil || bytes.ContainsRune(o.keys[:cap(o.keys)], 'a') || cap(o.list) == 0 {
		t.Errorf("after Reset: object %q, unset %q, keys %q, room for %d members; want no text and the room", o.object, o.unset, o.keys[:cap(o.keys)], cap(o.list))
	}
	o.Split([]byte(numbered(0, keptMembers+1, "x")))
	o.AppendMerged(nil, []byte("{}"))
	o.Reset()
	if cap(o.list)+cap(o.index)+cap(o.merged) != 0 {
		t.Errorf("after Reset of many members: room for %d, want none", cap(o.list))
	}
	o.Split([]byte(`{"` + strings.Repeat(`\n`, keptKeys) + `":1}`))
	o.Reset()
	if cap(o.keys) != 0 {
		t.Errorf("after Reset of a long name: %d bytes, want none", cap(o.keys))
	}
}

// named returns a compact object of n members with names from name.
func named(n int, name func(i int) string) []byte {
	object := []byte("{")
	for i := range n {
		object = append(object, `"`+name(i)+`":[1],`...)
	}
	object[len(object)-1] = '}'
	return object
}

// Ten times the members take about ten times as long. Were the time quadratic, it
// would be a hundred times.
func TestMergeIsLinear(t *testing.T) {
	plain := func(i int) string { return fmt.Sprintf("name%06d", i) }
	other := func(i int) string { return fmt.Sprintf("other%06d", i) }
	escape := func(i int) string { return `\u006e` + plain(i)[1:] }
	equal := func(int) string { return "name" }
	equalEscaped := func(int) string { return `nam\u0065` }
	few := func(i int) string { return plain(i % linearMembers) }
	tests := map[string][2]func(int) string{
		"same names":           {plain, plain},
		"different names":      {plain, other},
		"escaped names":        {escape, escape},
		"two spellings":        {plain, escape},
		"one name":             {equal, equal},
		"one name, escaped":    {equalEscaped, equal},
		"few names over many":  {plain, few},
		"many names over few":  {few, plain},
		"one name over many":   {plain, equal},
		"many escaped over it": {equal, escape},
	}
	const limit = 40
	for name, names := range tests {
		ratio := math.Inf(1)
		for attempt := 0; attempt < 5 && ratio > limit; attempt++ { // the machine may be busy
			ratio = float64(mergeTime(5000, names)) / float64(mergeTime(500, names))
		}
		if ratio > limit {
			t.Errorf("%s: 5,000 members take %.0f times as long to merge as 500, want at most %d", name, ratio, limit)
		}
	}
}

// mergeTime returns how long it takes to make metadata of n members and merge n
// members over it. It is the shortest of several runs: nothing else on the
// machine makes one faster.
func mergeTime(n int, names [2]func(int) string) time.Duration {
	base, patch := named(n, names[0]), named(n, names[1])
	var o Object
	var meta, merged []byte
	runs := make([]time.Duration, 7)
	for i := range runs {
		start := time.Now()
		o.Split(base)
		meta = o.Append(meta[:0])
		o.Split(patch)
		merged = o.AppendMerged(merged[:0], meta)
		runs[i] = time.Since(start)
	}
	return slices.Min(runs)
}

func TestMergeOfThousands(t *testing.T) {
	const n = 5000
	var o Object
	base, patch := numbered(n/2, n, "old"), numbered(0, n, "new")
	if got, want := merge(t, &o, base, patch), numberedMerge(n/2, n, n); got != want {
		t.Errorf("%d members merged over %d make %d bytes that differ from the %d wanted", n, n, len(got), len(want))
	}
}

func TestMergeAllocatesNothing(t *testing.T) {
	for _, n := range []int{0, 1, 4, linearMembers, linearMembers + 1, 20} {
		var o Object
		base, patch := []byte(numbered(0, n, "old")), []byte(numbered(n/2, n, "new"))
		dst := make([]byte, 0, len(base)+len(patch))
		got := testing.AllocsPerRun(100, func() {
			o.Split(patch)
			o.AppendMerged(dst, base)
		})
		if got != 0 {
			t.Errorf("%d members merged over %d allocate %v times, want 0", n, n, got)
		}
	}
}
