package shard

import (
	"time"

	"tokenserver/token"
)

// subjectWalk is a walk along a subject's sessions, from the newest to the oldest,
// that lets others have the lock in between.
//
// It remembers its place by sessions that it has passed. The last one that is still
// there is followed by the next to be looked at: what was between them has ended. If
// none is there, that is the newest one.
type subjectWalk struct {
	subject Subject
	trail   []token.ID // without those that were found to have ended
}

// nextLocked returns the session behind the last one of the trail, or 0 if there is
// none. If that one has ended it goes off the trail, and ok is false. It requires the
// read lock.
func (w *subjectWalk) nextLocked(sh *shard) (i policyIndex, ok bool) {
	n := len(w.trail)
	if n == 0 {
		newest, _ := sh.subjects.get(w.subject)
		return newest, true
	}
	last := sh.ofSubjectLocked(w.trail[n-1], w.subject)
	if last == 0 {
		w.trail = w.trail[:n-1]
		return 0, false
	}
	return sh.olderLocked(last, w.subject), true
}

// olderLocked returns the session of a subject created before i, or 0 if i is the
// oldest. It requires the read lock.
func (sh *shard) olderLocked(i policyIndex, subject Subject) policyIndex {
	next := sh.policies.at(i).next
	if newest, _ := sh.subjects.get(subject); next == newest {
		return 0
	}
	return next
}

// ofSubjectLocked returns the policy state of a session, or 0 if it is not there or not
// the subject's. It requires the read lock.
func (sh *shard) ofSubjectLocked(id token.ID, subject Subject) policyIndex {
	i, ok := sh.sessions.get(id)
	if !ok || subject == (Subject{}) {
		return 0
	}
	_, e := sh.contentLocked(sh.records.at(i))
	if e == 0 || sh.policies.at(e).subject != subject {
		return 0
	}
	return e
}

// find returns the id of the live session of a subject that has a name. If there is
// none, that rests on changes that may be under way. Names are computed while no
// lock is held.
func (s *Store) find(subject Subject, name token.SessionName, now timestamp) (id token.ID, found bool, underWay []Write) {
	sh := s.shardOf(subject)
	walk := subjectWalk{subject: subject}
	var p pacer
	defer p.close()
	var ids [subjectBatch]token.ID
	for {
		start := time.Now()
		n, end, underWay := sh.pass(&walk, ids[:0], now)
		for _, id := range ids[:n] {
			if id.Name() == name {
				return id, true, nil
			}
		}
		if end {
			return token.ID{}, false, underWay
		}
		p.worked(time.Since(start))
	}
}

// pass goes on with a walk, by cap(ids) sessions at most, and appends the ids of those
// that live to ids. At the end it returns the changes that are under way.
func (sh *shard) pass(w *subjectWalk, ids []token.ID, now timestamp) (n int, end bool, underWay []Write) {
	sh.rlock()
	defer sh.mu.RUnlock()
	i, ok := w.nextLocked(sh)
	if !ok {
		return 0, false, nil
	}
	var last token.ID
	for steps := 0; i != 0; steps++ {
		if steps == cap(ids) {
			w.trail = append(w.trail, last)
			return len(ids), false, nil
		}
		r := sh.records.at(sh.policies.at(i).record)
		if last = r.id; sh.heap.at(r.heapIndex).deadline > now {
			ids = append(ids, r.id)
		}
		i = sh.olderLocked(i, w.subject)
	}
	return len(ids), true, sh.pending.all()
}
