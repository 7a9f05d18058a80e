package shard

import (
	"time"

	"tokenserver/internal/stats"
)

// Stats returns the sum of all shards. It takes one lock after the other, so
// that under load the sum is of no single moment.
func (s *Store) Stats() stats.Store {
	sum := stats.Store{
		Reserved:         s.pool.freeBytes(),
		LongestPurgeHold: time.Duration(s.purge.longest.Load()),
	}
	for i := range s.shards {
		sum.Add(s.shards[i].stats())
	}
	return sum
}

func (sh *shard) stats() stats.Store {
	sh.rlock()
	defer sh.mu.RUnlock()
	return stats.Store{
		Counters:  sh.counters,
		Shards:    1,
		Sessions:  int64(sh.heap.n),
		Subjects:  int64(len(sh.subjects)),
		Bytes:     sh.bytesLocked(),
		Reserved:  sh.reservedLocked(),
		LockWait:  time.Duration(sh.waited.Load()),
		Contended: uint64(sh.contended.Load()),
	}
}

// bytesLocked returns what the sessions take of the budget. It requires the read lock.
func (sh *shard) bytesLocked() int64 {
	return int64(sh.heap.n)*sessionOverhead + int64(sh.policies.used)*policySize + sh.meta.used
}

// reservedLocked returns what is reserved, without the maps. It requires the read lock.
func (sh *shard) reservedLocked() int64 {
	records := int64(sh.records.chunks.len()) * recordSize
	entries := int64(sh.heap.entries.len()) * entrySize
	policies := int64(sh.policies.chunks.len()) * policySize
	return records + entries + policies + sh.meta.reserved
}
