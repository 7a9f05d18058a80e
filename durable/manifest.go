package durable

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
)

// checkFiles refuses a data directory with damage that Pebble would take for the traces
// of a crash.
func (d *dataDir) checkFiles() error {
	desc, err := pebble.Peek(d.path, d.fs)
	var fault *fs.PathError
	switch {
	case errors.As(err, &fault), isShortage(err):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", ErrVersion, err)
	case !desc.Exists:
		return d.checkNoData()
	}
	if err := d.checkManifest(d.fs.PathBase(desc.ManifestFilename)); err != nil {
		return err
	}
	return d.checkLog()
}

// checkNoData refuses a data directory that has data, but no manifest that is in use:
// Pebble would take it for a new one.
func (d *dataDir) checkNoData() error {
	names, err := d.fs.List(d.path)
	if err != nil {
		return err
	}
	for _, name := range names {
		if isHidden(name) {
			continue
		}
		if strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".log") || name == openedFile {
			return fmt.Errorf("%w %s: there is data, but no %smanifest", ErrCorrupt, d.path, markerPrefix)
		}
	}
	return nil
}

// checkManifest refuses a manifest with a record that can't be read, unless a
// crash has torn it. Pebble takes whatever follows such a record for garbage.
//
// Each record is synced before the next one is written, so only the last one
// can be torn, and what is not there of it are whole sectors.
func (d *dataDir) checkManifest(name string) error {
	data, err := d.read(name)
	if err != nil {
		return unreadable(d.file(name), err)
	}
	good := readableManifest(data)
	if good == len(data) || isTorn(data, good) {
		return nil
	}
	return fmt.Errorf("%w %s: it can't be read from byte %d on", ErrCorrupt, d.file(name), good)
}

// unreadable returns the error of a file that can't be read. That may say nothing of it.
func unreadable(name string, err error) error {
	if isShortage(err) {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	return fmt.Errorf("%w %s: %w", ErrCorrupt, name, err)
}

// readableManifest returns the length of the part that can be read.
func readableManifest(data []byte) (good int) {
	r := record.NewReader(bytes.NewReader(data), 0)
	for {
		good = int(r.Offset())
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return len(data)
		}
		if err != nil {
			return good
		}
		if _, err := io.Copy(io.Discard, rec); err != nil {
			return good
		}
	}
}

// checkOptions refuses a data directory whose file of options Pebble would refuse: its
// own error does not name it.
func (d *dataDir) checkOptions(o *pebble.Options) error {
	desc, err := pebble.Peek(d.path, d.fs)
	if err != nil || desc.OptionsFilename == "" {
		return err
	}
	data, err := d.read(d.fs.PathBase(desc.OptionsFilename))
	if err != nil {
		return err
	}
	if err := o.CheckCompatibility(d.path, string(data)); err != nil {
		return fmt.Errorf("%w %s: %w", ErrCorrupt, desc.OptionsFilename, err)
	}
	return nil
}

const sector = 512 // bytes that are written as a whole or not at all

// isTorn says whether data has lost sectors from start on: they are zeros, or
// not there because the file ends.
func isTorn(data []byte, start int) bool {
	if len(data)%sector == 0 {
		return true
	}
	for start < len(data) {
		end := min(start-start%sector+sector, len(data))
		if len(bytes.Trim(data[start:end], "\x00")) == 0 {
			return true
		}
		start = end
	}
	return false
}
