package token

// digestPair computes the digests of two nonces with the SHA-256 instructions.
//
//go:noescape
func digestPair(nonces *[2]Nonce, digests *[2]Digest)

// digestPair knows nonces and digests of 16 bytes alone.
var _ = [1]struct{}{}[(NonceLen^16)|(DigestLen^16)]

// hasSHA says whether this processor has the instructions that digestPair needs.
func hasSHA() bool

var digestsAtOnce = hasSHA()

func digests(a, b Nonce) (Digest, Digest) {
	if !digestsAtOnce {
		return digest(a), digest(b)
	}
	var d [2]Digest
	digestPair(&[2]Nonce{a, b}, &d)
	return d[0], d[1]
}
