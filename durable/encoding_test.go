package durable

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"tokenserver/internal/clock"
	"tokenserver/shard"
	"tokenserver/token"
)

var states = map[string]shard.State{
	"plain": {Meta: []byte(`{}`)},
	"typical": {
		ID: token.ID{1, 2, 3, 4, 5, 6, 7, 8}, Digest: token.Digest{15: 1},
		Expires: 1_900_000_000_123_456_789, Meta: []byte(`{"user":"a","n":[1.0,1e999,{"x":null}]}`),
	},
	"subject":           {Subject: shard.NewSubject([]byte("bob")), Created: 5e9, Meta: []byte(`{}`)},
	"lifetime":          {Lifetime: 30 * time.Minute, Created: 5e9, Meta: []byte(`{}`)},
	"absolute deadline": {AbsoluteDeadline: 6_000_000_007, Created: 5e9, Meta: []byte(`{}`)},
	"spent":             {Spent: []clock.Timestamp{1e9}, Meta: []byte(`{}`)},
	"all": {
		ID: token.ID{7: 1}, Digest: token.Digest{1}, Expires: -999_999_995,
		Subject: shard.Subject{15: 9}, Lifetime: 1, AbsoluteDeadline: 1_000_000_001, Created: -2_999_999_999,
		Spent: make([]clock.Timestamp, token.GraceDepth), Meta: []byte(`{"a":""}`),
	},
}

func init() {
	for _, s := range states {
		for i := range s.Spent {
			s.Spent[i] = clock.Timestamp(i)*1e9 + 1
		}
	}
}

const testEpoch = 0x01020304

// valueOf returns a session's value in a version.
func valueOf(version byte, s *shard.State) []byte {
	value := appendValue(nil, testEpoch, s)
	if version == wallClockVersion {
		epochAt := 2 + token.DigestLen
		value[0], value = version, slices.Delete(value, epochAt, epochAt+epochLen)
	}
	return value
}

func TestValue(t *testing.T) {
	var d decoder
	for name, s := range states {
		for version, epoch := range map[byte]uint32{wallClockVersion: wallClockEpoch, valueVersion: testEpoch} {
			t.Run(fmt.Sprintf("%s/version=%d", name, version), func(t *testing.T) {
				value := valueOf(version, &s)
				if got, want := len(value), valueLen(&s); version == valueVersion && got != want {
					t.Errorf("the value has %d bytes, valueLen = %d", got, want)
				}
				got, err := d.decode(s.ID[:], value)
				if err != nil {
					t.Fatalf("decode = error %v", err)
				}
				if len(got.Spent) == 0 {
					got.Spent = nil
				}
				if !reflect.DeepEqual(*got, s) || d.epoch != epoch {
					t.Errorf("decode = %+v, epoch %d, want %+v, %d", *got, d.epoch, s, epoch)
				}
			})
		}
	}
}

func TestAppendValueAppends(t *testing.T) {
	s := states["all"]
	if got, want := appendValue([]byte("before"), testEpoch, &s), append([]byte("before"), valueOf(valueVersion, &s)...); !bytes.Equal(got, want) {
		t.Errorf("appendValue = %x, want %x", got, want)
	}
}

func TestDecodeRefuses(t *testing.T) {
	all, key := states["all"], make([]byte, 8)
	value := appendValue(nil, testEpoch, &all)
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
		{"no epoch", key, value[:18], errFields},
		{"no deadline", key, value[:22], errFields},
		{"epoch of version 1", key, slices.Concat(value[:18], make([]byte, epochLen), value[22:]), errFields},
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
		for _, version := range []byte{wallClockVersion, valueVersion} {
			value := valueOf(version, &s)
			f.Add(s.ID[:], value)
			f.Add(s.ID[:], value[:len(value)/2])
		}
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
		again := appendValue(nil, d.epoch, s)
		if len(again) != valueLen(s) {
			t.Fatalf("decode(%x) is a session with the value %x, valueLen %d", value, again, valueLen(s))
		}
		if value[0] == wallClockVersion {
			again = valueOf(wallClockVersion, s)
		}
		if !bytes.Equal(again, value) {
			t.Fatalf("decode(%x) is a session with the value %x", value, again)
		}
	})
}

func TestValueAllocatesNothing(t *testing.T) {
	s, value := states["all"], make([]byte, 0, 1000)
	if got := testing.AllocsPerRun(100, func() { appendValue(value, testEpoch, &s); valueLen(&s) }); got != 0 {
		t.Errorf("appendValue allocates %v times, want 0", got)
	}
}
