package durable

import (
	"errors"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// zeroFillFS is a file system on which a log is longer than what has been written
// to it: zeros lie ahead, as with PostgreSQL and etcd. Most syncs have only data
// to write then, and not the file's length besides, which takes half of the time.
//
// A log that Pebble writes over again has its length already.
type zeroFillFS struct {
	vfs.FS
	zeros []byte // what a log grows by
}

// zeroFillParts is the part of a log that it grows by: little enough for the sync
// that writes it not to take much longer, enough for most syncs to find the
// length as it was.
const zeroFillParts = 256

// newZeroFillFS makes a file system for logs that are as large as a memtable.
func newZeroFillFS(fs vfs.FS, memTableBytes int64) zeroFillFS {
	return zeroFillFS{fs, make([]byte, max(1, memTableBytes/zeroFillParts))}
}

// Unwrap implements vfs.FS.
func (z zeroFillFS) Unwrap() vfs.FS { return z.FS }

// Create implements vfs.FS.
func (z zeroFillFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := z.FS.Create(name, category)
	if err != nil || filepath.Ext(name) != ".log" {
		return file, err
	}
	return &zeroFillFile{File: file, zeros: z.zeros}, nil
}

// ReuseForWrite implements vfs.FS. Pebble calls it for logs only.
func (z zeroFillFS) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := z.FS.ReuseForWrite(old, name, category)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &zeroFillFile{File: file, zeros: z.zeros, size: info.Size()}, nil
}

// zeroFillFile is a log, which one goroutine writes from its beginning to its end.
type zeroFillFile struct {
	vfs.File
	zeros   []byte
	written int64 // bytes
	size    int64 // bytes, the zeros ahead among them
}

// Write implements vfs.File.
func (f *zeroFillFile) Write(p []byte) (int, error) {
	for f.size < f.written+int64(len(p)) {
		n, err := f.File.WriteAt(f.zeros, f.size)
		f.size += int64(n)
		if err != nil {
			return 0, err
		}
	}
	n, err := f.File.Write(p)
	f.written += int64(n)
	return n, err
}

// Preallocate implements vfs.File: space is taken as the log grows.
func (f *zeroFillFile) Preallocate(int64, int64) error { return nil }
