package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"sync"
	"testing"
)

var testKey = []byte("0123456789abcdef0123456789abcdef")

func TestSecretNextIsHMAC(t *testing.T) {
	s := NewSecret(testKey)
	for first := range 3 {
		tok := Generate()
		for step := range 8 {
			mac := hmac.New(sha256.New, testKey)
			mac.Write(append(append([]byte(nil), tok.ID[:]...), tok.Nonce[:]...))
			want := Token{ID: tok.ID, Nonce: Nonce(mac.Sum(nil))}
			if tok = s.Next(tok); tok != want {
				t.Fatalf("session %d, step %d: Next is not the HMAC of the token before", first, step)
			}
		}
	}
}

func TestSecretOwnsItsKey(t *testing.T) {
	key := append([]byte(nil), testKey...)
	s, tok := NewSecret(key), Generate()
	clear(key)
	if got, want := s.Next(tok), NewSecret(testKey).Next(tok); got != want {
		t.Error("Next changed with the slice that the key came in")
	}
}

func TestSecretsDiffer(t *testing.T) {
	tok := Generate()
	other := NewSecret([]byte("another key of 32 bytes, at least"))
	if NewSecret(testKey).Next(tok) == other.Next(tok) {
		t.Error("two keys derive the same token")
	}
}

func TestSecretKeyTooShort(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("NewSecret took a key of 31 bytes")
		}
	}()
	NewSecret(testKey[:MinSecret-1])
}

func TestSecretConcurrently(t *testing.T) {
	s, tok := NewSecret(testKey), Generate()
	want := s.Next(tok)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if got := s.Next(tok); got != want {
					t.Error("Next differs between goroutines")
				}
			}
		})
	}
	wg.Wait()
}
