package durable

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"

	"tokenserver/token"
)

// openSecret returns the secret that the tokens of a grace are derived from,
// which is made at the first call. Without it, a restart would end each grace,
// and to those who revoke on reuse each replay would look like a theft.
func openSecret(d *dataDir) (*token.Secret, error) {
	key, err := d.read(secretFile)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, token.MinSecret)
		rand.Read(key)
		err = d.write(secretFile, key)
	}
	if err != nil {
		return nil, fmt.Errorf("secret of the grace: %w", err)
	}
	if err := d.checkSecret(len(key)); err != nil {
		return nil, err
	}
	return token.NewSecret(key), nil
}

func (d *dataDir) checkSecret(size int) error {
	path := d.file(secretFile)
	if size < token.MinSecret {
		return fmt.Errorf("secret %s has %d bytes, want %d at least", path, size, token.MinSecret)
	}
	if d.disk == nil {
		return nil
	}
	if err := d.disk.checkSecretMode(); err != nil {
		return fmt.Errorf("secret %s: %w", path, err)
	}
	return nil
}
