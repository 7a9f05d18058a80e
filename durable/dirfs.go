package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// dirFS is a file system on which a directory is reached through its descriptor: if
// another one takes its place, nothing at the path is written or deleted.
type dirFS struct {
	vfs.FS
	path       string // what the names of its files begin with
	descriptor string // what takes its place
}

// Unwrap implements vfs.FS.
func (d dirFS) Unwrap() vfs.FS { return d.FS }

// at returns the name by which a file is reached.
func (d dirFS) at(name string) string {
	rel, err := filepath.Rel(d.path, name)
	if err != nil || !filepath.IsLocal(rel) {
		return name
	}
	return filepath.Join(d.descriptor, rel)
}

// named puts the path back into an error. The error is nobody else's.
func (d dirFS) named(err error) error {
	var op *fs.PathError
	if errors.As(err, &op) {
		op.Path = d.name(op.Path)
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		link.Old, link.New = d.name(link.Old), d.name(link.New)
	}
	return err
}

func (d dirFS) name(at string) string {
	if rel, ok := strings.CutPrefix(at, d.descriptor); ok && (rel == "" || rel[0] == filepath.Separator) {
		return filepath.Join(d.path, rel)
	}
	return at
}

// Create implements vfs.FS.
func (d dirFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(d.at(name), category)
	return f, d.named(err)
}

// Link implements vfs.FS.
func (d dirFS) Link(old, name string) error { return d.named(d.FS.Link(d.at(old), d.at(name))) }

// Open implements vfs.FS.
func (d dirFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.Open(d.at(name), opts...)
	return f, d.named(err)
}

// OpenReadWrite implements vfs.FS.
func (d dirFS) OpenReadWrite(
	name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption,
) (vfs.File, error) {
	f, err := d.FS.OpenReadWrite(d.at(name), category, opts...)
	return f, d.named(err)
}

// OpenDir implements vfs.FS.
func (d dirFS) OpenDir(name string) (vfs.File, error) {
	f, err := d.FS.OpenDir(d.at(name))
	return f, d.named(err)
}

// Remove implements vfs.FS.
func (d dirFS) Remove(name string) error { return d.named(d.FS.Remove(d.at(name))) }

// RemoveAll implements vfs.FS.
func (d dirFS) RemoveAll(name string) error { return d.named(d.FS.RemoveAll(d.at(name))) }

// Rename implements vfs.FS.
func (d dirFS) Rename(old, name string) error { return d.named(d.FS.Rename(d.at(old), d.at(name))) }

// ReuseForWrite implements vfs.FS.
func (d dirFS) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(d.at(old), d.at(name), category)
	return f, d.named(err)
}

// MkdirAll implements vfs.FS.
func (d dirFS) MkdirAll(name string, perm os.FileMode) error {
	return d.named(d.FS.MkdirAll(d.at(name), perm))
}

// Lock implements vfs.FS.
func (d dirFS) Lock(name string) (io.Closer, error) {
	lock, err := d.FS.Lock(d.at(name))
	return lock, d.named(err)
}

// List implements vfs.FS.
func (d dirFS) List(name string) ([]string, error) {
	names, err := d.FS.List(d.at(name))
	return names, d.named(err)
}

// Stat implements vfs.FS.
func (d dirFS) Stat(name string) (vfs.FileInfo, error) {
	info, err := d.FS.Stat(d.at(name))
	return info, d.named(err)
}

// GetDiskUsage implements vfs.FS.
func (d dirFS) GetDiskUsage(name string) (vfs.DiskUsage, error) {
	usage, err := d.FS.GetDiskUsage(d.at(name))
	return usage, d.named(err)
}
