package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// tooManyFiles is the reason of an outage in which there are no descriptors.
const tooManyFiles = "too many open files"

// errTooManyFiles is the error of a Close that has waited for a descriptor.
var errTooManyFiles = fmt.Errorf("waiting for a file descriptor: %w", syscall.EMFILE)

// isShortage says whether a file could not be opened because there are too many open
// ones, in the process or in the system. The disk is well, and all may be well soon.
func isShortage(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// How long to wait before a file is opened again: it doubles from try to try.
const (
	minRetry = time.Millisecond
	maxRetry = 100 * time.Millisecond
)

// retryLogInterval is the least time between two log records of a shortage.
const retryLogInterval = time.Second

// retryFS is a file system that waits for descriptors: Pebble would take a shortage
// for a failure of the disk. It is an outage if it lasts.
type retryFS struct {
	vfs.FS
	retries *retries
}

// retries are what all files of a data directory share.
type retries struct {
	log     *slog.Logger
	outage  *operation
	limit   time.Duration // while Open runs, whose error says all
	forever func() bool   // whether the store is open
	logged  atomic.Int64  // when, in nanoseconds
}

func newRetries(cfg *Config, w *watchdog, f *failure) *retries {
	return &retries{log: cfg.Logger, outage: w.shortage(), limit: cfg.retryLimit, forever: f.reportEnabled.Load}
}

// open opens a file, again and again while there are no descriptors.
func (r *retries) open(name string, open func() error) error {
	err := open()
	if !isShortage(err) {
		return err
	}
	r.outage.begin()
	defer r.outage.end()
	start := time.Now()
	for wait := minRetry; isShortage(err); wait = min(2*wait, maxRetry) {
		if !r.forever() && time.Since(start) >= r.limit {
			return err
		}
		r.warn(name, err)
		time.Sleep(wait)
		err = open()
	}
	return err
}

func (r *retries) warn(name string, err error) {
	now, last := time.Now().UnixNano(), r.logged.Load()
	if now-last >= int64(retryLogInterval) && r.logged.CompareAndSwap(last, now) {
		r.log.Warn("waiting for a file descriptor", "file", name, "error", err.Error())
	}
}

// Unwrap implements vfs.FS.
func (r retryFS) Unwrap() vfs.FS { return r.FS }

// Create implements vfs.FS.
func (r retryFS) Create(name string, category vfs.DiskWriteCategory) (f vfs.File, err error) {
	err = r.retries.open(name, func() error { f, err = r.FS.Create(name, category); return err })
	return f, err
}

// Open implements vfs.FS.
func (r retryFS) Open(name string, opts ...vfs.OpenOption) (f vfs.File, err error) {
	err = r.retries.open(name, func() error { f, err = r.FS.Open(name, opts...); return err })
	return f, err
}

// OpenReadWrite implements vfs.FS.
func (r retryFS) OpenReadWrite(
	name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption,
) (f vfs.File, err error) {
	err = r.retries.open(name, func() error { f, err = r.FS.OpenReadWrite(name, category, opts...); return err })
	return f, err
}

// OpenDir implements vfs.FS.
func (r retryFS) OpenDir(name string) (f vfs.File, err error) {
	err = r.retries.open(name, func() error { f, err = r.FS.OpenDir(name); return err })
	return f, err
}

// ReuseForWrite implements vfs.FS. The file may have its new name already when it
// can't be opened.
func (r retryFS) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (f vfs.File, err error) {
	err = r.retries.open(name, func() error {
		if _, err := r.Stat(old); errors.Is(err, fs.ErrNotExist) {
			old = name
		}
		f, err = r.FS.ReuseForWrite(old, name, category)
		return err
	})
	return f, err
}

// Lock implements vfs.FS.
func (r retryFS) Lock(name string) (lock io.Closer, err error) {
	err = r.retries.open(name, func() error { lock, err = r.FS.Lock(name); return err })
	return lock, err
}

// List implements vfs.FS.
func (r retryFS) List(name string) (names []string, err error) {
	err = r.retries.open(name, func() error { names, err = r.FS.List(name); return err })
	return names, err
}
