package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"sync"
)

// MinSecret is the least number of bytes of a Secret's key.
const MinSecret = 32

// Secret derives each token of a session from the one before, so that a server
// that keeps digests alone can still tell what became of a spent token. Whoever
// has the key and one token can compute all later ones.
//
// A Secret may be used by many goroutines.
type Secret struct {
	macs sync.Pool // of *mac
}

// mac has the buffers of a computation, which would be allocated otherwise.
type mac struct {
	hash.Hash
	in  [Size]byte
	sum [sha256.Size]byte
}

// NewSecret returns a Secret. key has MinSecret bytes at least.
func NewSecret(key []byte) *Secret {
	if len(key) < MinSecret {
		panic("token: key too short")
	}
	key = append([]byte(nil), key...)
	return &Secret{macs: sync.Pool{New: func() any { return &mac{Hash: hmac.New(sha256.New, key)} }}}
}

// Next returns the token after t: its nonce is the first NonceLen bytes of
// HMAC-SHA256(key, id ‖ nonce).
func (s *Secret) Next(t Token) Token {
	m := s.macs.Get().(*mac)
	defer s.macs.Put(m)
	m.Reset()
	copy(m.in[:], t.ID[:])
	copy(m.in[len(t.ID):], t.Nonce[:])
	m.Write(m.in[:])
	clear(m.in[:])
	t.Nonce = Nonce(m.Sum(m.sum[:0]))
	return t
}
