package metadata

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func newBatchScanner() *BatchScanner {
	return &BatchScanner{Array: "batch", Kinds: []string{"get", "put"}, Names: []string{"a", "b"}, MaxItems: 3}
}

// describe returns what a scanner has found: the kind and the fields of each item.
func describe(b *BatchScanner) string {
	var items []string
	for _, i := range b.Items() {
		if i.Kind == NoKind {
			items = append(items, "-")
			continue
		}
		text := b.Kinds[i.Kind]
		for _, f := range b.Fields(i) {
			text += fmt.Sprintf(" %s=%s", f.Name, f.Value)
		}
		items = append(items, text)
	}
	return strings.Join(items, "; ")
}

func TestBatchScanner(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"one", `{"batch":[{"get":{"a":1}}]}`, "get a=1"},
		{"white space", " { \"batch\" : [ { \"get\" : { \"a\" : [ 1 , 2 ] } } , {\t\"put\":{ } } ] } ", "get a=[1,2]; put"},
		{"in their order", `{"batch":[{"put":{"b":1}},{"get":{"a":2}},{"put":{"b":3,"a":4}}]}`, "put b=1; get a=2; put b=3 a=4"},
		{"other fields", `{"batch":[{"get":{"c":1,"a":2,"d":{"a":3}}}]}`, "get a=2"},
		{"a field twice", `{"batch":[{"get":{"a":1,"a":2}}]}`, "get a=1 a=2"},
		{"a field often", `{"batch":[{"get":{"a":1,"a":2,"a":3,"a":4}},{"put":{"a":5}}]}`, "get a=1 a=2 a=3; put a=5"},
		{"other members", `{"x":{"batch":1},"batch":[{"note":{"a":1},"get":{"a":2},"b":3}],"y":[]}`, "get a=2"},
		{"escapes", `{"b\u0061tch":[{"g\u0065t":{"\u0061":1}}]}`, "get a=1"},
		{"no kind", `{"batch":[{},{"got":{"a":1}},{"Get":{"a":1}}]}`, "-; -; -"},
		{"two kinds", `{"batch":[{"get":{"a":1},"put":{"a":2}},{"get":{"a":3}}]}`, "-; get a=3"},
		{"a kind twice", `{"batch":[{"get":{"a":1},"get":{"a":1}},{"get":1,"get":{"a":3}}]}`, "-; -"},
		{"a kind that is no object", `{"batch":[{"get":null},{"get":[{"a":1}]},{"get":"a"}]}`, "-; -; -"},
		{"items that are no objects", `{"batch":[1,"get",[{"get":{"a":1}}]]}`, "-; -; -"},
	}
	b := newBatchScanner()
	for _, tt := range tests {
		if err := b.Scan([]byte(tt.text)); err != nil {
			t.Errorf("%s: Scan(%s) = %v", tt.name, tt.text, err)
		} else if got := describe(b); got != tt.want {
			t.Errorf("%s: Scan(%s) found %q, want %q", tt.name, tt.text, got, tt.want)
		}
	}
}

func TestBatchScannerRefuses(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	tests := []struct {
		text string
		want error
	}{
		{``, ErrMalformed},
		{`{"batch":[{"get":{"a":1}}]`, ErrMalformed},
		{`{"batch":[{"get":{"a":1}},]}`, ErrMalformed},
		{`{"batch":[{"get":{"a":01}}]}`, ErrMalformed},
		{`{"batch":[{"get":{"a":1}}]}x`, ErrMalformed},
		{`{"batch":[{"get" {"a":1}}]}`, ErrMalformed},
		{`{"batch":[{"get":{"a":1}}],"x":"\ud800"}`, ErrMalformed},
		{`{"batch":[{"x":{"a":"` + "\xff" + `"}}]}`, ErrMalformed},
		{`{"batch":[{"x":tru}]}`, ErrMalformed},
		{`{"batch":[{"get":{"a":` + deep(MaxDepth-1) + `}}]}`, nil}, // as deep as it may be alone
		{`{"batch":[{"get":{"a":` + deep(MaxDepth) + `}}]}`, ErrMalformed},
		{`{"batch":[{"x":` + deep(MaxDepth) + `}]}`, nil},
		{`{"batch":[{"x":` + deep(MaxDepth+1) + `}]}`, ErrMalformed},
		{`{"batch":[{"get":{"a":1}}],"x":` + deep(MaxDepth) + `}`, ErrMalformed},
		{`{}`, ErrNoBatch},
		{`[]`, ErrNoBatch},
		{`"batch"`, ErrNoBatch},
		{`[{"batch":[{"get":{"a":1}}]}]`, ErrNoBatch},
		{`{"batch":null}`, ErrNoBatch},
		{`{"batch":{}}`, ErrNoBatch},
		{`{"batch":[]}`, ErrNoBatch},
		{`{"Batch":[{}]}`, ErrNoBatch},
		{`{"batch":[{}],"batch":[{}]}`, ErrNoBatch},
		{`{"batch":[{}],"b\u0061tch":null}`, ErrNoBatch},
		{`{"batch":null,"batch":[{}]}`, ErrNoBatch},
		{`{"batch":[{},{},{}]}`, nil},
		{`{"batch":[{},{},{},{"get":{"a":1}}]}`, ErrNoBatch},
		{`{"batch":[{},{},{},{"get":{"a":}}]}`, ErrMalformed},
	}
	b := newBatchScanner()
	for _, tt := range tests {
		if err := b.Scan([]byte(tt.text)); !errors.Is(err, tt.want) {
			t.Errorf("Scan(%s) = %v, want %v", tt.text, err, tt.want)
		}
	}
}

func TestBatchScannerAllocatesNothing(t *testing.T) {
	const item = `,{"get":{"a":"x","b":{"c":[1,2]}}}`
	given := []byte(`{"batch":[{"put":{"a":1}}` + strings.Repeat(item, 100) + `]}`)
	b := newBatchScanner()
	b.MaxItems = 1000
	text := make([]byte, len(given))
	got := testing.AllocsPerRun(100, func() {
		copy(text, given)
		if err := b.Scan(text); err != nil {
			t.Fatal(err)
		}
	})
	if got != 0 {
		t.Errorf("Scan allocates %v times, want 0", got)
	}
}

func TestBatchScannerReset(t *testing.T) {
	b := newBatchScanner()
	b.MaxItems = keptFields + 1
	if err := b.Scan([]byte(`{"batch":[{"get":{"a":1}}]}`)); err != nil {
		t.Fatal(err)
	}
	b.Reset()
	if b.scanner.text != nil || len(b.Items()) != 0 || cap(b.items) == 0 || b.scanner.fields[:1][0].Value != nil {
		t.Errorf("after Reset: text %q, %d items, want neither, and the room", b.scanner.text, len(b.Items()))
	}
	if err := b.Scan([]byte(`{"batch":[{}` + strings.Repeat(`,{"get":{"a":1}}`, keptFields) + `]}`)); err != nil {
		t.Fatal(err)
	}
	if b.Reset(); cap(b.items) != 0 || cap(b.scanner.fields) > keptFields {
		t.Errorf("after Reset of a large batch: room for %d items and %d fields, want less", cap(b.items), cap(b.scanner.fields))
	}
}
