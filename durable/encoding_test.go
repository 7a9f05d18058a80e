package durable

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"

	"tokenserver/shard"
	"tokenserver/token"
)

var states = map[string]shard.State{
	"plain": {Meta: []byte(`{}`)},
	"typical": {
		ID: token.ID{1, 2, 3, 4, 5, 6, 7, 8}, Digest: token.Digest{15: 1},
		Expires: time.Unix(1_900_000_000, 123_456_789), Meta: []byte(`{"user":"a","n":[1.0,1e999,{"x":null}]}`),
	},
	"subject":           {Subject: shard.NewSubject([]byte("bob")), Created: time.Unix(5, 0), Meta: []byte(`{}`)},
	"lifetime":          {Lifetime: 30 * time.Minute, Created: time.Unix(5, 0), Meta: []byte(`{}`)},
	"absolute deadline": {AbsoluteDeadline: time.Unix(6, 7), Created: time.Unix(5, 0), Meta: []byte(`{}`)},
	"spent":             {Spent: []time.Time{time.Unix(1, 0)}, Meta: []byte(`{}`)},
	"all": {
		ID: token.ID{7: 1}, Digest: token.Digest{1}, Expires: time.Unix(-1, 5),
		Subject: shard.Subject{15: 9}, Lifetime: 1, AbsoluteDeadline: time.Unix(1, 1), Created: time.Unix(-3, 1),
		Spent: make([]time.Time, token.GraceDepth), Meta: []byte(`{"a":""}`),
	},
}

func init() {
	for _, s := range states {
		for i := range s.Spent {
			s.Spent[i] = time.Unix(int64(i), 1)
		}
	}
}

// normal is a state as decode returns it, whose times are all there.
func normal(s shard.State) shard.State {
	if s.Expires.IsZero() {
		s.Expires = time.Unix(0, s.Expires.UnixNano())
	}
	return s
}

func TestValue(t *testing.T) {
	var d decoder
	for name, s := range states {
		t.Run(name, func(t *testing.T) {
			value := appendValue([]byte("before"), &s)[len("before"):]
			if got, want := len(value), valueLen(&s); got != want {
				t.Errorf("the value has %d bytes, valueLen = %d", got, want)
			}
			got, err := d.decode(s.ID[:], value)
			if err != nil {
				t.Fatalf("decode = error %v", err)
			}
			if len(got.Spent) == 0 {
				got.Spent = nil
			}
			if want := normal(s); !reflect.DeepEqual(*got, want) {
				t.Errorf("decode = %+v, want %+v", *got, want)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	all, key := states["all"], make([]byte, 8)
	value := appendValue(nil, &all)
	with := func(at int, b byte) []byte {
		changed := bytes.Clone(value)
		changed[at] = b
		return changed
	}
	spentAt := len(value) - len(all.Meta) - 1 - 8*token.GraceDepth
	tests := []struct {
		name       string
		key, value []byte
		want       error
	}{
		{"empty key", nil, value, errKey},
		{"long key", make([]byte, 9), value, errKey},
		{"empty", key, nil, errVersion},
		{"later version", key, with(0, valueVersion+1), errVersion},
		{"unknown flag", key, with(1, 0x3f), errFields},
		{"version alone", key, value[:1], errFields},
		{"no digest", key, value[:2], errFields},
		{"no deadline", key, value[:18], errFields},
		{"no spent", key, value[:spentAt], errFields},
		{"too many spent", key, with(spentAt, token.GraceDepth+1), errFields},
		{"spent flag with none", key, with(spentAt, 0), errFields},
		{"fewer spent", key, with(spentAt, token.GraceDepth-1), errMeta},
		{"no metadata", key, value[:len(value)-len(all.Meta)], errMeta},
		{"metadata cut short", key, value[:len(value)-1], errMeta},
		{"metadata with white space", key, append(bytes.Clone(value), ' '), errMeta},
		{"metadata no object", key, append(bytes.Clone(value[:len(value)-len(all.Meta)]), "[1]"...), errMeta},
	}
	var d decoder
	for _, test := range tests {
		if s, err := d.decode(test.key, test.value); !errors.Is(err, test.want) {
			t.Errorf("%s: decode = %+v, error %v, want %v", test.name, s, err, test.want)
		}
	}
}

// FuzzDecode: what decode accepts is what appendValue makes of it.
func FuzzDecode(f *testing.F) {
	for _, s := range states {
		value := appendValue(nil, &s)
		f.Add(s.ID[:], value)
		f.Add(s.ID[:], value[:len(value)/2])
	}
	var d decoder
	f.Fuzz(func(t *testing.T, key, value []byte) {
		before := bytes.Clone(value)
		s, err := d.decode(key, value)
		if !bytes.Equal(value, before) {
			t.Fatalf("decode(%x) changed its input to %x", before, value)
		}
		if err != nil {
			return
		}
		if again := appendValue(nil, s); !bytes.Equal(again, value) || len(again) != valueLen(s) {
			t.Fatalf("decode(%x) is a session with the value %x, valueLen %d", value, again, valueLen(s))
		}
	})
}

func TestValueAllocatesNothing(t *testing.T) {
	s, value := states["all"], make([]byte, 0, 1000)
	if got := testing.AllocsPerRun(100, func() { appendValue(value, &s); valueLen(&s) }); got != 0 {
		t.Errorf("appendValue allocates %v times, want 0", got)
	}
}
