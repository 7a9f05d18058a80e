package shard

import (
	"context"
	"iter"

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
		var b listing
		for i := range s.shards {
			for b.next = 0; b.read(&s.shards[i], s.now()); {
				if err := ctx.Err(); err != nil {
					yield(token.Session{}, err)
					return
				}
				if err := waitAll(b.underWay); err != nil {
					yield(token.Session{}, err)
					return
				}
				if !b.yield(s, yield) {
					return
				}
			}
		}
	}
}

// listing is a batch of sessions, copied so that no lock is held while they are listed.
type listing struct {
	next     recordIndex // to be looked at in the shard
	sessions []listed
	meta     []byte
	underWay []*commit // changes that it rests on
}

type listed struct {
	deadline deadline
	end      int // of the metadata in listing.meta
}

// read copies the next live sessions of a shard. It returns false if there are
// no more records.
func (b *listing) read(sh *shard, now deadline) bool {
	b.sessions, b.meta = b.sessions[:0], b.meta[:0]
	sh.rlock()
	defer sh.mu.RUnlock()
	b.underWay = sh.underWayLocked()
	first, end := b.next, recordIndex(sh.records.n)
	for ; b.next < min(first+listRecords, end) && len(b.meta) < listBytes; b.next++ {
		b.copyLocked(sh, sh.records.at(b.next), now)
	}
	return first < end
}

func (b *listing) copyLocked(sh *shard, r *record, now deadline) {
	if r.place == 0 {
		return
	}
	if d := sh.heap.at(r.place).deadline; d > now {
		meta, _ := sh.contentLocked(r)
		b.meta = append(b.meta, meta...)
		b.sessions = append(b.sessions, listed{deadline: d, end: len(b.meta)})
	}
}

func (b *listing) yield(s *Store, yield func(token.Session, error) bool) bool {
	start := 0
	for _, l := range b.sessions {
		if !yield(token.Session{Expires: s.rules.clock.time(l.deadline), Meta: b.meta[start:l.end:l.end]}, nil) {
			return false
		}
		start = l.end
	}
	return true
}
