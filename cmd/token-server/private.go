package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// privateMode is the most that the mode of a file with secrets may allow. Secrets that a
// container runtime mounts belong to root, and to a group that may read them.
const privateMode = 0o640

// privateNeeds says what readPrivate needs.
const privateNeeds = "owned by this user or root, with nothing for others and no write for the group (mode 0640 at most)"

// readPrivate reads a file that only its owner may write, and others but its group may
// not read, of least to maxFile bytes.
func readPrivate(name string, least int64) ([]byte, error) {
	return readChecked(name, least, func(info os.FileInfo) error {
		switch {
		case info.Mode().Perm()&^privateMode != 0:
			return fmt.Errorf("its mode is %04o", info.Mode().Perm())
		case !isOwn(info):
			return fmt.Errorf("it belongs to user %d", info.Sys().(*syscall.Stat_t).Uid)
		}
		return nil
	})
}

// maxFile is the size in bytes beyond which a file is not meant to be a key, a certificate
// or a list of callers.
const maxFile = 1 << 20

// readPlain reads a file of up to maxFile bytes that may be anybody's.
func readPlain(name string) ([]byte, error) {
	return readChecked(name, 0, func(os.FileInfo) error { return nil })
}

// readChecked reads a file, after check. It waits for nobody, as for who writes into a
// pipe: a start could not be ended then, nor a server that rereads the file.
func readChecked(name string, least int64, check func(os.FileInfo) error) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	if err := check(info); err != nil {
		return nil, err
	}
	if info.Size() < least || info.Size() > maxFile {
		return nil, fmt.Errorf("it has %d bytes, which must be %d … %d", info.Size(), least, maxFile)
	}
	data := make([]byte, info.Size())
	if _, err := f.ReadAt(data, 0); err != nil {
		return nil, err
	}
	return data, nil
}

// isOwn says whether a file belongs to this user or to root.
func isOwn(info os.FileInfo) bool {
	uid := int(info.Sys().(*syscall.Stat_t).Uid)
	return uid == 0 || uid == os.Geteuid()
}
