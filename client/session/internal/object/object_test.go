package object

import (
	"encoding/json"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`{}`, `{}`},
		{` { "a" : 1.0 , "b" : [ 1 , { "c" : "x y" } ] } `, `{"a":1.0,"b":[1,{"c":"x y"}]}`},
		{`{"a":1,"b":2,"\u0061":3}`, `{"a":3,"b":2}`},
		{`{"\u0061":"}\",{\\","b":null}`, `{"\u0061":"}\",{\\","b":null}`},
		{`{"":{"":[]},"z":1e999}`, `{"":{"":[]},"z":1e999}`},
	} {
		o, err := Parse(json.RawMessage(c.text))
		if err != nil {
			t.Errorf("Parse(%s): %v", c.text, err)
			continue
		}
		if got := string(o.Text()); got != c.want {
			t.Errorf("Parse(%s) = %s, want %s", c.text, got, c.want)
		}
	}
	for _, text := range []string{``, `[]`, `"a"`, `null`, `{`, `{"a":1`, `{"a":}`, `{}{}`} {
		if o, err := Parse(json.RawMessage(text)); err == nil {
			t.Errorf("Parse(%s) = %s, want an error", text, o.Text())
		}
	}
}

func TestChange(t *testing.T) {
	o, err := Parse(json.RawMessage(`{"a":1,"\u0062":2,"c":3}`))
	if err != nil {
		t.Fatal(err)
	}
	patch, _ := Parse(json.RawMessage(`{"d":4,"b":5}`))
	o = o.Merge(patch).Set("a", json.RawMessage(`"x"`)).Set(`"`, json.RawMessage(`0`)).Unset("c").Unset("none")
	if got, want := string(o.Text()), `{"a":"x","\u0062":5,"d":4,"\"":0}`; got != want {
		t.Errorf("Text = %s, want %s", got, want)
	}
	if got, ok := o.Get("b"); !ok || string(got) != "5" {
		t.Errorf("Get(b) = %s, %v, want 5, true", got, ok)
	}
	if _, ok := o.Get("c"); ok {
		t.Error("Get(c) finds what was unset")
	}
}

// FuzzParse: what is taken apart and put together again says the same to encoding/json.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"a":[1,"\"}"],"b":{"c":null}}`))
	f.Add([]byte(`{"\u0061":1,"a":2}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var want map[string]any
		wantErr := json.Unmarshal(text, &want)
		o, err := Parse(text)
		if err != nil {
			return
		}
		var got map[string]any
		if err := json.Unmarshal(o.Text(), &got); (err != nil) != (wantErr != nil) {
			t.Fatalf("Parse(%q).Text() = %q: %v, want %v", text, o.Text(), err, wantErr)
		}
		if len(got) != len(want) {
			t.Fatalf("Parse(%q) has %d members, want %d", text, len(got), len(want))
		}
		gotText, _ := json.Marshal(got)
		wantText, _ := json.Marshal(want)
		if wantErr == nil && string(gotText) != string(wantText) {
			t.Fatalf("Parse(%q) says %s, want %s", text, gotText, wantText)
		}
	})
}
