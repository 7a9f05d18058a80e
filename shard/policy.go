package shard

import (
	"time"
	"unsafe"

	"tokenserver/token"
)

// policyState is what session policies keep of a session. Only some sessions have
// one: those of a store with a grace or an absolute lifetime, and those with a
// subject or a lifetime of their own.
type policyState struct {
	spent            [token.GraceDepth]timestamp // when the last tokens were spent, a ring
	subject          Subject                     // zero for none
	lifetime         time.Duration               // in place of the store's; 0 for that
	absoluteDeadline timestamp                   // which no exchange moves; 0 for none
	created          timestamp
	spends           uint32      // exchanges so far: the next one's index in spent
	record           recordIndex // whose policy state it is; noRecord says that it is free
	// next is the session of the same subject created before, and prev the one
	// created after; the oldest and the newest are neighbours. Free policy states
	// are linked by both.
	next, prev policyIndex
}

// GraceDepth is a power of two, so that the ring goes on when spends overflows.
var _ = [1]struct{}{}[token.GraceDepth&(token.GraceDepth-1)]

const policySize = int64(unsafe.Sizeof(policyState{}))

// renewed returns the deadline after an exchange.
func (p *policyState) renewed(now timestamp, lifetime time.Duration) timestamp {
	if p.lifetime != 0 {
		lifetime = p.lifetime
	}
	if d := now.Add(lifetime); p.absoluteDeadline == 0 || d < p.absoluteDeadline {
		return d
	}
	return p.absoluteDeadline
}

// limit holds a session that is restored to an absolute lifetime: from its
// creation on, if it had none, and in any case from now on.
func (p *policyState) limit(now timestamp, maxLifetime time.Duration) {
	if p.absoluteDeadline == 0 {
		p.absoluteDeadline = p.created.Add(maxLifetime)
	}
	p.absoluteDeadline = min(p.absoluteDeadline, now.Add(maxLifetime))
}

// spend remembers when the current token was spent.
func (p *policyState) spend(now timestamp) {
	p.spent[p.spends%token.GraceDepth] = now
	p.spends++
}

// spentAt returns when the token was spent that was current age exchanges ago.
func (p *policyState) spentAt(age int) timestamp {
	return p.spent[(p.spends-uint32(age))%token.GraceDepth]
}

// policyIndex names a policy state, counted from 1; 0 is none.
type policyIndex uint32

// policySlab is a shard's slab of policy states.
type policySlab struct {
	chunks chunked[policyState]
	n      uint32      // policy states up to the last one that was ever in use
	free   policyIndex // the first free one
	used   uint32
}

func (s *policySlab) at(i policyIndex) *policyState { return s.chunks.at(uint32(i) - 1) }

// reserve makes sure that there is a free policy state. It returns false if there
// is no room for one.
func (s *policySlab) reserve() bool { return s.free != 0 || s.chunks.reserve(s.n) }

// alloc returns a free policy state, which must have been reserved.
func (s *policySlab) alloc() policyIndex {
	s.used++
	if i := s.free; i != 0 {
		s.unlink(i)
		return i
	}
	s.n++
	return policyIndex(s.n)
}

// release wipes a policy state and puts it on the free list.
func (s *policySlab) release(i policyIndex) {
	s.used--
	*s.at(i) = policyState{record: noRecord, next: s.free}
	if s.free != 0 {
		s.at(s.free).prev = i
	}
	s.free = i
}

// unlink takes a policy state off the free list.
func (s *policySlab) unlink(i policyIndex) {
	p := s.at(i)
	if p.prev == 0 {
		s.free = p.next
	} else {
		s.at(p.prev).next = p.next
	}
	if p.next != 0 {
		s.at(p.next).prev = p.prev
	}
}

// addPolicyLocked stores the policy state of a record, and lists it with its
// subject. It requires the write lock.
func (sh *shard) addPolicyLocked(p policyState, r recordIndex) policyIndex {
	i := sh.policies.alloc()
	p.record = r
	*sh.policies.at(i) = p
	if p.subject != (Subject{}) {
		sh.linkLocked(i)
	}
	return i
}

// removePolicyLocked forgets a policy state. It requires the write lock.
func (sh *shard) removePolicyLocked(i policyIndex) {
	if sh.policies.at(i).subject != (Subject{}) {
		sh.unlinkLocked(i)
	}
	sh.policies.release(i)
}
