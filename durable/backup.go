package durable

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"
)

// checkpointDir is where a backup is made, in the data directory. It is gone once that has
// been sent; what a crash leaves of it goes with the next start.
const checkpointDir = "checkpoint.tmp"

// ErrBackupRunning says that there is a backup under way.
var ErrBackupRunning = errors.New("a backup is under way")

// errNoLinks says that a backup would have to copy all tables.
var errNoLinks = errors.New("the file system of the data directory has no hard links, which a backup needs")

// ownFiles are the files of ours that a backup has beside Pebble's. That of the format is the
// last one: without it there is no data directory.
var ownFiles = []string{idFile, secretFile, epochsFile, openedFile, formatFile}

// Backup writes a data directory as it is at one moment, as a tar archive that
// [WriteBackup] reads: all changes that were answered before, and some of those that come
// meanwhile. The archive is whole if the error is nil. The store goes on, and a failure of
// the backup is none of the store's. There is one at a time; others get ErrBackupRunning.
// While the store is loaded, or nothing may be changed, it returns a *token.UnavailableError.
func (s *Store) Backup(ctx context.Context, w io.Writer) (err error) {
	select {
	case s.backingUp <- struct{}{}:
	default:
		if s.isClosing() {
			return errClosed
		}
		return ErrBackupRunning
	}
	defer s.backingUp.Unlock()
	if err := s.canBackUp(); err != nil {
		return err
	}
	defer func() {
		if removed := s.dataDir.removeCheckpoint(); removed != nil { // the next one will fail
			s.log.Warn("a checkpoint can't be removed", "error", removed)
		}
	}()
	err = s.dataDir.removeCheckpoint() // what one before has not got rid of
	synced := uint64(0)
	if err == nil {
		synced, err = s.checkpoint()
	}
	if err == nil {
		err = s.sendCheckpoint(ctx, w, synced)
	}
	if err != nil {
		return fmt.Errorf("durable: backup: %w", err)
	}
	return nil
}

// canBackUp says why there can be no backup. A log is copied, and must not take the space that
// the store needs.
func (s *Store) canBackUp() error {
	if s.isClosing() {
		return errClosed
	}
	if err := s.failure.get(); err != nil {
		return err
	}
	if _, err := s.changeable(); err != nil {
		return err
	}
	size, err := s.dataDir.copiedSize()
	if err != nil {
		return err
	}
	return s.checkFree(uint64(s.minFree)+size, hangAfter)
}

// copiedSize returns the bytes of all files that a checkpoint copies, at most. It links tables.
func (d *dataDir) copiedSize() (size uint64, err error) {
	names, err := d.fs.List(d.path)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if filepath.Ext(name) == ".sst" {
			continue
		}
		info, err := d.plain.Stat(d.file(name))
		if errors.Is(err, fs.ErrNotExist) { // gone since
			continue
		}
		if err != nil {
			return 0, err
		}
		size += uint64(info.Size())
	}
	return size, nil
}

// checkpoint makes the checkpoint, which has all writes before a sequence number. What was
// answered is in the log by then, also where nobody waits for that.
func (s *Store) checkpoint() (synced uint64, err error) {
	err = s.failure.runUntilFailure(func() error {
		s.journal.flush()
		synced = s.journal.synced.Load()
		return s.db.Checkpoint(s.dataDir.file(checkpointDir), pebble.WithFlushedWAL())
	})
	return synced, err
}

// removeCheckpoint removes the checkpoint, if there is one.
func (d *dataDir) removeCheckpoint() error {
	if _, err := d.plain.Stat(d.file(checkpointDir)); errors.Is(err, fs.ErrNotExist) {
		return nil // nearly always, and a write that may fail is not needed
	}
	return d.plain.RemoveAll(d.file(checkpointDir))
}

// sendCheckpoint writes the files of the checkpoint, and ours.
func (s *Store) sendCheckpoint(ctx context.Context, w io.Writer, synced uint64) error {
	d := s.dataDir
	dir := d.file(checkpointDir)
	names, err := d.plain.List(dir)
	if err != nil {
		return err
	}
	slices.Sort(names)
	log, length, err := d.endOfLog(dir, synced)
	if err != nil {
		return err
	}
	a := &archive{ctx: ctx, closing: s.closing, tar: tar.NewWriter(w), fs: d.plain}
	for _, name := range names {
		path := d.fs.PathJoin(dir, name)
		if name == log {
			err = a.addPart(name, path, length)
		} else {
			err = a.add(name, path)
		}
		if err != nil {
			return err
		}
	}
	for _, name := range ownFiles {
		err := a.add(name, d.file(name))
		if errors.Is(err, fs.ErrNotExist) && name == secretFile { // there has been no grace
			continue
		}
		if err != nil {
			return err
		}
	}
	return a.tar.Close()
}

// endOfLog returns the name of the last log of a checkpoint, and its length up to where it can
// be read. It was written to while it was copied: behind that there may be a gap, with
// writes behind it that the copy has got and others that it has not. What comes before it
// is what the log was at one moment.
func (d *dataDir) endOfLog(dir string, synced uint64) (name string, length int64, err error) {
	logs, err := wal.Scan(wal.Dir{FS: d.plain, Dirname: dir})
	if err != nil || len(logs) == 0 {
		return "", 0, err
	}
	_, path := logs[len(logs)-1].SegmentLocation(0)
	good, err := readLog(logs[len(logs)-1])
	if err == nil && good.end > 0 && good.end < synced {
		err = fmt.Errorf("%w %s: it breaks off at byte %d", ErrCorrupt, path, good.size)
	}
	return d.fs.PathBase(path), good.size, err
}

// archive is a tar archive that is being written.
type archive struct {
	ctx     context.Context
	closing <-chan struct{} // of the store
	tar     *tar.Writer
	fs      vfs.FS
}

// add adds a file.
func (a *archive) add(name, path string) error {
	info, err := a.fs.Stat(path)
	if err != nil {
		return err
	}
	return a.addPart(name, path, info.Size())
}

// addPart adds a file up to a length.
func (a *archive) addPart(name, path string, length int64) error {
	file, err := a.fs.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: length, Mode: int64(fileMode), Format: tar.FormatPAX}
	if err := a.tar.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.CopyN(a.tar, reader{a, file}, length)
	return err
}

// reader reads from a file as long as somebody wants it.
type reader struct {
	*archive
	file io.Reader
}

// Read implements io.Reader.
func (r reader) Read(p []byte) (int, error) {
	select {
	case <-r.closing:
		return 0, errClosed
	case <-r.ctx.Done():
		return 0, r.ctx.Err()
	default:
		return r.file.Read(p)
	}
}

// checkpointFS is the file system of Pebble, on which a checkpoint may fail: what is in its
// directory is none of the store. Nor is it synced, since it is gone before anybody could miss
// it: of a sync that fails Pebble would make a panic.
type checkpointFS struct {
	vfs.FS
	plain vfs.FS
	dir   string
}

// Unwrap implements vfs.FS.
func (c checkpointFS) Unwrap() vfs.FS { return c.FS }

// has says whether a file is in the checkpoint.
func (c checkpointFS) has(name string) bool {
	return name == c.dir || c.plain.PathDir(name) == c.dir
}

// of returns the file system of a file.
func (c checkpointFS) of(name string) vfs.FS {
	if c.has(name) {
		return c.plain
	}
	return c.FS
}

// Create implements vfs.FS.
func (c checkpointFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if c.has(name) && filepath.Ext(name) == ".sst" {
		return nil, errNoLinks
	}
	file, err := c.of(name).Create(name, category)
	return c.withoutSync(name, file, err)
}

// OpenDir implements vfs.FS.
func (c checkpointFS) OpenDir(name string) (vfs.File, error) {
	file, err := c.of(name).OpenDir(name)
	return c.withoutSync(name, file, err)
}

// withoutSync returns a file that was opened, without syncs if it is in the checkpoint.
func (c checkpointFS) withoutSync(name string, file vfs.File, err error) (vfs.File, error) {
	if err != nil || !c.has(name) {
		return file, err
	}
	return unsynced{file}, nil
}

// unsynced is a file that is not synced.
type unsynced struct{ vfs.File }

// Sync implements vfs.File.
func (unsynced) Sync() error { return nil }

// SyncData implements vfs.File.
func (unsynced) SyncData() error { return nil }

// SyncTo implements vfs.File.
func (unsynced) SyncTo(int64) (bool, error) { return false, nil }

// List implements vfs.FS.
func (c checkpointFS) List(name string) ([]string, error) { return c.of(name).List(name) }

// Remove implements vfs.FS.
func (c checkpointFS) Remove(name string) error { return c.of(name).Remove(name) }

// Link implements vfs.FS.
func (c checkpointFS) Link(old, name string) error { return c.of(name).Link(old, name) }

// MkdirAll implements vfs.FS.
func (c checkpointFS) MkdirAll(name string, _ fs.FileMode) error {
	return c.of(name).MkdirAll(name, dirMode)
}

// Rename implements vfs.FS.
func (c checkpointFS) Rename(old, name string) error { return c.of(name).Rename(old, name) }
