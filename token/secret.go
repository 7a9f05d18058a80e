package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"iter"
	"sync"
)

// MinSecret is the least number of bytes of a Secret's key.
const MinSecret = 32

// Secret derives each token of a session from the one before, so that a server
// that keeps digests alone can still tell what became of a spent token. Whoever
// has the key and one token can compute all later ones.
//
// A Secret whose key was changed has the previous one too, so that it can tell that
// of the tokens which that has derived.
//
// A Secret may be used by many goroutines.
type Secret struct {
	key      deriver
	previous *deriver // nil for none
}

// deriver derives tokens by one key.
type deriver struct {
	macs sync.Pool // of *mac
}

// mac has the buffers of a computation, which would be allocated otherwise.
type mac struct {
	hash.Hash
	in  [Size]byte
	sum [sha256.Size]byte
}

// NewSecret returns a Secret. Its key has MinSecret bytes at least.
func NewSecret(key []byte) *Secret {
	s := new(Secret)
	s.key.init(key)
	return s
}

// NewSecretAfter returns a Secret whose key has taken the place of a previous one. Both
// have MinSecret bytes at least.
func NewSecretAfter(key, previous []byte) *Secret {
	s := NewSecret(key)
	s.previous = new(deriver)
	s.previous.init(previous)
	return s
}

func (d *deriver) init(key []byte) {
	if len(key) < MinSecret {
		panic("token: key too short")
	}
	key = append([]byte(nil), key...)
	d.macs.New = func() any { return &mac{Hash: hmac.New(sha256.New, key)} }
}

// Next returns the token after t: its nonce is the first NonceLen bytes of
// HMAC-SHA256(key, id ‖ nonce).
func (s *Secret) Next(t Token) Token { return s.key.next(t) }

// Changes yields what may follow t, and after how many exchanges, up to GraceDepth,
// if the first of them were before the key was changed: the tokens of the previous key,
// and after each of them those of the key. There are none without a previous key.
func (s *Secret) Changes(t Token) iter.Seq2[int, Token] {
	return func(yield func(int, Token) bool) {
		if s.previous == nil {
			return
		}
		for change := 1; change <= GraceDepth; change++ {
			t = s.previous.next(t)
			for age, after := change, t; age <= GraceDepth; age, after = age+1, s.Next(after) {
				if !yield(age, after) {
					return
				}
			}
		}
	}
}

func (d *deriver) next(t Token) Token {
	m := d.macs.Get().(*mac)
	defer d.macs.Put(m)
	m.Reset()
	copy(m.in[:], t.ID[:])
	copy(m.in[len(t.ID):], t.Nonce[:])
	m.Write(m.in[:])
	clear(m.in[:])
	t.Nonce = Nonce(m.Sum(m.sum[:0]))
	return t
}
