// Package stats has the statistics that stores and the server keep and the admin
// listener shows: one type for each, so that nothing is translated in between.
//
// # Basics
//
// A store that has statistics returns a [Store], the server a [Server]. Counters
// count since the start of the process; all else is of the moment.
//
// # Caveats
//
// They are gathered one lock after the other: under load they are of no single
// moment. A zero may also mean that a store does not count such a thing.
package stats

import (
	"fmt"
	"time"
)

// Counters count what has happened in a store since the start.
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

// Store is the state of a store.
type Store struct {
	Counters
	Shards           int
	Sessions         int64         // sessions held, expired ones that are not purged yet among them
	Subjects         int64         // subjects that have sessions
	Bytes            int64         // bytes that the sessions use
	Reserved         int64         // bytes reserved for sessions, free ones and maps included, as the limit of memory counts them
	MaxSessions      int64         // sessions that there may be; 0 if there is no limit
	MaxReserved      int64         // bytes that may be reserved; 0 if there is no limit
	LockWait         time.Duration // spent waiting for locks
	Contended        uint64        // times that a lock had to be waited for
	LongestPurgeHold time.Duration // longest time that a purge has held a lock
	Disk             *Disk         // nil if the store keeps nothing on a disk
	Engine           *Engine       // nil if no other process keeps the sessions
}

// Add adds the statistics of a part of a store. What is no sum, limits, the
// longest hold and the disk, it leaves alone.
func (s *Store) Add(part Store) {
	s.Created += part.Created
	s.Exchanged += part.Exchanged
	s.Invalid += part.Invalid
	s.Deleted += part.Deleted
	s.Purged += part.Purged
	s.Replayed += part.Replayed
	s.Reused += part.Reused
	s.Revoked += part.Revoked
	s.Ended += part.Ended
	s.Shards += part.Shards
	s.Sessions += part.Sessions
	s.Subjects += part.Subjects
	s.Bytes += part.Bytes
	s.Reserved += part.Reserved
	s.LockWait += part.LockWait
	s.Contended += part.Contended
}

// Disk is the state of a disk that a store keeps sessions on.
type Disk struct {
	Bytes    int64         // in the store's files, without what is set aside for its log
	Free     int64         // bytes, or -1 if that is unknown
	Syncs    uint64        // of the store's log
	SyncTime time.Duration // that those took
	Groups   uint64        // of changes that were written together
	Changes  uint64        // in those
}

// Engine is the state of the process, or the processes, that keep the sessions of a store.
type Engine struct {
	Up           bool
	Version      string      // its name and version
	Mode         string      // standalone, sentinel or cluster
	Role         string      // primary, replica or unknown
	Connections  int         // open now
	InFlight     int         // calls under way
	Durations    Histogram   // of commands
	Errors       []KindCount // at most one for each kind of error
	Retries      uint64      // commands that were sent again
	Late         uint64      // calls that came too late to be carried out
	Lost         uint64      // times that the engine had lost its sessions
	MetaBytes    int64       // usual size of a session's metadata
	SessionBytes int64       // memory that a session takes, sampled; 0 if that is not known
	Memory       int64       // bytes that the primaries use; 0 if that is not known
	MaxMemory    int64       // bytes that they may use; 0 if there is no limit, or it is not known
	Eviction     string      // their maxmemory-policy, or "" if that is not known
}

// KindCount is how many errors there were of a kind.
type KindCount struct {
	Kind  string
	Count uint64
}

// Server is what the server has answered since the start, and its connections.
type Server struct {
	Requests       []RequestCount // at most one for each method and status
	Durations      Histogram
	BatchItems     []ItemCount // at most one for each kind and result
	BatchSizes     Sizes       // items of batches
	Connections    int         // open now
	MaxConnections int         // that there may be; 0 for no limit
	Shed           uint64      // connections closed or refused because there were too many
	BadHandshakes  uint64      // of TLS
	Refused        uint64      // requests whose callers were not known, of the admin listener too
}

// RequestCount is how many requests with a method got a status.
type RequestCount struct {
	Method string // "other" for one that the server knows nothing of
	Code   int    // 0 for the statuses that are not counted one by one
	Count  uint64
}

// ItemCount is how many items of batches of a kind had a result.
type ItemCount struct {
	Kind   string // "none" for one that is of no kind
	Result string // "Ok", or the code of an error
	Count  uint64
}

// Sizes is a histogram of numbers of things.
type Sizes struct {
	Bounds []float64 // upper ones, rising
	Counts []uint64  // between the bounds, not cumulative; the last is over all bounds
	Sum    uint64    // of all things
}

// Histogram is how long requests took that could be read, from then on until
// their answer was ready.
type Histogram struct {
	Bounds []time.Duration // upper ones, rising
	Counts []uint64        // between the bounds, not cumulative; the last is over all bounds
	Sum    time.Duration
}

// Detail is what a store of shards tells beyond its sums.
type Detail struct {
	Shards   []Shard
	Expiring Expiring
	Purges   []Purge // by the clock, the last ones, the newest first
}

// Reset empties d, and keeps its memory.
func (d *Detail) Reset() { *d = Detail{Shards: d.Shards[:0]} }

// Shard is the state of a shard.
type Shard struct {
	Sessions  int64
	LockWait  time.Duration // spent waiting for its lock
	Contended uint64        // times that its lock had to be waited for
}

// ExpiryStep is the time that one number of [Expiring] stands for.
const ExpiryStep = 5 * time.Minute

// Expiring tells when sessions expire. It is estimated from some of the sessions, unless
// there are few of them.
type Expiring struct {
	Steps   [24]float64 // sessions that expire in each ExpiryStep from now on, the expired ones in the first
	Later   float64     // sessions that expire after all steps
	Sampled int         // sessions that were looked at
	Exact   bool        // all of them were
}

// Purge is one that has ended.
type Purge struct {
	Ended    time.Time
	Took     time.Duration
	Sessions int // whose memory was taken back
}

// Build tells which program runs.
type Build struct {
	Version   string
	Commit    string
	GoVersion string
}

// String returns the build in one line.
func (b Build) String() string {
	return fmt.Sprintf("%s (commit %s, %s)", b.Version, b.Commit, b.GoVersion)
}
