package shard

import "time"

// Counters count what has happened since the start.
type Counters struct {
	Created   uint64 // sessions
	Exchanged uint64 // tokens exchanged
	Invalid   uint64 // exchanges refused because the token was invalid
	Deleted   uint64 // sessions ended by their owner
	Purged    uint64 // expired sessions whose memory was taken back
	Replayed  uint64 // exchanges of spent tokens answered in their grace
	Reused    uint64 // spent tokens presented beyond any grace
	Revoked   uint64 // sessions ended because of that
	Ended     uint64 // sessions ended with their subject's others
}

// Stats is the state of a store, or of one shard.
type Stats struct {
	Counters
	Sessions  int64         // sessions held, expired ones that are not purged yet among them
	Subjects  int64         // subjects that have sessions
	Bytes     int64         // bytes that the sessions take, as Config.MaxBytes limits it
	Reserved  int64         // bytes reserved for sessions, free ones included, without the maps
	LockWait  time.Duration // spent waiting for locks
	Contended uint64        // times that a lock had to be waited for
}

// Stats returns the sum of all shards. It takes one lock after the other, so
// that under load the sum is of no single moment.
func (s *Store) Stats() Stats {
	sum := Stats{Reserved: s.frames.freeBytes()}
	for i := range s.shards {
		sum.add(s.shards[i].stats())
	}
	return sum
}

// ShardCount returns the number of shards.
func (s *Store) ShardCount() int { return len(s.shards) }

// LongestPurgeHold returns the longest time that a purge has held a lock.
func (s *Store) LongestPurgeHold() time.Duration {
	return time.Duration(s.purge.longest.Load())
}

func (sh *shard) stats() Stats {
	sh.rlock()
	defer sh.mu.RUnlock()
	return Stats{
		Counters:  sh.counters,
		Sessions:  int64(sh.heap.n),
		Subjects:  int64(len(sh.subjects)),
		Bytes:     sh.bytesLocked(),
		Reserved:  sh.reservedLocked(),
		LockWait:  time.Duration(sh.waited.Load()),
		Contended: uint64(sh.contended.Load()),
	}
}

func (sh *shard) bytesLocked() int64 {
	return int64(sh.heap.n)*sessionOverhead + int64(sh.extras.used)*extraSize + sh.meta.used
}

func (sh *shard) reservedLocked() int64 {
	records := int64(sh.records.chunks.len()) * recordSize
	entries := int64(sh.heap.entries.len()) * entrySize
	extras := int64(sh.extras.chunks.len()) * extraSize
	return records + entries + extras + sh.meta.reserved
}

func (st *Stats) add(other Stats) {
	st.Created += other.Created
	st.Exchanged += other.Exchanged
	st.Invalid += other.Invalid
	st.Deleted += other.Deleted
	st.Purged += other.Purged
	st.Replayed += other.Replayed
	st.Reused += other.Reused
	st.Revoked += other.Revoked
	st.Ended += other.Ended
	st.Sessions += other.Sessions
	st.Subjects += other.Subjects
	st.Bytes += other.Bytes
	st.Reserved += other.Reserved
	st.LockWait += other.LockWait
	st.Contended += other.Contended
}
