package durable

import (
	"errors"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// aheadFS is a file system on which a log is longer than what has been written
// to it: zeros lie ahead, as with PostgreSQL and etcd. Most syncs have only data
// to write then, and not the file's length besides, which takes half of the time.
//
// A log that Pebble writes over again has its length already.
type aheadFS struct {
	vfs.FS
	zeros []byte // what a log grows by
}

// aheadPart is the part of a log that it grows by: little enough for the sync
// that writes it not to take much longer, enough for most syncs to find the
// length as it was.
const aheadPart = 256

// newAheadFS makes a file system for logs that are as large as a memtable.
func newAheadFS(fs vfs.FS, memTableBytes int64) aheadFS {
	return aheadFS{fs, make([]byte, max(1, memTableBytes/aheadPart))}
}

// Unwrap implements vfs.FS.
func (a aheadFS) Unwrap() vfs.FS { return a.FS }

// Create implements vfs.FS.
func (a aheadFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := a.FS.Create(name, category)
	if err != nil || filepath.Ext(name) != ".log" {
		return file, err
	}
	return &aheadFile{File: file, zeros: a.zeros}, nil
}

// ReuseForWrite implements vfs.FS. Pebble calls it for logs only.
func (a aheadFS) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := a.FS.ReuseForWrite(old, name, category)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &aheadFile{File: file, zeros: a.zeros, size: info.Size()}, nil
}

// aheadFile is a log, which one goroutine writes from its beginning to its end.
type aheadFile struct {
	vfs.File
	zeros   []byte
	written int64 // bytes
	size    int64 // bytes, the zeros ahead among them
}

// Write implements vfs.File.
func (f *aheadFile) Write(p []byte) (int, error) {
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
func (f *aheadFile) Preallocate(int64, int64) error { return nil }
