package shard

import "sync/atomic"

// budget is what all shards may hold together. Of memory it counts what they have
// reserved, whether it is in use or not.
type budget struct {
	sessions quota
	bytes    quota
}

// What a session and a subject take at most of a map whose keys are not moved to a
// smaller one: its tables have half of splitFrom keys.
const (
	mapCost     = 42
	subjectCost = 68
)

// sessionOverhead is how many bytes a session takes beside its metadata.
const sessionOverhead = recordSize + entrySize + mapCost

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
