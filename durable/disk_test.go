package durable

import (
	"runtime"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"tokenserver/token"
)

func TestDiskFree(t *testing.T) {
	fs := vfs.NewMem()
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 40, TotalBytes: 1 << 41})
	s := mustOpen(t, memConfig(fs))
	defer mustClose(t, s)
	if got := s.Stats().Disk.Free; got != 1<<40 {
		t.Errorf("%d bytes free, want %d", got, 1<<40)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{})
	if got := s.Stats().Disk.Free; got != -1 {
		t.Errorf("%d bytes free where nobody can tell, want -1", got)
	}
}

func TestDiskStatistics(t *testing.T) {
	s := mustOpen(t, memConfig(vfs.NewMem()))
	defer mustClose(t, s)
	before := *s.Stats().Disk
	const n = 10
	for range n {
		if _, err := s.Create(t.Context(), token.NewSession{Meta: largeMeta()}); err != nil {
			t.Fatal(err)
		}
	}
	// Pebble counts a sync only after it has let those go who waited for it.
	for deadline := time.Now().Add(10 * time.Second); s.Stats().Disk.Syncs < before.Syncs+n && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	if got := s.Stats().Disk; got.Syncs < before.Syncs+n || got.SyncTime <= 0 {
		t.Errorf("%d syncs took %v after %d Creates one by one, %d before", got.Syncs, got.SyncTime, n, before.Syncs)
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := s.Stats().Disk.Bytes - before.Bytes; got < n<<10 {
		t.Errorf("%d sessions of 1 KiB took %d bytes of disk, want %d at least", n, got, n<<10)
	}
}

// largeMeta returns metadata of a little more than 1 KiB.
func largeMeta() []byte {
	meta := []byte(`{"pad":"`)
	for range 1 << 10 {
		meta = append(meta, 'x')
	}
	return append(meta, `"}`...)
}
