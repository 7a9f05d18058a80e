package valkey

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"tokenserver/token"
)

// A key is PREFIX{abc}defghijk: an id in base64url, whose first 18 bits are the hash tag, so
// that each slot of a cluster is used. All sessions of a subject have the subject's bits in
// those: they and their index, PREFIX{abc}defghijklmnopqrstuv, lie in one slot.
const (
	tagLen    = 3                           // characters
	idLen     = (8*token.IDLen + 5) / 6     // characters
	memberLen = idLen - tagLen              // characters
	tagged    = 1 + tagLen + 1              // with its braces
	digestLen = (8*subjectLen + 5) / 6      // characters of a subject
	indexLen  = tagged + digestLen - tagLen // without the prefix
)

// subject names whose session it is: the first bytes of a SHA-256, so that the engine holds
// no names. The zero value is nobody.
type subject [subjectLen]byte

const subjectLen = 16

func newSubject(name []byte) subject {
	if len(name) == 0 {
		return subject{}
	}
	sum := sha256.Sum256(name)
	return subject(sum[:])
}

// idFor returns a session's id with the bits of its subject.
func (s subject) idFor(id token.ID) token.ID {
	id[0], id[1] = s[0], s[1]
	id[2] = s[2]&0xC0 | id[2]&0x3F
	return id
}

// keys makes the keys of a store with a prefix.
type keys struct{ prefix string }

func (k keys) session(id token.ID) string { return k.tag(id[:]) + member(id) }

// id returns the key of the identity of all sessions.
func (k keys) id() string { return k.prefix + "id" }

// sessions returns a pattern of the keys of sessions, and of indexes.
func (k keys) sessions() string { return globQuote(k.prefix) + "{*" }

// tag returns the beginning of all keys with the first bits of b.
func (k keys) tag(b []byte) string {
	var text [4]byte
	base64.RawURLEncoding.Encode(text[:], b[:3])
	return k.prefix + "{" + string(text[:tagLen]) + "}"
}

// slotOf returns the slot of a cluster that a key with a tag has: the CRC-16 of the tag.
func slotOf(key string) int64 {
	_, tag, _ := strings.Cut(key, "{")
	tag, _, _ = strings.Cut(tag, "}")
	crc := uint16(0)
	for i := range len(tag) {
		crc ^= uint16(tag[i]) << 8
		for range 8 {
			carry := crc >> 15
			crc = crc<<1 ^ carry*0x1021
		}
	}
	return int64(crc) % clusterSlots
}

func (k keys) index(s subject) string {
	return k.tag(s[:]) + base64.RawURLEncoding.EncodeToString(s[:])[tagLen:]
}

// member returns what a subject's index has of an id, the end of its key.
func member(id token.ID) string {
	return base64.RawURLEncoding.EncodeToString(id[:])[tagLen:]
}

// memberID returns the id that a member of a subject's index stands for.
func (s subject) memberID(member string) (id token.ID, ok bool) {
	text := base64.RawURLEncoding.EncodeToString(s[:3])[:tagLen] + member
	return parseID(text)
}

// sessionID returns the id of a key, and false if it is the key of no session.
func (k keys) sessionID(key string) (token.ID, bool) {
	rest, ok := strings.CutPrefix(key, k.prefix)
	if !ok || len(rest) != tagged+memberLen || rest[0] != '{' || rest[tagged-1] != '}' {
		return token.ID{}, false
	}
	return parseID(rest[1:1+tagLen] + rest[tagged:])
}

var strict = base64.RawURLEncoding.Strict()

func parseID(text string) (id token.ID, ok bool) {
	if len(text) != idLen {
		return token.ID{}, false
	}
	n, err := strict.Decode(id[:], []byte(text))
	return id, err == nil && n == token.IDLen
}
