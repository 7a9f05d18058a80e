package durable

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrNotWhole says that a backup ended too early.
var ErrNotWhole = errors.New("the backup is not whole")

// ErrNotEmpty says that there is something already where a backup should go.
var ErrNotEmpty = errors.New("the directory is not empty")

// WriteBackup makes a data directory of what [Store.Backup] writes. dir must be absent or
// empty, but for hidden files and lost+found. All is on disk before the file that makes a
// data directory of it, so that none is there after a crash that would look whole. It is
// checked as [Check] does. After an error what was written is removed.
func WriteBackup(dir string, r io.Reader) (err error) {
	b := &backup{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("durable: %w", err), b.remove())
		}
	}()
	if err := b.makeDir(); err != nil {
		return err
	}
	archive := tar.NewReader(r)
	for {
		header, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF):
			return b.finish(r)
		case err != nil:
			return notWhole(err)
		}
		if err := b.add(header, archive); err != nil {
			return err
		}
	}
}

func notWhole(err error) error { return fmt.Errorf("%w: %w", ErrNotWhole, err) }

// backup is a data directory that is being written.
type backup struct {
	dir    string
	made   bool     // the directory was not there
	files  []string // that were written
	format []byte   // of the last file, which is written when all else is on disk
}

// makeDir makes the directory, or checks that there is nothing in it.
func (b *backup) makeDir() error {
	_, err := os.Stat(b.dir)
	if errors.Is(err, fs.ErrNotExist) {
		b.made = true
		return makeDir(privateFS{vfs.Default}, b.dir)
	}
	if err := CheckBackup(b.dir); err != nil {
		return err
	}
	return os.Chmod(b.dir, dirMode)
}

// CheckBackup checks that a backup could go to a directory.
func CheckBackup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !isHidden(entry.Name()) {
			return fmt.Errorf("%w: %s has %s", ErrNotEmpty, dir, entry.Name())
		}
	}
	return nil
}

// add writes a file of the archive.
func (b *backup) add(header *tar.Header, r io.Reader) error {
	name := header.Name
	if header.Typeflag != tar.TypeReg || name != filepath.Base(name) || isHidden(name) || b.format != nil {
		return fmt.Errorf("the backup has %.100q, which no data directory has", name)
	}
	if name == formatFile {
		text, err := io.ReadAll(io.LimitReader(r, 1<<10))
		if err != nil {
			return notWhole(err)
		}
		b.format = text
		return nil
	}
	path := filepath.Join(b.dir, name)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	b.files = append(b.files, path)
	in := &source{r: r}
	_, err = io.Copy(file, in)
	if err == nil { // else it is removed, and somebody waits for that
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err != nil && in.failed {
		return notWhole(err)
	}
	return err
}

// source tells whether it was the reading that failed.
type source struct {
	r      io.Reader
	failed bool
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.failed = s.failed || err != nil && !errors.Is(err, io.EOF)
	return n, err
}

// finish makes a data directory of what was written, if the archive and whatever brings it
// have come to their end.
func (b *backup) finish(r io.Reader) error {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return notWhole(err)
	}
	if b.format == nil {
		return ErrNotWhole
	}
	d := &dataDir{fs: privateFS{vfs.Default}, path: b.dir}
	if err := syncDir(d.fs, b.dir); err != nil {
		return err
	}
	b.files = append(b.files, d.file(formatFile), d.file(formatFile+tempSuffix))
	if err := d.write(formatFile, b.format); err != nil {
		return err
	}
	return d.check()
}

// remove removes what was written.
func (b *backup) remove() (err error) {
	for _, path := range b.files {
		if e := os.Remove(path); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	if b.made {
		os.Remove(b.dir) // if it was made
	}
	return err
}
