package main

import (
	"encoding/json"
	"testing"
)

func TestMetadataMatchesItselfAlone(t *testing.T) {
	for _, size := range []int{minMetaSize, 115, maxMetaSize} {
		m := newMetadata(size)
		meta := m.append(nil, 4711)
		if len(meta) != size || !json.Valid(meta) {
			t.Errorf("metadata of %d bytes = %s, which has %d", size, meta, len(meta))
		}
		if !m.matches(meta, 4711) {
			t.Errorf("metadata of %d bytes does not match itself", size)
		}
		if m.matches(meta, 4712) {
			t.Errorf("metadata of %d bytes matches another session", size)
		}
		if m.matches(meta[:size-1], 4711) || m.matches(nil, 4711) {
			t.Errorf("metadata of %d bytes matches less of itself", size)
		}
		for i := range meta {
			meta[i] ^= 1
			if m.matches(meta, 4711) {
				t.Errorf("metadata of %d bytes matches with byte %d changed", size, i)
			}
			meta[i] ^= 1
		}
	}
}

func TestKeysAndDigestsDiffer(t *testing.T) {
	keys := map[string]bool{}
	digests := map[[digestSize]byte]bool{}
	for number := range uint32(1000) {
		key := string(appendKey(nil, number))
		if len(key) != len(keyPrefix)+11 {
			t.Fatalf("appendKey(%d) = %q, want %d characters", number, key, len(keyPrefix)+11)
		}
		keys[key] = true
		digests[digestOf(number, 0)] = true
		digests[digestOf(number, 1)] = true
	}
	if len(keys) != 1000 || len(digests) != 2000 {
		t.Errorf("%d keys and %d digests, want 1000 and 2000", len(keys), len(digests))
	}
}
