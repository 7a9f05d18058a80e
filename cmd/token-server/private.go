package main

import (
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
// not read, of least to most bytes.
func readPrivate(name string, least, most int64) ([]byte, error) {
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
	case info.Mode().Perm()&^privateMode != 0:
		return nil, fmt.Errorf("its mode is %04o", info.Mode().Perm())
	case !isOwn(info):
		return nil, fmt.Errorf("it belongs to user %d", info.Sys().(*syscall.Stat_t).Uid)
	case info.Size() < least || info.Size() > most:
		return nil, fmt.Errorf("it has %d bytes", info.Size())
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
