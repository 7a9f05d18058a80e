package durable

import (
	"errors"
	"io"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// markerPrefix begins the names of Pebble's markers: empty files, whose names
// say which manifest and which format are in use.
const markerPrefix = "marker."

// markerFS is a file system on which a marker is never seen before the file
// that it names, nor its predecessor gone before it is there itself. Pebble
// relies on the order in which entries of a directory reach the disk, which not
// every file system keeps.
type markerFS struct{ vfs.FS }

// Unwrap implements vfs.FS.
func (m markerFS) Unwrap() vfs.FS { return m.FS }

// Create implements vfs.FS.
func (m markerFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := m.settle(name); err != nil {
		return nil, err
	}
	return m.FS.Create(name, category)
}

// Remove implements vfs.FS.
func (m markerFS) Remove(name string) error {
	if err := m.settle(name); err != nil {
		return err
	}
	return m.FS.Remove(name)
}

// settle syncs the directory of a marker.
func (m markerFS) settle(name string) error {
	if !strings.HasPrefix(m.PathBase(name), markerPrefix) {
		return nil
	}
	return syncDir(m.FS, m.PathDir(name))
}

// privateFS is the disk, with files that only their owner can read. The
// directory's own mode keeps others out until a new file has its mode.
type privateFS struct{ vfs.FS }

// Unwrap implements vfs.FS.
func (p privateFS) Unwrap() vfs.FS { return p.FS }

// Create implements vfs.FS.
func (p privateFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := p.FS.Create(name, category)
	return private(name, f, err)
}

// OpenReadWrite implements vfs.FS.
func (p privateFS) OpenReadWrite(
	name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption,
) (vfs.File, error) {
	f, err := p.FS.OpenReadWrite(name, category, opts...)
	return private(name, f, err)
}

// Lock implements vfs.FS.
func (p privateFS) Lock(name string) (io.Closer, error) {
	lock, err := p.FS.Lock(name)
	return private(name, lock, err)
}

func private[F io.Closer](name string, f F, err error) (F, error) {
	if err != nil {
		return f, err
	}
	if err := os.Chmod(name, fileMode); err != nil {
		return f, errors.Join(err, f.Close())
	}
	return f, nil
}
