package durable

import (
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	dto "github.com/prometheus/client_model/go"

	"tokenserver/internal/stats"
)

// Stats returns the statistics of the sessions and of the disk. Before Load has
// returned there are none but the limits and the free space. It must not be called after
// Close.
func (s *Store) Stats() stats.Store {
	sessions, err := s.loaded()
	if err != nil {
		return s.statsOfLoad(s.freeSpace())
	}
	st := sessions.Stats()
	st.Disk = s.diskStats()
	return st
}

// statsOfLoad returns what is known before all sessions are there.
func (s *Store) statsOfLoad(free int64) stats.Store {
	return stats.Store{
		MaxSessions: s.cfg.Store.MaxSessions, MaxReserved: s.cfg.Store.MaxBytes,
		Disk: &stats.Disk{Free: free},
	}
}

// freeSpace returns the free bytes of the disk, or -1 if that is unknown.
func (s *Store) freeSpace() int64 {
	usage, err := s.diskUsage(hangAfter)
	if err != nil {
		return -1
	}
	return int64(usage.AvailBytes)
}

// diskStats leaves out of Bytes what is set aside in the data directory for logs.
func (s *Store) diskStats() *stats.Disk {
	metrics := s.db.Metrics()
	st := &stats.Disk{
		Bytes: int64(metrics.DiskSpaceUsage()), Free: s.freeSpace(),
		Groups: s.journal.counters.groups.Load(), Changes: s.journal.counters.changes.Load(),
	}
	var m dto.Metric
	if err := metrics.LogWriter.FsyncLatency.Write(&m); err == nil {
		h := m.GetHistogram() // of nanoseconds
		st.Syncs, st.SyncTime = h.GetSampleCount(), time.Duration(h.GetSampleSum())
	}
	return st
}

// checkSpace returns an error if too little of the disk is free, or if that is not known
// in time.
func (s *Store) checkSpace(limit time.Duration) error { return s.checkFree(uint64(s.minFree), limit) }

// checkFree is checkSpace for so many bytes.
func (s *Store) checkFree(needed uint64, limit time.Duration) error {
	usage, err := s.diskUsage(limit)
	if errors.Is(err, vfs.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("free space of %s: %w", s.dataDir.path, err)
	}
	if usage.AvailBytes < needed {
		return fmt.Errorf("%w: %d MiB in %s, %d MiB needed",
			ErrNoSpace, usage.AvailBytes>>20, s.dataDir.path, needed>>20)
	}
	return nil
}

// diskUsage returns how much of the disk is free. The question, which may hang with a
// network's file system, is put once at a time.
func (s *Store) diskUsage(limit time.Duration) (vfs.DiskUsage, error) {
	type result struct {
		usage vfs.DiskUsage
		err   error
	}
	late := time.After(limit)
	select {
	case s.askingUsage <- struct{}{}:
	case <-late:
		return vfs.DiskUsage{}, errUsageHangs
	}
	answer := make(chan result, 1)
	go func() {
		defer s.failure.recoverPanic()
		defer s.askingUsage.Unlock()
		usage, err := s.dataDir.fs.GetDiskUsage(s.dataDir.path)
		answer <- result{usage, err}
	}()
	select {
	case got := <-answer:
		return got.usage, got.err
	case <-late:
		return vfs.DiskUsage{}, errUsageHangs
	}
}

var errUsageHangs = errors.New("the disk does not answer")
