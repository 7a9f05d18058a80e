package bench

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"tokenserver/durable"
)

// BenchmarkBackup makes backups at full load, and measures how long an exchange takes
// meanwhile, beside the same after each one, for as long as that took. They go to the disk on
// which the store is, in the directory for temporary files.
func BenchmarkBackup(b *testing.B) {
	const n, goroutines = 1e6, 64
	for _, fsync := range fsyncs {
		b.Run("fsync="+fsync.String(), func(b *testing.B) {
			dropFilled()
			dir := b.TempDir()
			d := newDurable(filepath.Join(dir, "data"), n, fsync)
			defer d.close()
			load := newTimedLoad(n, goroutines, d)
			load.during(func() { time.Sleep(100 * time.Millisecond) })
			var quiet, beside [][]time.Duration
			for b.Loop() {
				begun := time.Now()
				beside = append(beside, load.during(func() { d.backUp(filepath.Join(dir, "backup")) })...)
				lasted := time.Since(begun)
				quiet = append(quiet, load.during(func() { time.Sleep(lasted) })...)
				b.ReportMetric(lasted.Seconds(), "backup-s")
			}
			b.ReportMetric(float64(p99(quiet).Nanoseconds()), "quiet-p99-ns")
			b.ReportMetric(float64(p99(beside).Nanoseconds()), "p99-ns")
			b.ReportMetric(float64(p99(beside))/float64(p99(quiet)), "p99-ratio")
		})
	}
}

// timedLoad exchanges tokens as fast as they come back.
type timedLoad struct {
	workers []*worker
	store   *durableStore
}

func newTimedLoad(sessions, goroutines int, d *durableStore) *timedLoad {
	return &timedLoad{newWorkers(sessions, goroutines), d}
}

// during returns how long each worker's exchanges took while do did.
func (l *timedLoad) during(do func()) [][]time.Duration {
	took := make([][]time.Duration, len(l.workers))
	var over atomic.Bool
	go func() { do(); over.Store(true) }()
	fillBy(len(l.workers), len(l.workers), func(i int) {
		for w := l.workers[i]; !over.Load(); {
			begun := time.Now()
			w.buf = l.store.exchange(w.pick(), w.buf)
			took[i] = append(took[i], time.Since(begun))
		}
	})
	return took
}

// backUp makes a backup, and removes it.
func (d *durableStore) backUp(dir string) {
	r, w := io.Pipe()
	go func() { w.CloseWithError(d.store.Backup(context.Background(), w)) }()
	must(durable.WriteBackup(dir, r))
	must(os.RemoveAll(dir))
}
