package main

import (
	"fmt"
	"os"
	"syscall"

	"tokenserver/token"
)

// readSecret reads the secret file, if there is one.
func (m *Main) readSecret() (err error) {
	name := m.Config.SecretFile
	if name == "" {
		return nil
	}
	if m.secret, err = secretOf(name); err != nil {
		return fmt.Errorf("--secret-file %q: must be a file of %d bytes or more that only its owner may read (mode 0600): %w",
			name, token.MinSecret, err)
	}
	return nil
}

// secretOf reads a key from a file that nobody else may read or write.
func secretOf(name string) (*token.Secret, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would wait for a writer
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("it is no regular file")
	case info.Mode().Perm()&^0o600 != 0:
		return nil, fmt.Errorf("its mode is %04o", info.Mode().Perm())
	case info.Size() < token.MinSecret || info.Size() > maxSecret:
		return nil, fmt.Errorf("it has %d bytes", info.Size())
	}
	key := make([]byte, info.Size())
	if _, err := f.ReadAt(key, 0); err != nil {
		return nil, err
	}
	return token.NewSecret(key), nil
}

// maxSecret is the size in bytes beyond which a file is not meant to be a key.
const maxSecret = 1 << 20
