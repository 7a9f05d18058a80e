package token

import (
	"crypto/rand"
	"testing"
)

func TestDigestsAreThoseOfCryptoSHA256(t *testing.T) {
	nonces := []Nonce{{}, {15: 1}, {0: 0x80}}
	for i := range nonces[0] {
		nonces[1][i] = 0xff
	}
	for range 1000 {
		var n Nonce
		rand.Read(n[:])
		nonces = append(nonces, n)
	}
	for i, a := range nonces {
		b := nonces[(i+1)%len(nonces)]
		gotA, gotB := digests(a, b)
		if wantA, wantB := digest(a), digest(b); gotA != wantA || gotB != wantB {
			t.Fatalf("digests(%x, %x) = %x, %x, want %x, %x", a, b, gotA, gotB, wantA, wantB)
		}
	}
}

func BenchmarkDigests(b *testing.B) {
	x, y := Generate(), Generate()
	b.Run("at=once", func(b *testing.B) {
		for b.Loop() {
			Digests(x, y)
		}
	})
	b.Run("at=twice", func(b *testing.B) {
		for b.Loop() {
			x.Digest()
			y.Digest()
		}
	})
}
