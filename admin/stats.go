package admin

import "time"

// StoreStats is the state of the store at a scrape. Counters count from the start.
type StoreStats struct {
	Shards   int
	Sessions int64 // held, expired ones that are not purged yet among them
	Bytes    int64 // taken by sessions
	Reserved int64 // bytes reserved for sessions, free ones included
	Subjects int64 // that have sessions

	Created   uint64 // sessions
	Exchanged uint64 // tokens exchanged
	Invalid   uint64 // exchanges refused because the token was invalid
	Deleted   uint64 // sessions ended by their owner
	Purged    uint64 // expired sessions whose memory was taken back
	Replayed  uint64 // exchanges of spent tokens answered in their grace
	Reused    uint64 // spent tokens presented beyond any grace
	Revoked   uint64 // sessions ended because of that
	Ended     uint64 // sessions ended with their subject's others

	LockWait         time.Duration // spent waiting for locks
	Contended        uint64        // times that a lock had to be waited for
	LongestPurgeHold time.Duration // longest time that a purge has held a lock

	Disk *DiskStats // nil if the store keeps nothing on a disk
}

// DiskStats is the state of a disk that a store keeps sessions on.
type DiskStats struct {
	Bytes    int64         // in the store's files, without what is set aside for its log
	Free     int64         // bytes, or -1 if that is unknown
	Syncs    uint64        // of the store's log
	SyncTime time.Duration // that those took
}

// RequestStats is what the server has answered since the start.
type RequestStats struct {
	Requests  []RequestCount // at most one for each method and status
	Durations Histogram
}

// RequestCount counts the answers with one status to requests with one method.
type RequestCount struct {
	Method string
	Code   int
	Count  uint64
}

// Histogram counts durations: Counts[i] those over Bounds[i-1] and up to
// Bounds[i], its last element those over all bounds.
type Histogram struct {
	Bounds []time.Duration
	Counts []uint64
	Sum    time.Duration
}

// Build tells which program runs.
type Build struct {
	Version   string
	Commit    string
	GoVersion string
}
