package shard

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"time"

	"tokenserver/internal/clock"
	"tokenserver/token"
)

// What a listing does under one hold of a lock: it looks at listRecords records
// at most, and copies no more once it has listBytes bytes of metadata.
const (
	listRecords = 128
	listBytes   = 32 << 10
)

// Sessions lists the live sessions in no order. Each session that lives
// throughout is listed once; one that begins or ends meanwhile may be or not.
// Its error is that of ctx or of the Journal.
func (s *Store) Sessions(ctx context.Context) iter.Seq2[token.Session, error] {
	return func(yield func(token.Session, error) bool) {
		var l listing
		for i := range s.shards {
			if !s.listShard(ctx, &s.shards[i], &l, yield) {
				return
			}
		}
	}
}

// listShard lists a shard's sessions. Its records are not moved meanwhile, so that
// none is listed twice or left out. It returns false if the listing has come to
// its end.
func (s *Store) listShard(ctx context.Context, sh *shard, l *listing, yield func(token.Session, error) bool) bool {
	sh.listings.Add(1)
	defer s.listed(sh)
	for l.next = 0; l.read(sh, s.now()); {
		err := ctx.Err()
		if err == nil {
			err = waitAll(l.underWay)
		}
		if err != nil {
			yield(token.Session{}, err)
			return false
		}
		if !l.yield(s, yield) {
			return false
		}
	}
	return true
}

// listed compacts a shard through which a listing has gone.
func (s *Store) listed(sh *shard) {
	var p pacer
	defer p.close()
	sh.listings.Add(-1)
	sh.backlog.Store(true)
	s.compact(sh, &p)
}

// listing is a batch of sessions, copied so that no lock is held while they are listed.
type listing struct {
	next     recordIndex // to be looked at in the shard
	sessions []listed
	meta     []byte
	underWay []Write // changes that it rests on
}

type listed struct {
	deadline timestamp
	end      int // of the metadata in listing.meta
}

// read copies the next live sessions of a shard. It returns false if there are
// no more records.
func (l *listing) read(sh *shard, now timestamp) bool {
	l.sessions, l.meta = l.sessions[:0], l.meta[:0]
	sh.rlock()
	defer sh.mu.RUnlock()
	l.underWay = sh.pending.all()
	first, end := l.next, recordIndex(sh.records.n)
	for ; l.next < min(first+listRecords, end) && len(l.meta) < listBytes; l.next++ {
		l.copyLocked(sh, sh.records.at(l.next), now)
	}
	return first < end
}

// copyLocked copies a session, if it is one that lives. It requires the read lock.
func (l *listing) copyLocked(sh *shard, r *record, now timestamp) {
	if r.heapIndex == 0 {
		return
	}
	if d := sh.heap.at(r.heapIndex).deadline; d > now {
		meta, _ := sh.contentLocked(r)
		l.meta = append(l.meta, meta...)
		l.sessions = append(l.sessions, listed{deadline: d, end: len(l.meta)})
	}
}

func (l *listing) yield(s *Store, yield func(token.Session, error) bool) bool {
	start, now := 0, s.rules.clock.Read()
	for _, each := range l.sessions {
		if !yield(token.Session{Expires: now.Time(each.deadline), Meta: l.meta[start:each.end:each.end]}, nil) {
			return false
		}
		start = each.end
	}
	return true
}

// SubjectSessions returns a page of the live sessions of a subject, the newest first,
// and whether there are more: page.Limit sessions at most, and [token.MaxListing] of
// metadata, but for a first session that alone has more. Its errors are
// [token.ErrUnknownSession] if page.After does not live, and those of the Journal.
func (s *Store) SubjectSessions(_ context.Context, name []byte, page token.Page) (list []token.Session, more bool, err error) {
	l := subjectListing{walk: subjectWalk{subject: NewSubject(name)}, now: s.rules.clock.Read(), limit: page.Limit}
	if page.After != (token.SessionName{}) {
		after, found, underWay := s.find(l.walk.subject, page.After, l.now.Timestamp)
		if !found {
			return nil, false, cmp.Or(waitAll(underWay), token.ErrUnknownSession)
		}
		l.walk.trail, l.goesOn = []token.ID{after}, true
	}
	sh := s.shardOf(l.walk.subject)
	var p pacer
	defer p.close()
	for goesOn := true; goesOn; {
		start := time.Now()
		goesOn = sh.listSubject(&l)
		p.worked(time.Since(start))
		s.compact(sh, &p)
	}
	if err := waitAll(l.underWay); err != nil {
		return nil, false, err
	}
	if l.isLost() {
		return nil, false, token.ErrUnknownSession
	}
	for i := range l.sessions {
		l.sessions[i].Name = l.ids[i].Name()
	}
	return l.sessions, l.more, nil
}

// subjectListing is a listing of a subject's sessions that is under way. The trail of
// its walk has the sessions that it has listed.
type subjectListing struct {
	walk     subjectWalk
	goesOn   bool // after another page, whose last session the trail begins with
	now      clock.Moment
	limit    int
	sessions []token.Session
	ids      []token.ID // theirs
	size     int        // bytes of their metadata
	more     bool
	underWay []Write // changes that the listing rests on
}

// isLost says that all sessions of the trail have ended, so that the place of a page
// that goes on after another one is not known.
func (l *subjectListing) isLost() bool { return l.goesOn && len(l.walk.trail) == 0 }

// listSubject goes on with a listing under one hold of the lock. It returns
// false if the listing is complete. It then rests on the changes that are still
// under way: those that were so at an earlier hold, and are no more, last.
func (sh *shard) listSubject(l *subjectListing) bool {
	sh.lock()
	defer sh.unlock()
	end := l.size + listBytes
	for steps := 0; steps < subjectBatch && l.size < end; steps++ {
		if !sh.listNextLocked(l) {
			l.underWay = sh.pending.all()
			return false
		}
	}
	return true
}

// listNextLocked makes one step of a listing: it lists a session, takes one away
// that has expired, so that none is stepped over twice, or finds that the last
// one of the trail has ended. It returns false if the listing is complete. It
// requires the write lock.
func (sh *shard) listNextLocked(l *subjectListing) bool {
	i, ok := l.walk.nextLocked(sh)
	if !ok {
		return !l.isLost()
	}
	if i == 0 {
		return false
	}
	r := sh.records.at(sh.policies.at(i).record)
	if sh.heap.at(r.heapIndex).deadline <= l.now.Timestamp {
		sh.expireLocked(r)
		return true
	}
	return sh.listLocked(l, r, i)
}

// listLocked lists a session, or returns false if there is no room for it. It
// requires the write lock.
func (sh *shard) listLocked(l *subjectListing, r *record, i policyIndex) bool {
	meta, _ := sh.contentLocked(r)
	n := len(l.sessions)
	if n >= l.limit || n > 0 && l.size+len(meta) > token.MaxListing {
		l.more = true
		return false
	}
	l.sessions = append(l.sessions, token.Session{
		Created: l.now.Time(sh.policies.at(i).created),
		Expires: l.now.Time(sh.heap.at(r.heapIndex).deadline),
		Meta:    bytes.Clone(meta),
	})
	l.size += len(meta)
	l.ids = append(l.ids, r.id)
	l.walk.trail = append(l.walk.trail, r.id)
	return true
}
