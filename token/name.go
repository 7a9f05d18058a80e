package token

import (
	"crypto/sha256"
	"encoding/base64"
)

// nameLen is the size of a SessionName in bytes: its text has no bits to spare.
const nameLen = 12

// EncodedNameLen is the length of a SessionName as text, unpadded base64url.
const EncodedNameLen = nameLen * 8 / 6

// SessionName names a session for its life: the same in every mode and after a
// restart. Whoever has a token of the session can compute it; it opens nothing, and
// leads back to no ID. The zero value names no session.
type SessionName [nameLen]byte

// Name returns the name of the session with an ID: the first bytes of its SHA-256.
func (id ID) Name() SessionName {
	sum := sha256.Sum256(id[:])
	return SessionName(sum[:])
}

// ParseSessionName reads a name from its text: exactly EncodedNameLen characters of
// base64url. Its error is ErrUnknownSession: no session has such a name.
func ParseSessionName(text []byte) (SessionName, error) {
	var n SessionName
	if len(text) != EncodedNameLen {
		return SessionName{}, ErrUnknownSession
	}
	// The decoder skips line breaks, and then finds fewer bytes.
	if decoded, err := base64.RawURLEncoding.Decode(n[:], text); err != nil || decoded != nameLen || n == (SessionName{}) {
		return SessionName{}, ErrUnknownSession
	}
	return n, nil
}

// Append appends the text of n, EncodedNameLen characters, to dst.
func (n SessionName) Append(dst []byte) []byte { return base64.RawURLEncoding.AppendEncode(dst, n[:]) }

// String returns the text of n.
func (n SessionName) String() string { return string(n.Append(nil)) }
