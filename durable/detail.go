package durable

import (
	"sync"
	"time"

	"tokenserver/internal/stats"
)

const (
	// spaceInterval is the time between two looks of StatsInDetail at the space on disk:
	// Pebble holds a lock for it that changes take too.
	spaceInterval = 10 * time.Second
	// spaceLimit is how long such a look waits for the disk.
	spaceLimit = 50 * time.Millisecond
)

// spaceLook is what the last look of StatsInDetail has found.
type spaceLook struct {
	sync.Mutex
	at          time.Time
	bytes, free int64
}

// StatsInDetail is Stats, and sets d. It may be called every second: what costs more it
// looks at now and then, and Syncs and SyncTime are those that changes waited for.
func (s *Store) StatsInDetail(d *stats.Detail) stats.Store {
	sessions, err := s.loaded()
	if err != nil {
		d.Reset()
		return s.statsOfLoad(-1)
	}
	st := sessions.StatsInDetail(d)
	c := &s.journal.counters
	st.Disk = &stats.Disk{
		Syncs: c.syncs.Load(), SyncTime: time.Duration(c.syncTime.Load()),
		Groups: c.groups.Load(), Changes: c.changes.Load(),
	}
	st.Disk.Bytes, st.Disk.Free = s.lookAtSpace()
	return st
}

func (s *Store) lookAtSpace() (bytes, free int64) {
	s.space.Lock()
	defer s.space.Unlock()
	if s.space.at.IsZero() || time.Since(s.space.at) >= spaceInterval {
		s.space.at = time.Now()
		s.space.bytes, s.space.free = int64(s.db.Metrics().DiskSpaceUsage()), -1
		if usage, err := s.diskUsage(spaceLimit); err == nil {
			s.space.free = int64(usage.AvailBytes)
		}
	}
	return s.space.bytes, s.space.free
}
