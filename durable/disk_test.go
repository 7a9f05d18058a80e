package durable

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"tokenserver/token"
)

func TestDiskFree(t *testing.T) {
	fs := vfs.NewMem()
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 40, TotalBytes: 1 << 41})
	s := mustOpen(t, memConfig(fs))
	defer mustClose(t, s)
	if got, ok := s.DiskFree(); got != 1<<40 || !ok {
		t.Errorf("DiskFree = %d, %v, want %d", got, ok, 1<<40)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{})
	if got, ok := s.DiskFree(); ok {
		t.Errorf("DiskFree = %d where nobody can tell, want that it says so", got)
	}
}

func TestDiskStatistics(t *testing.T) {
	s := mustOpen(t, memConfig(vfs.NewMem()))
	defer mustClose(t, s)
	bytes := s.DiskBytes()
	before, _ := s.Syncs()
	const n = 10
	for range n {
		if _, err := s.Create(t.Context(), token.NewSession{Meta: largeMeta()}); err != nil {
			t.Fatal(err)
		}
	}
	if got, took := s.Syncs(); got < before+n || took <= 0 {
		t.Errorf("Syncs = %d, %v after %d Creates one by one, %d before", got, took, n, before)
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := s.DiskBytes() - bytes; got < n<<10 {
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
