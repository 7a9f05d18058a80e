package durable

import (
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	dto "github.com/prometheus/client_model/go"
)

// DiskBytes returns how much the folder takes on disk, without what is set aside
// there for logs. Like DiskFree and Syncs it must not be called after Close.
func (s *Store) DiskBytes() int64 {
	return int64(s.db.Metrics().DiskSpaceUsage())
}

// DiskFree returns how many bytes are free on the disk, and whether that is known.
func (s *Store) DiskFree() (bytes int64, ok bool) {
	usage, err := s.folder.fs.GetDiskUsage(s.folder.dir)
	return int64(usage.AvailBytes), err == nil
}

// Syncs returns how often the log was synced since Open, and how long that took
// in all.
func (s *Store) Syncs() (n uint64, took time.Duration) {
	var m dto.Metric
	if err := s.db.Metrics().LogWriter.FsyncLatency.Write(&m); err != nil {
		return 0, 0
	}
	h := m.GetHistogram() // of nanoseconds
	return h.GetSampleCount(), time.Duration(h.GetSampleSum())
}

// checkSpace returns an error if too little of the disk is free.
func (s *Store) checkSpace() error {
	usage, err := s.folder.fs.GetDiskUsage(s.folder.dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("free space of %s: %w", s.folder.dir, err)
	}
	if usage.AvailBytes < uint64(s.minFree) {
		return fmt.Errorf("%w: %d MiB in %s, %d MiB needed",
			ErrNoSpace, usage.AvailBytes>>20, s.folder.dir, s.minFree>>20)
	}
	return nil
}
