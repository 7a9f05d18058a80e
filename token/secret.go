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
// A Secret whose key is being changed has another one too, the previous one, so that it
// can tell that of the tokens which that has derived, or still derives elsewhere.
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

// Changes yields what may follow t, and after how many exchanges, up to GraceDepth, if not
// all of them were by the key: servers that share sessions get another key one after the
// other, so that both keys derive in any order. Those after fewer exchanges come first, and
// none is derived before it is asked for: there are 502. Without a previous key there are none.
func (s *Secret) Changes(t Token) iter.Seq2[int, Token] {
	return func(yield func(int, Token) bool) {
		if s.previous == nil {
			return
		}
		before := []Token{t}
		for age := 1; age <= GraceDepth; age++ {
			now := make([]Token, 0, 2*len(before))
			for i, t := range before {
				byKey := s.key.next(t)
				if i > 0 && !yield(age, byKey) { // the first is of the key alone
					return
				}
				byPrevious := s.previous.next(t)
				if !yield(age, byPrevious) {
					return
				}
				now = append(now, byKey, byPrevious)
			}
			before = now
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
