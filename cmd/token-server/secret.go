package main

import (
	"fmt"
	"os"
	"syscall"

	"tokenserver/token"
)

// readSecret reads the secret files, if there are any.
func (m *Main) readSecret() error {
	var keys [][]byte
	for _, name := range m.Config.SecretFiles {
		key, err := readKey(name)
		if err != nil {
			return fmt.Errorf("--secret-file %q: must be a file of %d bytes or more, owned by this user or root, with nothing for others and no write for the group (mode 0640 at most): %w",
				name, token.MinSecret, err)
		}
		keys = append(keys, key)
	}
	switch len(keys) {
	case 1:
		m.secret = token.NewSecret(keys[0])
	case maxSecretFiles:
		m.secret = token.NewSecretAfter(keys[0], keys[1])
	}
	return nil
}

// secretMode is the most that the mode of a secret file may allow. Secrets that a
// container runtime mounts belong to root, and to a group that may read them.
const secretMode = 0o640

// readKey reads a key from a file that only its owner may write, and others but
// its group may not read.
func readKey(name string) ([]byte, error) {
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
	case info.Mode().Perm()&^secretMode != 0:
		return nil, fmt.Errorf("its mode is %04o", info.Mode().Perm())
	case !isOwn(info):
		return nil, fmt.Errorf("it belongs to user %d", info.Sys().(*syscall.Stat_t).Uid)
	case info.Size() < token.MinSecret || info.Size() > maxSecret:
		return nil, fmt.Errorf("it has %d bytes", info.Size())
	}
	key := make([]byte, info.Size())
	if _, err := f.ReadAt(key, 0); err != nil {
		return nil, err
	}
	return key, nil
}

// isOwn says whether a file belongs to this user or to root.
func isOwn(info os.FileInfo) bool {
	uid := int(info.Sys().(*syscall.Stat_t).Uid)
	return uid == 0 || uid == os.Geteuid()
}

// maxSecret is the size in bytes beyond which a file is not meant to be a key.
const maxSecret = 1 << 20
