package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// presenceInterval is the time between two looks at where the path of the data
// directory leads.
const presenceInterval = time.Second

// openDir is the data directory on disk, open: whatever its path leads to later, its
// files are reached through its descriptor.
type openDir struct {
	path string
	file *os.File
	info os.FileInfo
	root string // by which files are reached: descriptorPath, or path if there is none
	stat func(path string) (os.FileInfo, error)

	stop chan struct{} // nil if nobody watches
	// mu guards closed: the path of a directory that is closed may lead anywhere.
	mu     sync.Mutex
	closed bool
}

// openDirectory opens a directory and locks it. What it may be is not looked at yet.
func openDirectory(path string, cfg *Config) (*openDir, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	d := &openDir{path: path, file: file, stat: cfg.stat}
	if d.info, err = file.Stat(); err == nil {
		err = lockDirectory(file, syscall.Flock, cfg.Logger)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if d.root = descriptorPath(file); d.root == "" {
		cfg.Logger.Warn("files are reached by path: a data directory that is replaced is noticed, but may be written to before", "dir", path)
		d.root = path
	}
	return d, nil
}

// at returns the name by which a file of the directory is reached.
func (d *openDir) at(name string) string { return filepath.Join(d.root, name) }

// lockDirectory locks the directory itself: its LOCK file may be deleted, or be
// another one by the time that somebody looks. Not every file system can.
func lockDirectory(dir *os.File, flock func(fd, how int) error, log *slog.Logger) error {
	err := flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("%w: %s", ErrLocked, dir.Name())
	}
	if err != nil {
		log.Warn("the data directory can't be locked, only its LOCK file", "dir", dir.Name(), "error", err)
	}
	return nil
}

// fs returns a file system on which the files are reached through the descriptor,
// where the system has a path for that.
func (d *openDir) fs(disk vfs.FS) vfs.FS {
	if d.root == d.path {
		return disk
	}
	return dirFS{FS: disk, path: d.path, descriptor: d.root}
}

// watch fails the store once the path leads elsewhere.
func (d *openDir) watch(w *watchdog, f *failure) {
	f.cause = func() error { return d.cause(w) }
	d.stop = make(chan struct{})
	go func() {
		defer f.recoverPanic()
		ticker := time.NewTicker(presenceInterval)
		defer ticker.Stop()
		for d.check(w, f) == nil {
			select {
			case <-d.stop:
				return
			case <-ticker.C:
			}
		}
	}()
}

// check looks where the path leads. If it leads elsewhere the store fails: from then
// on nothing is decided, and nothing that was decided is answered.
func (d *openDir) check(w *watchdog, f *failure) error {
	look := w.write("a look at the data directory") // which hangs with a network's file system
	look.begin()
	err := d.moved()
	look.end()
	if err == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return err
	}
	return f.set(err)
}

// moved returns an error if the path does not lead to the directory. Of one that
// can't be followed, that is not known.
func (d *openDir) moved() error {
	info, err := d.stat(d.path)
	switch {
	case err == nil && os.SameFile(info, d.info):
		return nil
	case err == nil:
		return fmt.Errorf("%w: %s was replaced, there is another one now", ErrGone, d.path)
	}
	for _, gone := range []error{fs.ErrNotExist, syscall.ENOTDIR, syscall.ELOOP, syscall.ESTALE} {
		if errors.Is(err, gone) {
			return fmt.Errorf("%w: %s was removed or renamed: %w", ErrGone, d.path, err)
		}
	}
	return nil
}

// cause says whether it is behind a failure that the path leads elsewhere. It takes a
// moment at most, whether the disk answers or not.
func (d *openDir) cause(w *watchdog) error {
	moved := make(chan error, 1)
	go func() { moved <- d.moved() }()
	select {
	case err := <-moved:
		if err != nil {
			w.refuse(err.Error())
		}
		return err
	case <-time.After(presenceInterval / 2):
		return nil
	}
}

// close lets others have the directory.
func (d *openDir) close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	if d.stop != nil {
		close(d.stop)
	}
	return d.file.Close()
}
