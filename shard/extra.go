package shard

import (
	"unsafe"

	"tokenserver/token"
)

// extra is what only some sessions have: those of a store with a grace or an
// absolute deadline, and those with a subject or a lifetime of their own.
type extra struct {
	spent    [token.GraceDepth]deadline // when the last tokens were spent, a ring
	subject  Subject                    // zero for none
	lifetime deadline                   // in place of the store's; 0 for that
	until    deadline                   // which no exchange moves; 0 for none
	created  deadline
	spends   uint32      // exchanges so far: the next one's place in spent
	record   recordIndex // whose extra it is
	// next is the session of the same subject created before, and prev the one
	// created after; the oldest and the newest are neighbours. Free extras are
	// linked by next.
	next, prev extraIndex
}

const extraSize = int64(unsafe.Sizeof(extra{}))

// renewed returns the deadline after an exchange.
func (e *extra) renewed(now, lifetime deadline) deadline {
	if e.lifetime != 0 {
		lifetime = e.lifetime
	}
	if d := now + lifetime; e.until == 0 || d < e.until {
		return d
	}
	return e.until
}

// limit holds a session that is restored to an absolute lifetime: from its
// creation on, if it had none, and in any case from now on.
func (e *extra) limit(now, maxLifetime deadline) {
	if e.until == 0 {
		e.until = e.created + maxLifetime
	}
	e.until = min(e.until, now+maxLifetime)
}

// spend remembers when the current token was spent.
func (e *extra) spend(now deadline) {
	e.spent[e.spends%token.GraceDepth] = now
	e.spends++
}

// spentAt returns when the token was spent that was current steps exchanges ago.
func (e *extra) spentAt(steps int) deadline {
	return e.spent[(e.spends-uint32(steps))%token.GraceDepth]
}

// extraIndex names an extra, counted from 1; 0 is none.
type extraIndex uint32

// extras is a shard's slab of extras.
type extras struct {
	chunks chunked[extra]
	n      uint32     // extras made so far
	free   extraIndex // the first free one
	used   uint32
}

func (s *extras) at(i extraIndex) *extra { return s.chunks.at(uint32(i) - 1) }

func (s *extras) alloc() extraIndex {
	s.used++
	if i := s.free; i != 0 {
		s.free = s.at(i).next
		return i
	}
	s.chunks.reserve(s.n)
	s.n++
	return extraIndex(s.n)
}

func (s *extras) release(i extraIndex) {
	s.used--
	*s.at(i) = extra{next: s.free}
	s.free = i
}

// addExtraLocked stores the extra of a record, and lists it with its subject.
func (sh *shard) addExtraLocked(e extra, r recordIndex) extraIndex {
	i := sh.extras.alloc()
	e.record = r
	*sh.extras.at(i) = e
	if e.subject != (Subject{}) {
		sh.linkLocked(i)
	}
	return i
}

func (sh *shard) removeExtraLocked(i extraIndex) {
	if sh.extras.at(i).subject != (Subject{}) {
		sh.unlinkLocked(i)
	}
	sh.extras.release(i)
}
