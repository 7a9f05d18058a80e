// Package token is the vocabulary of the token server: tokens and their
// digests, what policies are made of, and the errors that stores answer with.
//
// # Basics
//
// A [Token] is an [ID], which stays for the life of a session, and a [Nonce],
// which is new at every exchange: this is token rotation, and all tokens of one
// session are a token family (RFC 9700, section 4.14). A token's owner holds the
// only copy: a store keeps the nonce's [Digest] and nothing from which the nonce
// could be found.
//
// [Generate] makes the first token of a family, [Token.Next] a random next one,
// and [Secret.Next] one that is derived, so that reuse detection can prove which
// token followed which. [Parse] and [Token.Append] turn text into tokens and back.
//
// # Caveats
//
// A Token is a secret. It prints as a placeholder, so that it can't slip into a
// log; [Token.Append] writes the real thing.
package token

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
)

// Sizes in bytes. All that stores and files hold of a token derives from these.
const (
	IDLen      = 8
	NonceLen   = 16
	DigestLen  = 16
	Size       = IDLen + NonceLen
	EncodedLen = (8*Size + 5) / 6 // of a token as text, unpadded base64url
)

// Errors that are answers of a store. Any other error means that the store
// failed, and that nothing may be concluded about the token.
var (
	// ErrInvalid says that a token is ill-formed, unknown, spent, expired or deleted.
	ErrInvalid = errors.New("token: invalid token")
	// ErrFull says that a session, or the growth of one, does not fit into the store's limits.
	ErrFull = errors.New("token: store is full")
	// ErrUnknownSession says that a name is that of no live session of a subject.
	ErrUnknownSession = errors.New("token: unknown session")
	// ErrMetaTooLarge says that metadata, once merged, is over the limit.
	ErrMetaTooLarge = errors.New("token: metadata too large")
)

// ID names a session. It is part of every token of that session.
type ID [IDLen]byte

// Nonce is the secret of one token.
type Nonce [NonceLen]byte

// Digest is the first DigestLen bytes of a nonce's SHA-256.
type Digest [DigestLen]byte

// Token is what a client presents. The zero value is no session's token.
type Token struct {
	ID    ID
	Nonce Nonce
}

// Generate returns the first token of a new session.
func Generate() Token {
	var b [Size]byte
	rand.Read(b[:])
	return fromBytes(&b)
}

// Next returns a token of the same session with a new random nonce.
func (t Token) Next() Token {
	rand.Read(t.Nonce[:])
	return t
}

// Digest returns what a store keeps of t.
func (t Token) Digest() Digest { return digest(t.Nonce) }

// Digests returns the digests of two tokens, for little more than the time that
// one takes where the processor has instructions for it. An exchange needs two.
func Digests(a, b Token) (Digest, Digest) { return digests(a.Nonce, b.Nonce) }

func digest(n Nonce) Digest {
	sum := sha256.Sum256(n[:])
	return Digest(sum[:])
}

// Parse reads a token from its text: exactly EncodedLen characters of base64url.
// Its error is ErrInvalid.
func Parse(text []byte) (Token, error) {
	var b [Size]byte
	if len(text) != EncodedLen {
		return Token{}, ErrInvalid
	}
	// The decoder skips line breaks, and then finds fewer than Size bytes.
	if n, err := base64.RawURLEncoding.Decode(b[:], text); err != nil || n != Size {
		return Token{}, ErrInvalid
	}
	return fromBytes(&b), nil
}

// Append appends the text of t, EncodedLen characters, to dst.
func (t Token) Append(dst []byte) []byte {
	var b [Size]byte
	copy(b[:IDLen], t.ID[:])
	copy(b[IDLen:], t.Nonce[:])
	return base64.RawURLEncoding.AppendEncode(dst, b[:])
}

// String returns a placeholder: tokens are secrets.
func (t Token) String() string { return "token(secret)" }

// Format writes the placeholder for every verb: without it, verbs that are not
// for strings would print the bytes.
func (t Token) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// MarshalText returns the placeholder too, for JSON and the JSON log.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

func fromBytes(b *[Size]byte) Token {
	return Token{ID: ID(b[:IDLen]), Nonce: Nonce(b[IDLen:])}
}
