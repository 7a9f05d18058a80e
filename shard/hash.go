package shard

import (
	"encoding/binary"

	"tokenserver/token"
)

// subjectBits is how many bits of an id's hash are its subject's, so that all of
// a subject's sessions fall into one shard, however many shards there are.
const subjectBits = 16

// The multiplier of the hash, 2^64 divided by the golden ratio, spreads ids over
// the upper bits. It is odd, so that it has an inverse.
const (
	hashFactor  = 0x9E3779B97F4A7C15
	hashInverse = 0xF1DE83E19937733D
)

// hashOf returns the hash of an id, whose upper bits are its shard.
func hashOf(id token.ID) uint64 { return binary.LittleEndian.Uint64(id[:]) * hashFactor }

// idFor changes a random id such that its hash begins as the subject's.
func idFor(subject Subject, id token.ID) token.ID {
	hash := hashOf(id)<<subjectBits>>subjectBits | subject.hash()
	binary.LittleEndian.PutUint64(id[:], hash*hashInverse)
	return id
}

// hash has the subject's bits and zeros.
func (subject Subject) hash() uint64 {
	return binary.LittleEndian.Uint64(subject[:]) >> (64 - subjectBits) << (64 - subjectBits)
}
