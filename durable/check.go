package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Check finds out what would keep a data directory from being opened, as far as that can
// be seen without changing anything. One that is not there can be made. Of one that a
// server has open only the rights and the format are looked at: its files change. What is
// wrong is joined by [errors.Join]; the errors are those of Open.
func Check(dir string) error {
	switch info, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		return checkWritable(nearest(dir))
	case err != nil, !info.IsDir():
		return checkWritable(dir)
	}
	d := &dataDir{fs: vfs.Default, path: dir}
	return errors.Join(checkWritable(dir), wrapped(d.check()))
}

func wrapped(err error) error {
	if err == nil {
		return nil
	}
	return wrap(err)
}

// nearest returns the directory that is there in which a path would be made.
func nearest(dir string) string {
	for {
		parent := filepath.Dir(dir)
		if _, err := os.Stat(parent); err == nil || parent == dir {
			return parent
		}
		dir = parent
	}
}

// checkWritable checks that files can be made in a directory.
func checkWritable(dir string) error {
	const read, write, search = 4, 2, 1
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return fmt.Errorf("durable: %w", err)
	case !info.IsDir():
		return fmt.Errorf("durable: %s is no directory", dir)
	}
	if err := syscall.Access(dir, read|write|search); err != nil {
		return fmt.Errorf("durable: %s can't be written to: %w", dir, err)
	}
	return nil
}

func (d *dataDir) check() error {
	if err := d.checkOurs(); err != nil {
		return err
	}
	if got, err := d.read(formatFile); err == nil {
		if err := d.checkFormatText(got); err != nil {
			return err
		}
	}
	if heldByAnother(d.file("LOCK")) {
		return nil
	}
	return d.checkFiles()
}

// heldByAnother says whether another process has locked a file. It does not lock it itself: a
// server that starts at this moment would be refused.
func heldByAnother(name string) bool {
	file, err := os.Open(name)
	if err != nil {
		return false
	}
	defer file.Close()
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
	err = syscall.FcntlFlock(file.Fd(), syscall.F_GETLK, &lock)
	return err == nil && lock.Type != syscall.F_UNLCK
}
