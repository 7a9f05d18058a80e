package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"time"

	crdb "github.com/cockroachdb/errors"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// memTables is how many memtables there may be, the one that is filled among
// them. Pebble keeps two logs more than that, to write over them, and each is
// nearly as large as a memtable.
const memTables = 2

// Bounds of what MemTableFor returns.
const (
	MinMemTableBytes = 4 << 20
	MaxMemTableBytes = 64 << 20
)

// memTableShare is the part of the memory of a process that a memtable takes.
const memTableShare = 32

// MemTableFor returns what Config.MemTableBytes suits a process that may use so many
// bytes of memory.
func MemTableFor(usable int64) int64 {
	return min(max(usable/memTableShare, MinMemTableBytes), MaxMemTableBytes)
}

// cacheSize is that of Pebble's cache in bytes. Reads come at the start, each block
// once, so it is of no use.
const cacheSize = 1 << 20

// FixedMemory returns how many bytes a Store takes beside its sessions, however many
// there are: memtables, the cache, and a group of changes that is written while the
// next one is gathered.
func FixedMemory(memTableBytes int64) int64 {
	const groups = 2
	return memTables*memTableBytes + cacheSize + groups*maxGroup(memTableBytes)
}

// minL0 is the least number of tables on top of each other at which writes stop. A
// compaction has all of them open twice.
const minL0 = 8

// MinOpenFiles is the least that works of Config.MaxOpenFiles.
const MinOpenFiles = 16

// otherFiles are those of MaxOpenFiles that are no tables: the log, the manifest, the
// lock, directories, and what is being written.
const otherFiles = 10

// fileCache returns the tables that are kept open. Pebble's own has 64 at least.
func fileCache(maxOpenFiles int) *pebble.FileCache {
	tables := max(maxOpenFiles, MinOpenFiles) - otherFiles
	return pebble.NewFileCache(min(runtime.GOMAXPROCS(0), tables), tables)
}

// options are Pebble's for this load: values of some hundred bytes, each
// overwritten again and again, none of them read before the next start.
func (s *Store) options(cfg *Config) *pebble.Options {
	o := &pebble.Options{
		FS:            checkpointFS{failStopFS{s.logFS(cfg), s.failure}, s.dataDir.plain, s.dataDir.file(checkpointDir)},
		Lock:          s.dataDir.lock,
		Logger:        &pebbleLogger{log: s.log, failure: s.failure},
		EventListener: s.events(),
		// Without it a new data directory gets the oldest format, whose log can't tell
		// damage from a torn end.
		FormatMajorVersion: pebble.FormatNewest,

		MaxOpenFiles: cfg.MaxOpenFiles, // and see fileCache

		CacheSize: cacheSize,
		// Old versions of a value that are still in the memtable never reach a
		// table: the larger it is, the fewer bytes are written for each exchange.
		MemTableSize: uint64(cfg.MemTableBytes),
		// A write that stalls holds up all that come after it: not before a whole
		// memtable is filled while another one is being written to a table.
		MemTableStopWritesThreshold: memTables,
		// The number of tables to look into is the reader's concern, and there is
		// none: writes don't stop for it, as long as one compaction can have all open.
		L0StopWritesThreshold: max(cfg.MaxOpenFiles/2, minL0),
		// Tables are merged late enough for most of their values to be
		// overwritten, and early enough for disk space.
		L0CompactionThreshold: 4,
		// Fewer files, each of which costs a sync and a line in the manifest. It
		// doubles from level to level.
		TargetFileSizes: [7]int64{8 << 20},
		LBaseMaxBytes:   max(cfg.MemTableBytes, 64<<20),
		// Requests need the processors more than compactions do, until those fall behind.
		CompactionConcurrencyRange: func() (lower, upper int) { return 1, max(1, runtime.GOMAXPROCS(0)/2) },
		// Tables are written to disk as they grow, so that their sync at the end
		// does not hold up those of the log.
		BytesPerSync: 1 << 20,
		// The default of 128 MiB would outgrow the data of a small store.
		MaxManifestFileSize: 4 << 20,
		// The log is synced as soon as it is asked for: the journal sees to it
		// that many changes share a sync.
		WALMinSyncInterval: func() time.Duration { return 0 },
	}
	// No table is read often enough to be merged for that.
	o.Experimental.ReadSamplingMultiplier = -1
	if cfg.Fsync == EverySecond {
		// What each sync finds left to write is bounded.
		o.WALBytesPerSync = 1 << 20
	}
	for i := range o.Levels {
		o.Levels[i] = level(i == len(o.Levels)-1)
	}
	cfg.tune(o)
	o.EnsureDefaults()
	return o
}

// logFS returns the file system for Pebble. With one sync a second nothing is
// gained by zeros ahead.
func (s *Store) logFS(cfg *Config) vfs.FS {
	if cfg.Fsync == EverySecond {
		return s.dataDir.fs
	}
	return newZeroFillFS(s.dataDir.fs, cfg.MemTableBytes)
}

// level returns the options of a level. There are no filters, since no key is
// ever looked for.
func level(last bool) pebble.LevelOptions {
	l := pebble.LevelOptions{
		// Tables are read from one end to the other.
		BlockSize: 32 << 10,
		// Half of a small session is random bytes, and the upper levels don't last.
		Compression: func() *sstable.CompressionProfile { return sstable.NoCompression },
	}
	if last {
		// Here is nearly all of the data, and each byte is written once in a while.
		l.Compression = func() *sstable.CompressionProfile { return sstable.FastestCompression }
	}
	return l
}

// openError adds to an error of pebble.Open which file it is about and which of
// the sentinel errors it is.
func (s *Store) openError(err error) error {
	if failed := s.failure.get(); failed != nil {
		return failed
	}
	if details := crdb.FlattenDetails(err); details != "" {
		err = fmt.Errorf("%w (%s)", err, details)
	}
	if pebble.IsCorruptionError(err) || errors.Is(err, fs.ErrNotExist) || crdb.Is(err, pebble.ErrDBNotPristine) {
		return fmt.Errorf("%w in %s: %w", ErrCorrupt, s.dataDir.path, err)
	}
	return fmt.Errorf("data directory %s: %w", s.dataDir.path, err)
}
