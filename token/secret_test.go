package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"maps"
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

func TestPreviousKeyTooShort(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("NewSecretAfter took a previous key of 31 bytes")
		}
	}()
	NewSecretAfter(testKey, testKey[:MinSecret-1])
}

// TestSecretChanges walks all that may follow a token while both keys derive.
func TestSecretChanges(t *testing.T) {
	previousKey := []byte("the key before, of 32 bytes or more")
	s, previous, start := NewSecretAfter(testKey, previousKey), NewSecret(previousKey), Generate()
	if s.Next(start) != NewSecret(testKey).Next(start) {
		t.Error("Next is not by the key, but by the previous one")
	}
	want := make(map[Token]int) // age
	for age := 1; age <= GraceDepth; age++ {
		for mix := 1; mix < 1<<age; mix++ { // a bit is 1 where the previous key derives
			tok := start
			for step := range age {
				if mix>>step&1 == 1 {
					tok = previous.Next(tok)
				} else {
					tok = s.Next(tok)
				}
			}
			want[tok] = age
		}
	}
	got, last := make(map[Token]int), 0
	for age, tok := range s.Changes(start) {
		if age < last {
			t.Fatalf("Changes has one of age %d after one of age %d", age, last)
		}
		got[tok], last = age, age
	}
	if !maps.Equal(got, want) {
		t.Errorf("Changes has %d tokens, want %d of their ages", len(got), len(want))
	}
	for range NewSecret(testKey).Changes(start) {
		t.Fatal("without a previous key there are changes")
	}
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
