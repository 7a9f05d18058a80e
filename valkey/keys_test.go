package valkey

import (
	"regexp"
	"testing"

	"tokenserver/token"
)

// TestKeys: other programs may have to know the form of a key, and it lasts.
func TestKeys(t *testing.T) {
	k := keys{"ts:"}
	id := token.ID{0xF8, 0xF9, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF}
	if got, want := k.session(id), "ts:{-Pn}6-_z9_v8"; got != want {
		t.Errorf("session = %q, want %q", got, want)
	}
	of := newSubject([]byte("ada"))
	form := regexp.MustCompile(`^ts:\{[A-Za-z0-9_-]{3}\}[A-Za-z0-9_-]{19}$`)
	if got := k.index(of); !form.MatchString(got) {
		t.Errorf("index = %q, want the form %v", got, form)
	}
}

func TestSubjectsSessionsLieBesideTheIndex(t *testing.T) {
	k := keys{"p"}
	for _, name := range []string{"a", "ada", "bob", "ä"} {
		of := newSubject([]byte(name))
		for range 100 {
			id := of.idFor(token.Generate().ID)
			if got, want := k.tag(id[:]), k.index(of)[:len("p{abc}")]; got != want {
				t.Fatalf("session of %q has the tag %q, want that of its index, %q", name, got, want)
			}
			if back, ok := of.memberID(member(id)); !ok || back != id {
				t.Fatalf("memberID(member(%x)) = %x, %v", id[:], back[:], ok)
			}
		}
	}
}

func TestSessionID(t *testing.T) {
	k := keys{"ts:"}
	for range 1000 {
		id := token.Generate().ID
		if got, ok := k.sessionID(k.session(id)); !ok || got != id {
			t.Fatalf("sessionID(%q) = %x, %v, want %x", k.session(id), got[:], ok, id[:])
		}
	}
	for _, key := range []string{
		"", "ts:", "other:{-Pn}6-_z9_v8", "ts:-Pn6-_z9_v8", "ts:{-Pn}6-_z9_v", "ts:{-Pn}6-_z9_v88", "ts:{-Pn}6-_z9_v9", "ts:{-P+}6-_z9_v8",
		"ts:{-Pn}6-_z\n_v8", k.index(newSubject([]byte("ada"))),
	} {
		if _, ok := k.sessionID(key); ok {
			t.Errorf("sessionID(%q) is a session's", key)
		}
	}
}

// TestEverySlot: the hash tags use all slots of a cluster.
func TestEverySlot(t *testing.T) {
	const slots = 16384
	var used [slots]bool
	k := keys{}
	for i := range 1 << 18 {
		id := token.ID{byte(i >> 10), byte(i >> 2), byte(i << 6)}
		used[crc16(k.tag(id[:])[1:1+tagLen])%slots] = true
	}
	for slot, ok := range used {
		if !ok {
			t.Fatalf("no session has slot %d", slot)
		}
	}
}

// crc16 is that of Redis Cluster's specification.
func crc16(text string) (crc uint16) {
	for i := range len(text) {
		crc ^= uint16(text[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

// TestSlotOf: values of CLUSTER KEYSLOT.
func TestSlotOf(t *testing.T) {
	for key, want := range map[string]int64{"ts:{123456789}x": 12739, "{foo}": 12182, "a{bar}b": 5061} {
		if got := slotOf(key); got != want {
			t.Errorf("slotOf(%q) = %d, want %d", key, got, want)
		}
	}
}
