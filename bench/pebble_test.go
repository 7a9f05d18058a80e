package bench

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"

	"tokenserver/durable"
)

// valueSize is how long a session's value is in the durable store: a version,
// flags, the digest, the deadline and the metadata.
var valueSize = 2 + 16 + 8 + len(meta)

// pebbleStore is bare Pebble with the writes of the durable store: a batch with
// one value for each exchange, over the one before. It checks nothing.
type pebbleStore struct {
	dir   string
	fsync durable.Fsync
	db    *pebble.DB
	ids   [][8]byte
	metas [][]byte

	closing chan struct{}
	ticks   sync.WaitGroup
}

// newPebble returns a store of n sessions in the state of newDurable's.
func newPebble(dir string, n int, fsync durable.Fsync) *pebbleStore {
	p := &pebbleStore{dir: dir, ids: make([][8]byte, n), metas: make([][]byte, n)}
	for i := range p.ids {
		binary.NativeEndian.PutUint64(p.ids[i][:], rand.Uint64())
		p.metas[i] = metaOf(i)
	}
	p.open(durable.EverySecond)
	fillBy(fillers, n, p.create)
	p.close()
	p.open(fsync)
	return p
}

func (p *pebbleStore) open(fsync durable.Fsync) {
	var err error
	p.db, err = pebble.Open(p.dir, pebbleOptions(fsync))
	must(err)
	p.fsync, p.closing = fsync, make(chan struct{})
	p.ticks.Go(p.syncEverySecond)
}

func (p *pebbleStore) close() {
	close(p.closing)
	p.ticks.Wait()
	must(p.db.Flush())
	must(p.db.Close())
}

func (p *pebbleStore) create(i int) { p.exchange(i, nil) }

func (p *pebbleStore) exchange(i int, dst []byte) []byte {
	b := p.db.NewBatch()
	op := b.SetDeferred(len(p.ids[i]), valueSize)
	copy(op.Key, p.ids[i][:])
	binary.NativeEndian.PutUint64(op.Value[2:], rand.Uint64())
	binary.NativeEndian.PutUint64(op.Value[10:], rand.Uint64())
	copy(op.Value[valueSize-len(meta):], p.metas[i])
	must(op.Finish())
	if p.fsync == durable.Always {
		must(p.db.ApplyNoSyncWait(b, pebble.Sync))
		must(b.SyncWait())
	} else {
		must(p.db.Apply(b, pebble.NoSync))
	}
	must(b.Close())
	return dst
}

func (p *pebbleStore) syncEverySecond() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-p.closing:
			return
		case <-ticker.C:
			must(p.db.LogData([]byte("tick"), pebble.Sync))
		}
	}
}

// pebbleOptions are those of the durable store that matter to speed, copied, as
// it does not give them away. Left out are its file system, which watches for
// failures and sets the modes of files, and its listeners.
func pebbleOptions(fsync durable.Fsync) *pebble.Options {
	o := &pebble.Options{
		Logger:                      silent{},
		FormatMajorVersion:          pebble.FormatNewest,
		CacheSize:                   1 << 20,
		MemTableSize:                durable.MaxMemTableBytes,
		MemTableStopWritesThreshold: 2,
		L0StopWritesThreshold:       1000,
		L0CompactionThreshold:       4,
		TargetFileSizes:             [7]int64{8 << 20},
		LBaseMaxBytes:               durable.MaxMemTableBytes,
		CompactionConcurrencyRange:  func() (lower, upper int) { return 1, max(1, runtime.GOMAXPROCS(0)/2) },
		BytesPerSync:                1 << 20,
		MaxManifestFileSize:         4 << 20,
		WALMinSyncInterval:          func() time.Duration { return 0 },
	}
	o.Experimental.ReadSamplingMultiplier = -1
	if fsync == durable.EverySecond {
		o.WALBytesPerSync = 1 << 20
	}
	last := len(o.Levels) - 1
	for i := range o.Levels {
		o.Levels[i].BlockSize = 32 << 10
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
	}
	o.Levels[last].Compression = func() *sstable.CompressionProfile { return sstable.FastestCompression }
	o.EnsureDefaults()
	return o
}

// silent is a pebble.Logger.
type silent struct{}

func (silent) Infof(string, ...any)           {}
func (silent) Errorf(string, ...any)          {}
func (silent) Fatalf(format string, _ ...any) { panic("bench: " + format) }
