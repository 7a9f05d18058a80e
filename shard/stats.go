package shard

import (
	"time"

	"tokenserver/internal/stats"
)

// Stats returns the sum of all shards. It takes one lock after the other, so
// that under load the sum is of no single moment.
func (s *Store) Stats() stats.Store {
	sum := s.statsOfWhole()
	for i := range s.shards {
		sum.Add(s.shards[i].stats())
	}
	return sum
}

// statsOfWhole returns the statistics that are no sum over the shards.
func (s *Store) statsOfWhole() stats.Store {
	return stats.Store{
		MaxSessions:      s.budget.sessions.limit,
		MaxReserved:      s.budget.bytes.limit,
		LongestPurgeHold: time.Duration(s.purge.longest.Load()),
	}
}

func (sh *shard) stats() stats.Store {
	sh.rlock()
	defer sh.mu.RUnlock()
	return stats.Store{
		Counters:  sh.counters,
		Shards:    1,
		Sessions:  int64(sh.heap.n),
		Subjects:  int64(sh.subjects.n),
		Bytes:     sh.bytesLocked(),
		Reserved:  sh.memory.reserved,
		LockWait:  time.Duration(sh.waited.Load()),
		Contended: uint64(sh.contended.Load()),
	}
}

// bytesLocked returns what the sessions use, of the maps no more than they take. It
// requires the read lock.
func (sh *shard) bytesLocked() int64 {
	sessions := int64(sh.heap.n)*(recordSize+entrySize) + int64(sh.policies.used)*policySize
	maps := sh.sessions.used(mapCost) + sh.subjects.used(subjectCost)
	return sessions + maps + sh.meta.used
}
