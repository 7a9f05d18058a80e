package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Files of ours beside Pebble's.
const (
	formatFile = "FORMAT"
	secretFile = "SECRET"
	openedFile = "OPENED" // empty; there has been a log since
	tempSuffix = ".tmp"
)

// format is what formatFile says. The number goes up with a change that earlier
// versions can't read.
const format = "token-server 1\n"

// Modes of what is in the folder: tokens can't be made from it, but metadata is there.
const (
	dirMode  = 0o700
	fileMode = 0o600
)

// folder is where a Store lasts.
type folder struct {
	fs     vfs.FS
	dir    string
	onDisk bool // where files have modes
	lock   *pebble.Lock
}

// openFolder makes the folder if need be and locks it.
func openFolder(cfg *Config) (*folder, error) {
	f := &folder{fs: markedFS{cfg.FS}, dir: cfg.Dir, onDisk: cfg.FS == nil}
	if f.onDisk {
		f.fs = markedFS{privateFS{vfs.Default}}
	}
	if err := makeDir(f.fs, f.dir); err != nil {
		return nil, err
	}
	if err := f.checkOurs(); err != nil {
		return nil, err // before anything is changed there
	}
	if err := f.tighten(cfg); err != nil {
		return nil, err
	}
	lock, err := pebble.LockDirectory(f.dir, f.fs)
	if err != nil {
		return nil, f.lockError(err)
	}
	f.lock = lock
	if err := f.checkFormat(); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// close lets others have the folder.
func (f *folder) close() error { return f.lock.Close() }

func (f *folder) path(name string) string { return f.fs.PathJoin(f.dir, name) }

// makeDir makes a folder and those that it is in, and syncs that they are there.
func makeDir(fsys vfs.FS, dir string) error {
	if _, err := fsys.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := fsys.PathDir(dir)
	if parent == dir {
		return nil
	}
	if err := makeDir(fsys, parent); err != nil {
		return err
	}
	if err := fsys.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	return syncDir(fsys, parent)
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// tighten takes the folder from everybody but its owner.
func (f *folder) tighten(cfg *Config) error {
	if !f.onDisk {
		return nil
	}
	info, err := os.Stat(f.dir)
	if err != nil || info.Mode().Perm()&^dirMode == 0 {
		return err
	}
	if err := os.Chmod(f.dir, dirMode); err != nil {
		return fmt.Errorf("folder %s is open to others, with mode %#o; one inside it would do: %w", f.dir, info.Mode().Perm(), err)
	}
	cfg.Logger.Warn("folder was open to others", "dir", f.dir, "mode", info.Mode().Perm().String())
	return nil
}

func (f *folder) lockError(err error) error {
	if errors.Is(err, syscall.EAGAIN) || strings.Contains(err.Error(), "held by current process") {
		return fmt.Errorf("%w: %s", ErrLocked, f.dir)
	}
	return fmt.Errorf("locking folder %s: %w", f.dir, err)
}

// checkFormat refuses a folder that is not ours, and marks a new one.
func (f *folder) checkFormat() error {
	got, err := f.read(formatFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f.claim()
	case err != nil:
		return err
	case string(got) != format:
		return fmt.Errorf("%w: %s says %.40q, this program knows %q", ErrVersion, f.path(formatFile), got, format)
	}
	return nil
}

// claim marks a folder as ours.
func (f *folder) claim() error {
	if err := f.checkOurs(); err != nil {
		return err
	}
	return f.write(formatFile, []byte(format))
}

// checkOurs refuses a folder without our mark, unless there is nothing in it.
func (f *folder) checkOurs() error {
	names, err := f.fs.List(f.dir)
	if err != nil || slices.Contains(names, formatFile) {
		return err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return name == "LOCK" || name == "lost+found" || name == formatFile+tempSuffix
	})
	if len(names) > 0 {
		return fmt.Errorf("%w: %s is not empty, but has no file %s", ErrVersion, f.dir, formatFile)
	}
	return nil
}

func (f *folder) read(name string) ([]byte, error) {
	file, err := f.fs.Open(f.path(name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(file)
}

// write makes a file, which after a crash is there as a whole or not at all.
func (f *folder) write(name string, data []byte) error {
	temp := f.path(name + tempSuffix)
	file, err := f.fs.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := f.fs.Rename(temp, f.path(name)); err != nil {
		return err
	}
	return syncDir(f.fs, f.dir)
}
