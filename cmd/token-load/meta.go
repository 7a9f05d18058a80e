package main

import (
	"bytes"
	"math/rand/v2"
)

// The metadata of a session is known from two numbers, so that every answer can be checked
// without a copy of it. User u after v exchanges with a patch has
//
//	{"user":"<u>","visits":"<v>","data":"<filler>"}
//
// with u and v in eight hexadecimal digits. The filler brings it to the wanted size; it is a
// window into one random text that starts at u mod 64, so that another session's data, or data
// that is cut or moved, does not match. A patch is {"visits":"<v+1>"}.
const (
	metaUser   = `{"user":"`
	metaVisits = `","visits":"`
	metaData   = `","data":"`
	metaEnd    = `"}`
	patchStart = `{"visits":"`

	hexSize     = 8
	minMetaSize = len(metaUser) + hexSize + len(metaVisits) + hexSize + len(metaData) + len(metaEnd)
	patchSize   = len(patchStart) + hexSize + len(metaEnd)
	windowCount = 64
)

const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// metadata makes and checks the metadata of all sessions.
type metadata struct {
	size  int
	noise []byte // windowCount bytes longer than the filler
}

// newMetadata returns metadata of size bytes, at least minMetaSize.
func newMetadata(size int) *metadata {
	rng := rand.New(rand.NewPCG(1, 2))
	m := &metadata{size: size, noise: make([]byte, size-minMetaSize+windowCount)}
	for i := range m.noise {
		m.noise[i] = base64url[rng.IntN(len(base64url))]
	}
	return m
}

func (m *metadata) filler(user uint32) []byte {
	return m.noise[user%windowCount:][:m.size-minMetaSize]
}

func (m *metadata) append(dst []byte, user, visits uint32) []byte {
	dst = append(dst, metaUser...)
	dst = appendHex(dst, user)
	dst = append(dst, metaVisits...)
	dst = appendHex(dst, visits)
	dst = append(dst, metaData...)
	dst = append(dst, m.filler(user)...)
	return append(dst, metaEnd...)
}

// matches reports whether b is exactly what append makes.
func (m *metadata) matches(b []byte, user, visits uint32) bool {
	var buf [minMetaSize]byte // all but the filler
	start := append(buf[:0], metaUser...)
	start = appendHex(start, user)
	start = append(start, metaVisits...)
	start = appendHex(start, visits)
	start = append(start, metaData...)
	return len(b) == m.size &&
		bytes.Equal(b[:len(start)], start) &&
		bytes.Equal(b[len(start):m.size-len(metaEnd)], m.filler(user)) &&
		string(b[m.size-len(metaEnd):]) == metaEnd
}

func appendPatch(dst []byte, visits uint32) []byte {
	dst = append(dst, patchStart...)
	dst = appendHex(dst, visits)
	return append(dst, metaEnd...)
}

func appendHex(dst []byte, n uint32) []byte {
	const digits = "0123456789abcdef"
	return append(dst,
		digits[n>>28], digits[n>>24&15], digits[n>>20&15], digits[n>>16&15],
		digits[n>>12&15], digits[n>>8&15], digits[n>>4&15], digits[n&15])
}
