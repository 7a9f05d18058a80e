package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// failStopFS is a file system that makes the store fail-stop: it reports its first
// failed write, and does not tell Pebble of it: some of what Pebble does then ends
// the process at once, with a trace of its own. The goroutine that wrote stays
// where it is for ever.
//
// The log is an exception: those who wait for its sync are to be told.
type failStopFS struct {
	vfs.FS
	failure *failure
}

// Unwrap implements vfs.FS.
func (f failStopFS) Unwrap() vfs.FS { return f.FS }

// Create implements vfs.FS.
func (f failStopFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, category)
	return f.opened("creating", name, file, err)
}

// Open implements vfs.FS. What can't be read is for Pebble to tell. A shortage of
// descriptors is not: it gets here only while a store is opened, which has failed.
func (f failStopFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.Open(name, opts...)
	f.failure.parkOnShortage("opening", name, err)
	return file, err
}

// List implements vfs.FS.
func (f failStopFS) List(name string) ([]string, error) {
	names, err := f.FS.List(name)
	f.failure.parkOnShortage("listing", name, err)
	return names, err
}

// OpenReadWrite implements vfs.FS.
func (f failStopFS) OpenReadWrite(
	name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption,
) (vfs.File, error) {
	file, err := f.FS.OpenReadWrite(name, category, opts...)
	return f.opened("opening", name, file, err)
}

// ReuseForWrite implements vfs.FS.
func (f failStopFS) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.ReuseForWrite(old, name, category)
	return f.opened("reusing", name, file, err)
}

// OpenDir implements vfs.FS.
func (f failStopFS) OpenDir(name string) (vfs.File, error) {
	dir, err := f.FS.OpenDir(name)
	return f.opened("opening", name, dir, err)
}

// Rename implements vfs.FS.
func (f failStopFS) Rename(old, name string) error {
	f.failure.parkOnError("renaming", name, f.FS.Rename(old, name))
	return nil
}

// Remove implements vfs.FS.
func (f failStopFS) Remove(name string) error {
	err := f.FS.Remove(name)
	if !errors.Is(err, fs.ErrNotExist) {
		f.failure.parkOnError("removing", name, err)
	}
	return err
}

func (f failStopFS) opened(doing, name string, file vfs.File, err error) (vfs.File, error) {
	f.failure.parkOnError(doing, name, err)
	return &failStopFile{File: file, name: name, isLog: filepath.Ext(name) == ".log", failure: f.failure}, nil
}

// failStopFile is a file of a failStopFS.
type failStopFile struct {
	vfs.File
	name    string
	isLog   bool
	failed  atomic.Bool // of a log
	failure *failure
}

// Write implements vfs.File.
func (f *failStopFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.check("writing", err)
}

// WriteAt implements vfs.File.
func (f *failStopFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, f.check("writing", err)
}

// Sync implements vfs.File.
func (f *failStopFile) Sync() error { return f.check("syncing", f.File.Sync()) }

// SyncData implements vfs.File.
func (f *failStopFile) SyncData() error { return f.check("syncing", f.File.SyncData()) }

// SyncTo implements vfs.File.
func (f *failStopFile) SyncTo(length int64) (bool, error) {
	all, err := f.File.SyncTo(length)
	return all, f.check("syncing", err)
}

// Close implements vfs.File. With a log that has failed it is where Pebble is
// stopped, before it opens the next one.
func (f *failStopFile) Close() error {
	if f.failed.Load() {
		select {}
	}
	f.failure.parkOnError("closing", f.name, f.File.Close())
	return nil
}

func (f *failStopFile) check(doing string, err error) error {
	if err == nil {
		return nil
	}
	if !f.isLog {
		f.failure.parkOnError(doing, f.name, err)
	}
	f.failed.Store(true)
	return f.failure.set(describe(doing, f.name, err))
}

// parkOnError keeps an error, if it is one, and parks the goroutine for ever.
func (f *failure) parkOnError(doing, name string, err error) {
	if err != nil {
		f.set(describe(doing, name, err))
		select {}
	}
}

func (f *failure) parkOnShortage(doing, name string, err error) {
	if isShortage(err) {
		f.parkOnError(doing, name, err)
	}
}

// describe says what failed. An error of a file may name it by its descriptor.
func describe(doing, name string, err error) error {
	if op, ok := err.(*os.PathError); ok {
		return &os.PathError{Op: op.Op, Path: name, Err: op.Err}
	}
	return fmt.Errorf("%s %s: %w", doing, name, err)
}
