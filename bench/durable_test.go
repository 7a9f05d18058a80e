package bench

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"tokenserver/durable"
	"tokenserver/token"
)

var fsyncs = []durable.Fsync{durable.Always, durable.EverySecond}

// BenchmarkDurable measures the exchange of the durable store, with as many
// goroutines at it as a busy server has connections, beside Pebble that is given
// the same writes and nothing else to do. Both are in the directory for
// temporary files: where that is in memory, a sync costs nothing.
func BenchmarkDurable(b *testing.B) {
	const n = 1e5
	for _, fsync := range fsyncs {
		b.Run("fsync="+fsync.String(), func(b *testing.B) { benchDurable(b, n, fsync) })
	}
}

func benchDurable(b *testing.B, n int, fsync durable.Fsync) {
	dropFilled()
	dir := b.TempDir()
	// One in turn with the other, so that what else the disk does hits both.
	kinds := []struct {
		name string
		make func() engine
	}{
		{"ours", sync.OnceValue(func() engine { return closedAfter(b, newDurable(filepath.Join(dir, "ours"), n, fsync)) })},
		{"pebble", sync.OnceValue(func() engine { return closedAfter(b, newPebble(filepath.Join(dir, "pebble"), n, fsync)) })},
	}
	for _, goroutines := range []int{64, 256} {
		for _, kind := range kinds {
			b.Run(fmt.Sprintf("goroutines=%d/store=%s", goroutines, kind.name), func(b *testing.B) {
				e := kind.make()
				run(b, n, goroutines, func(w *worker) { w.buf = e.exchange(w.pick(), w.buf) })
			})
		}
	}
}

func closedAfter(b *testing.B, e engine) engine {
	b.Cleanup(e.close)
	return e
}

// metaOf returns metadata of a session's own, as long as all other. It differs
// enough from the others' not to vanish in a table's compression.
func metaOf(i int) []byte {
	var secret [27]byte
	rand.Read(secret[:])
	return fmt.Appendf(nil, `{"user":"user-%08d","cart":[17,4711,90210],"theme":"dark","n":10,"csrf":"%s"}`,
		i, base64.RawURLEncoding.EncodeToString(secret[:]))
}

// fillers is how many goroutines fill a store on disk.
const fillers = 64

// durableStore is the store of this server with a data directory.
type durableStore struct {
	config durable.Config
	store  *durable.Store
	tokens []token.Token
}

// newDurable returns a store of n sessions, opened after they were written: it
// begins with an empty log and a full table.
func newDurable(dir string, n int, fsync durable.Fsync) *durableStore {
	d := &durableStore{tokens: make([]token.Token, n)}
	d.config.Dir = dir
	d.config.Store.Lifetime = lifetime
	d.open(durable.EverySecond)
	fillBy(fillers, n, d.create)
	d.close()
	d.open(fsync)
	return d
}

func (d *durableStore) open(fsync durable.Fsync) {
	var err error
	d.config.Fsync = fsync
	d.store, err = durable.Open(d.config)
	must(err)
	must(d.store.Load(context.Background()))
}

func (d *durableStore) close() { must(d.store.Close()) }

func (d *durableStore) create(i int) {
	t, err := d.store.Create(context.Background(), token.NewSession{Meta: metaOf(i)})
	must(err)
	d.tokens[i] = t
}

func (d *durableStore) exchange(i int, dst []byte) []byte {
	x, err := d.store.Exchange(context.Background(), d.tokens[i], token.Patch{}, dst[:0])
	must(err)
	d.tokens[i] = x.Token
	return x.Meta
}

// BenchmarkSync measures a sync of as many bytes as a session has, at the end of
// a file: what an exchange would take if it shared its sync with no other.
func BenchmarkSync(b *testing.B) {
	f, err := vfs.Default.Create(filepath.Join(b.TempDir(), "log"), vfs.WriteCategoryUnspecified)
	must(err)
	defer f.Close()
	value := make([]byte, valueSize)
	for b.Loop() {
		_, err := f.Write(value)
		must(err)
		must(f.SyncData())
	}
}

// BenchmarkStartUp measures how long a store takes to open a data directory that
// was closed in good order and whose files the system still has in memory, as it is
// after a restart of the server alone.
func BenchmarkStartUp(b *testing.B) {
	for _, n := range []int{1e6, 1e7} {
		b.Run(fmt.Sprintf("sessions=%d", n), func(b *testing.B) { benchStartUp(b, n) })
	}
}

// diskOf is the most that a session takes of the disk while a store is filled.
const diskOf = 300

func benchStartUp(b *testing.B, n int) {
	dropFilled()
	dir := b.TempDir()
	needDisk(b, dir, uint64(n)*diskOf)
	d := newDurable(dir, n, durable.EverySecond)
	d.close()
	b.ResetTimer()
	b.StopTimer()
	for range b.N {
		d.store, d.tokens = nil, nil
		debug.FreeOSMemory() // a new process has to ask for it again
		b.StartTimer()
		d.open(durable.Always)
		b.StopTimer()
		if got := d.store.Stats().Sessions; int(got) != n {
			b.Fatalf("%d sessions loaded, want %d", got, n)
		}
		b.ReportMetric(float64(d.store.Stats().Disk.Bytes)/float64(n), "disk-B/session")
		d.close()
	}
}

// needDisk skips the benchmark where less than so many bytes are free.
func needDisk(b *testing.B, dir string, bytes uint64) {
	usage, err := vfs.Default.GetDiskUsage(dir)
	must(err)
	if usage.AvailBytes < bytes {
		text := fmt.Sprintf("%s skipped: it needs %d MiB of disk, and %d are free", b.Name(), bytes>>20, usage.AvailBytes>>20)
		io.WriteString(os.Stderr, text+"\n") // the testing package tells only with -v
		b.Skip(text)
	}
}
