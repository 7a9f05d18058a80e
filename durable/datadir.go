package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
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
	idFile     = "ID"
	openedFile = "OPENED" // empty; there has been a log since
	tempSuffix = ".tmp"
)

// format is what formatFile says. The number goes up with a change that earlier
// versions can't read. What wallClockFormat says has values of that version alone.
const (
	format          = "token-server 2\n"
	wallClockFormat = "token-server 1\n"
)

// dataDir is the data directory, where a Store lasts.
type dataDir struct {
	fs      vfs.FS
	plain   vfs.FS // fs that does not wait for descriptors
	path    string
	retries *retries // for want of descriptors
	disk    *openDir // nil for one that is not on disk, where files have no modes
	lock    *pebble.Lock
}

// openDataDir makes the data directory if need be and locks it.
func openDataDir(cfg *Config, w *watchdog, f *failure) (*dataDir, error) {
	d := &dataDir{path: cfg.Dir, retries: newRetries(cfg, w, f)}
	if err := d.open(cfg); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *dataDir) open(cfg *Config) (err error) {
	if err := d.openFS(cfg); err != nil {
		return err
	}
	if err := d.checkOurs(); err != nil {
		return err // before anything is changed there
	}
	if err := d.tighten(cfg); err != nil {
		return err
	}
	if d.lock, err = pebble.LockDirectory(d.path, d.fs); err != nil {
		return d.lockError(err)
	}
	if err := d.checkFormat(); err != nil {
		return err
	}
	return d.tightenFiles(cfg)
}

// openFS makes the directory, and the file system on which its files are.
func (d *dataDir) openFS(cfg *Config) (err error) {
	if cfg.FS != nil {
		d.plain, d.fs = cfg.FS, markerFS{retryFS{cfg.FS, d.retries}}
		return makeDir(d.fs, d.path)
	}
	disk := privateFS{vfs.Default}
	err = makeDir(retryFS{disk, d.retries}, d.path)
	if err != nil {
		return err
	}
	err = d.retries.open(d.path, func() error { d.disk, err = openDirectory(d.path, cfg); return err })
	if err != nil {
		return err
	}
	d.plain = d.disk.fs(disk)
	d.fs = markerFS{retryFS{d.plain, d.retries}}
	return nil
}

// watch fails the store once the path no longer leads to the directory.
func (d *dataDir) watch(w *watchdog, f *failure) {
	if d.disk != nil {
		d.disk.watch(w, f)
	}
}

// checkPresence fails the store if the path no longer leads to the directory.
func (d *dataDir) checkPresence(w *watchdog, f *failure) error {
	if d.disk == nil {
		return nil
	}
	return d.disk.check(w, f)
}

// close lets others have the directory.
func (d *dataDir) close() (err error) {
	if d.lock != nil {
		err = d.lock.Close()
	}
	if d.disk != nil {
		err = errors.Join(err, d.disk.close())
	}
	return err
}

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
	if d.disk == nil {
		return nil
	}
	return d.disk.tighten(cfg.Logger)
}

// tightenFiles takes the files of a directory that is ours from everybody but their owner.
func (d *dataDir) tightenFiles(cfg *Config) error {
	if d.disk == nil {
		return nil
	}
	names, err := d.fs.List(d.path)
	if err == nil {
		d.disk.tightenFiles(names, cfg.Logger)
	}
	return err
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
	}
	return d.checkFormatText(got)
}

// checkFormatText refuses a format that this program does not know.
func (d *dataDir) checkFormatText(got []byte) error {
	if string(got) != format && string(got) != wallClockFormat {
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

// checkOurs refuses a directory without our format file, unless there is nothing in it
// that anybody would miss.
func (d *dataDir) checkOurs() error {
	names, err := d.fs.List(d.path)
	if err != nil || slices.Contains(names, formatFile) {
		return err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return name == "LOCK" || name == formatFile+tempSuffix || isHidden(name)
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
