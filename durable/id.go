package durable

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
)

// validID is what an identity is like: it becomes a header.
var validID = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)

// openID returns the identity of the data directory, which is made at the first call.
// Clients tell by it whether two servers have one store. A copy of the directory has
// the same.
func openID(d *dataDir) (string, error) {
	text, err := d.read(idFile)
	id := string(text)
	if errors.Is(err, fs.ErrNotExist) {
		id = rand.Text()
		err = d.write(idFile, []byte(id))
	}
	if err != nil {
		return "", fmt.Errorf("identity of the data directory: %w", err)
	}
	if !validID.MatchString(id) {
		return "", fmt.Errorf("%w %s: %.80q, want up to 64 letters, digits, - and _", ErrCorrupt, d.file(idFile), id)
	}
	return id, nil
}

// ID returns the identity of the data directory: the same over restarts, and another
// one for each directory.
func (s *Store) ID() string { return s.id }
