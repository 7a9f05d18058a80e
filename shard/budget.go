package shard

import "sync/atomic"

// budget is what all shards may hold together. It counts what is in use, not
// what is reserved, so that a limit means the same whatever shard a session
// falls into: what one session gives back, any other can have.
type budget struct {
	sessions quota
	bytes    quota
}

// mapCost is how many bytes a session takes of a map that is 60 % full.
const mapCost = 24

// sessionOverhead is how many bytes a session takes beside its metadata.
const sessionOverhead = recordSize + entrySize + mapCost

// sessionCost is the room that a session with n bytes of metadata takes.
func sessionCost(n int, hasPolicy bool) int64 {
	cost := sessionOverhead + int64(blockSize(blockLen(n, hasPolicy)))
	if hasPolicy {
		cost += policySize
	}
	return cost
}

// takeSession takes the room of a session, if there is room.
func (b *budget) takeSession(cost int64) bool {
	if !b.sessions.take(1) {
		return false
	}
	if !b.bytes.take(cost) {
		b.sessions.give(1)
		return false
	}
	return true
}

// addSession takes the room of a session, whether there is room or not.
func (b *budget) addSession(cost int64) {
	b.sessions.add(1)
	b.bytes.add(cost)
}

// giveSession gives back what takeSession took.
func (b *budget) giveSession(cost int64) {
	b.sessions.give(1)
	b.bytes.give(cost)
}

// quota is an amount with a limit. Without one (0) it counts nothing and costs nothing.
// It may be over its limit by what was there when the limit was lowered.
type quota struct {
	limit int64
	taken atomic.Int64
	_     [48]byte // a cache line of its own
}

// take takes n, if there is room; less than nothing, which gives back, in any case.
func (q *quota) take(n int64) bool {
	if q.limit == 0 {
		return true
	}
	for {
		taken := q.taken.Load()
		if n > 0 && taken+n > q.limit {
			return false
		}
		if q.taken.CompareAndSwap(taken, taken+n) {
			return true
		}
	}
}

// add takes n, whether there is room or not.
func (q *quota) add(n int64) {
	if q.limit != 0 && n != 0 {
		q.taken.Add(n)
	}
}

func (q *quota) give(n int64) { q.add(-n) }
