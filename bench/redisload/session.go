package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"math/rand/v2"

	"tokenserver/token"
)

// exchangeScript is the exchange. KEYS[1] is the session's key and its value the digest and the
// metadata; ARGV are the presented token's digest, the next one's, and the lifetime in
// milliseconds. It returns the metadata, or nothing for a token that is not valid.
const exchangeScript = `local value = redis.call('GET', KEYS[1])
if not value or string.sub(value, 1, 16) ~= ARGV[1] then
  return false
end
local meta = string.sub(value, 17)
redis.call('SET', KEYS[1], ARGV[2] .. meta, 'PX', ARGV[3])
return meta`

// The metadata of a session is known from its number, so that every answer can be checked:
//
//	{"user":"<number>","visits":"00000000","data":"<filler>"}
//
// It has the members of token-load's. The key is ts: and the number as an id: eight bytes in
// base64url.
const (
	metaStart  = `{"user":"`
	metaMiddle = `","visits":"00000000","data":"`
	metaEnd    = `"}`
	numberSize = 8

	minMetaSize = len(metaStart) + numberSize + len(metaMiddle) + len(metaEnd)
	maxMetaSize = 4096

	keyPrefix  = "ts:"
	digestSize = token.DigestLen
)

const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// metadata makes and checks the metadata of all sessions.
type metadata struct{ filler []byte }

// newMetadata returns metadata of size bytes, at least minMetaSize.
func newMetadata(size int) *metadata {
	rng := rand.New(rand.NewPCG(1, 2))
	m := &metadata{filler: make([]byte, size-minMetaSize)}
	for i := range m.filler {
		m.filler[i] = base64url[rng.IntN(len(base64url))]
	}
	return m
}

func (m *metadata) size() int { return minMetaSize + len(m.filler) }

func (m *metadata) append(dst []byte, number uint32) []byte {
	dst = append(dst, metaStart...)
	dst = appendHex(dst, number)
	dst = append(dst, metaMiddle...)
	dst = append(dst, m.filler...)
	return append(dst, metaEnd...)
}

// matches reports whether b is exactly what append makes.
func (m *metadata) matches(b []byte, number uint32) bool {
	var buf [minMetaSize]byte // all but the filler
	start := append(buf[:0], metaStart...)
	start = appendHex(start, number)
	start = append(start, metaMiddle...)
	return len(b) == m.size() &&
		bytes.Equal(b[:len(start)], start) &&
		bytes.Equal(b[len(start):len(b)-len(metaEnd)], m.filler) &&
		string(b[len(b)-len(metaEnd):]) == metaEnd
}

func appendHex(dst []byte, n uint32) []byte {
	const digits = "0123456789abcdef"
	for shift := 28; shift >= 0; shift -= 4 {
		dst = append(dst, digits[n>>shift&15])
	}
	return dst
}

// appendKey appends a session's key. The number is spread over all bits of the id.
func appendKey(dst []byte, number uint32) []byte {
	var id [8]byte
	binary.BigEndian.PutUint64(id[:], mix(uint64(number)))
	return base64.RawURLEncoding.AppendEncode(append(dst, keyPrefix...), id[:])
}

// digestOf returns the digest of a session's token after so many exchanges.
func digestOf(number, exchanges uint32) (d [digestSize]byte) {
	n := mix(uint64(number)<<32 | uint64(exchanges))
	binary.BigEndian.PutUint64(d[:8], n)
	binary.BigEndian.PutUint64(d[8:], mix(n))
	return d
}

// mix is the finalizer of SplitMix64: one to one, and every bit hangs on every other.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
