package durable

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
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

// usageFS is a file system that may hang when it is asked for its free space.
type usageFS struct {
	vfs.FS
	disk  hangingFS
	asked atomic.Int32
}

// GetDiskUsage implements vfs.FS.
func (u *usageFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	u.asked.Add(1)
	u.disk.wait()
	return vfs.DiskUsage{AvailBytes: 1 << 40}, nil
}

// TestHangingDiskUsage: whoever asks whether the store is ready is told that it is not
// known, and no more than one question is under way.
func TestHangingDiskUsage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		usage := &usageFS{FS: vfs.NewMem()}
		cfg := memConfig(usage)
		cfg.tune = withoutTicks
		s := mustOpen(t, cfg)
		usage.disk.hang()
		before, start := usage.asked.Load(), time.Now()
		var asking sync.WaitGroup
		for range 10 {
			asking.Go(func() {
				if err := s.Ready(); err == nil || !strings.Contains(err.Error(), "does not answer") {
					t.Errorf("Ready = error %v, want why", err)
				}
				if got := s.Stats().Disk.Free; got != -1 {
					t.Errorf("there are %d bytes free, want -1", got)
				}
			})
		}
		asking.Wait()
		if took, want := time.Since(start), 2*hangAfter; took != want {
			t.Errorf("Ready and Stats took %v, want %v", took, want)
		}
		if got := usage.asked.Load() - before; got != 1 {
			t.Errorf("%d questions are under way, want 1", got)
		}
		usage.disk.goOn()
		synctest.Wait()
		if err := s.Ready(); err != nil {
			t.Errorf("Ready = error %v after all", err)
		}
		mustClose(t, s)
	})
}
