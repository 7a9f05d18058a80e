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
// versions can't read. What wallClockFormat says has values of that version alone.
const (
	format          = "token-server 2\n"
	wallClockFormat = "token-server 1\n"
)

// Modes of what is in the data directory: tokens can't be made from it, but metadata is there.
const (
	dirMode  = 0o700
	fileMode = 0o600
)

// dataDir is the data directory, where a Store lasts.
type dataDir struct {
	fs     vfs.FS
	path   string
	onDisk bool // where files have modes
	lock   *pebble.Lock
}

// openDataDir makes the data directory if need be and locks it.
func openDataDir(cfg *Config) (*dataDir, error) {
	d := &dataDir{fs: markerFS{cfg.FS}, path: cfg.Dir, onDisk: cfg.FS == nil}
	if d.onDisk {
		d.fs = markerFS{privateFS{vfs.Default}}
	}
	if err := makeDir(d.fs, d.path); err != nil {
		return nil, err
	}
	if err := d.checkOurs(); err != nil {
		return nil, err // before anything is changed there
	}
	if err := d.tighten(cfg); err != nil {
		return nil, err
	}
	lock, err := pebble.LockDirectory(d.path, d.fs)
	if err != nil {
		return nil, d.lockError(err)
	}
	d.lock = lock
	if err := d.checkFormat(); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// close lets others have the directory.
func (d *dataDir) close() error { return d.lock.Close() }

// file returns the path of a file in the directory.
func (d *dataDir) file(name string) string { return d.fs.PathJoin(d.path, name) }

// makeDir makes a directory and those that it is in, and syncs that they are there.
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

// tighten takes the directory from everybody but its owner.
func (d *dataDir) tighten(cfg *Config) error {
	if !d.onDisk {
		return nil
	}
	info, err := os.Stat(d.path)
	if err != nil || info.Mode().Perm()&^dirMode == 0 {
		return err
	}
	if err := os.Chmod(d.path, dirMode); err != nil {
		return fmt.Errorf("data directory %s is open to others, with mode %#o; one inside it would do: %w", d.path, info.Mode().Perm(), err)
	}
	cfg.Logger.Warn("data directory was open to others", "dir", d.path, "mode", info.Mode().Perm().String())
	return nil
}

func (d *dataDir) lockError(err error) error {
	if errors.Is(err, syscall.EAGAIN) || strings.Contains(err.Error(), "held by current process") {
		return fmt.Errorf("%w: %s", ErrLocked, d.path)
	}
	return fmt.Errorf("locking data directory %s: %w", d.path, err)
}

// checkFormat refuses a directory that is not ours, and marks a new one.
func (d *dataDir) checkFormat() error {
	got, err := d.read(formatFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return d.claim()
	case err != nil:
		return err
	case string(got) != format && string(got) != wallClockFormat:
		return fmt.Errorf("%w: %s says %.40q, this program knows %q", ErrVersion, d.file(formatFile), got, format)
	}
	return nil
}

// claim marks a directory as ours.
func (d *dataDir) claim() error {
	if err := d.checkOurs(); err != nil {
		return err
	}
	return d.write(formatFile, []byte(format))
}

// checkOurs refuses a directory without our format file, unless there is nothing in it.
func (d *dataDir) checkOurs() error {
	names, err := d.fs.List(d.path)
	if err != nil || slices.Contains(names, formatFile) {
		return err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return name == "LOCK" || name == "lost+found" || name == formatFile+tempSuffix
	})
	if len(names) > 0 {
		return fmt.Errorf("%w: %s is not empty, but has no file %s", ErrVersion, d.path, formatFile)
	}
	return nil
}

func (d *dataDir) read(name string) ([]byte, error) {
	file, err := d.fs.Open(d.file(name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(file)
}

// write makes a file, which after a crash is there as a whole or not at all.
func (d *dataDir) write(name string, data []byte) error {
	temp := d.file(name + tempSuffix)
	file, err := d.fs.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := d.fs.Rename(temp, d.file(name)); err != nil {
		return err
	}
	return syncDir(d.fs, d.path)
}
