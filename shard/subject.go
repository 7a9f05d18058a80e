package shard

import (
	"cmp"
	"context"
	"crypto/sha256"
	"slices"
	"time"

	"tokenserver/token"
)

// Subject names whose a session is: the first 16 bytes of a SHA-256, so that
// the store holds no names. The zero value is nobody.
type Subject [16]byte

// NewSubject returns the Subject of a name, and nobody for an empty one.
func NewSubject(name []byte) Subject {
	if len(name) == 0 {
		return Subject{}
	}
	sum := sha256.Sum256(name)
	return Subject(sum[:])
}

// linkLocked puts a session where it belongs among its subject's, in the order of
// their creation: at the head, for a new one, or nearly so, since that time is
// taken before the lock:
//
//  1. create A takes the time 1.
//  2. create B takes the time 2, then the lock: the subject has B.
//  3. create A gets the lock: it goes behind B, and the subject has B, A.
//
// EndSubject relies on it: it ends the oldest ones until it meets one that is newer
// than its call. While sessions are restored, all go to the head. It requires the write
// lock.
func (sh *shard) linkLocked(i policyIndex) {
	e := sh.policies.at(i)
	newest, ok := sh.subjects.get(e.subject)
	if !ok {
		sh.subjects.add(e.subject, i)
		e.next, e.prev = i, i
		return
	}
	next := newest
	for !sh.restoring && sh.policies.at(next).created > e.created {
		if next = sh.policies.at(next).next; next == newest {
			break
		}
	}
	e.next, e.prev = next, sh.policies.at(next).prev
	sh.policies.at(e.prev).next = i
	sh.policies.at(next).prev = i
	if next == newest && (sh.restoring || sh.policies.at(newest).created <= e.created) {
		sh.subjects.replace(e.subject, i)
	}
}

// sortSubjects puts each subject's sessions in their order again, after they
// were restored.
func (sh *shard) sortSubjects() {
	sh.lock()
	defer sh.unlock()
	sh.restoring, sh.memory.exempt = false, false
	for sh.subjects.old != nil { // and so that of sessions is nil: one moves at a time
		sh.moveSubjectsLocked()
	}
	var list []policyIndex
	for subject, newest := range sh.subjects.m {
		list = append(list[:0], newest)
		for i := sh.policies.at(newest).next; i != newest; i = sh.policies.at(i).next {
			list = append(list, i)
		}
		slices.SortFunc(list, func(a, b policyIndex) int {
			return cmp.Compare(sh.policies.at(b).created, sh.policies.at(a).created)
		})
		for n, i := range list {
			next := list[(n+1)%len(list)]
			sh.policies.at(i).next, sh.policies.at(next).prev = next, i
		}
		sh.subjects.replace(subject, list[0])
	}
}

// unlinkLocked takes a session off its subject's list. It requires the write
// lock.
func (sh *shard) unlinkLocked(i policyIndex) {
	e := sh.policies.at(i)
	if e.next == i {
		sh.subjects.remove(e.subject)
		return
	}
	sh.policies.at(e.next).prev = e.prev
	sh.policies.at(e.prev).next = e.next
	if newest, _ := sh.subjects.get(e.subject); newest == i {
		sh.subjects.replace(e.subject, e.next)
	}
}

// shardOf returns the shard that has all sessions of a subject.
func (s *Store) shardOf(subject Subject) *shard { return &s.shards[subject.hash()>>s.shift] }

// subjectBatch is how many sessions of a subject are ended, or looked at for a
// listing, under one hold of a lock.
const subjectBatch = 32

// EndSubject ends each session of a subject that exists at the call and returns
// how many lived. An exchange of one of them that comes in between is no way
// out: its session ends all the same.
func (s *Store) EndSubject(_ context.Context, name []byte) (ended int, err error) {
	return s.endSubject(NewSubject(name), nil, s.now())
}

// EndOthers is EndSubject but for the session that keep is a token of, which may be
// exchanged meanwhile. Its error is [token.ErrInvalid] if Validate would refuse keep,
// or if its session is not the subject's; then nothing has ended.
func (s *Store) EndOthers(_ context.Context, name []byte, keep token.Token) (ended int, err error) {
	subject := NewSubject(name)
	c := credential{id: keep.ID, digest: keep.Digest(), now: s.now()}
	sh := s.shardOf(subject)
	w, err := sh.checkKept(&c, subject)
	for err == errUnproven {
		s.derive(&c, keep)
		w, err = sh.checkKept(&c, subject)
	}
	if err := cmp.Or(wait(w), err); err != nil {
		return 0, err
	}
	return s.endSubject(subject, &c.id, c.now)
}

// checkKept checks that c is a token of a live session of a subject. It ends no
// session, whatever c is.
func (sh *shard) checkKept(c *credential, subject Subject) (Write, error) {
	sh.rlock()
	defer sh.mu.RUnlock()
	w := sh.pending.writes[c.id]
	r := sh.liveLocked(c.id, c.now)
	if r == nil || sh.ofSubjectLocked(c.id, subject) == 0 {
		return w, token.ErrInvalid
	}
	if r.digest == c.digest {
		return w, nil
	}
	_, err := sh.graceAgeLocked(r, c)
	return w, err
}

// EndSession ends the session of a subject that has a name, and returns how many
// lived: 1, or 0 if the subject has no such session.
func (s *Store) EndSession(_ context.Context, name []byte, session token.SessionName) (ended int, err error) {
	subject, now := NewSubject(name), s.now()
	id, found, underWay := s.find(subject, session, now)
	if !found {
		return 0, waitAll(underWay)
	}
	ended, w := s.shardOf(subject).endSession(id, now)
	return ended, wait(w)
}

// endSession ends a session, if it lives.
func (sh *shard) endSession(id token.ID, now timestamp) (ended int, w Write) {
	sh.lock()
	defer sh.unlock()
	r := sh.liveLocked(id, now)
	if r == nil {
		return 0, sh.pending.writes[id]
	}
	sh.counters.Ended++
	return 1, sh.endLocked(r)
}

// endSubject ends each session of a subject that existed at now, but for keep.
func (s *Store) endSubject(subject Subject, keep *token.ID, now timestamp) (ended int, err error) {
	sh := s.shardOf(subject)
	var p pacer
	defer p.close()
	for more := true; more; {
		var batch endedSessions
		start := time.Now()
		batch, more = sh.endSubject(subject, keep, now)
		p.worked(time.Since(start))
		s.compact(sh, &p)
		ended += batch.live
		if err := waitAll(batch.writes); err != nil {
			return ended, err
		}
	}
	return ended, nil
}

type endedSessions struct {
	live   int
	writes []Write
}

// endSubject ends the oldest sessions of a subject, unless they are newer than
// now, but for keep, if it is not nil. It returns whether there are more.
func (sh *shard) endSubject(subject Subject, keep *token.ID, now timestamp) (batch endedSessions, more bool) {
	sh.lock()
	defer sh.unlock()
	batch.writes = sh.pending.all()
	for range subjectBatch {
		r := sh.oldestLocked(subject, keep, now)
		if r == nil {
			return batch, false
		}
		if sh.heap.at(r.heapIndex).deadline > now {
			batch.live++
			sh.counters.Ended++
		} else {
			sh.counters.Purged++
		}
		if w := sh.endLocked(r); w != nil {
			batch.writes = append(batch.writes, w)
		}
	}
	return batch, true
}

// oldestLocked returns the oldest session of a subject but for keep, or nil if there is
// none that existed at now. It requires the read lock.
func (sh *shard) oldestLocked(subject Subject, keep *token.ID, now timestamp) *record {
	newest, ok := sh.subjects.get(subject)
	if !ok {
		return nil
	}
	oldest := sh.policies.at(newest).prev
	if keep != nil && sh.records.at(sh.policies.at(oldest).record).id == *keep {
		if oldest == newest {
			return nil
		}
		oldest = sh.policies.at(oldest).prev
	}
	e := sh.policies.at(oldest)
	if e.created > now {
		return nil
	}
	return sh.records.at(e.record)
}
