package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Modes of what is in the data directory: tokens can't be made from it, but metadata is there.
const (
	dirMode  = 0o700
	fileMode = 0o600
)

// notForRoots are the bits that a secret of root's must not have: a file that root
// has mounted for us may be readable for our group.
const notForRoots = 0o027

// tighten takes the directory from everybody but its owner. Some take it for theirs:
// Kubernetes opens a volume to a group at each mount.
func (d *openDir) tighten(log *slog.Logger) error {
	info, err := d.file.Stat()
	if err != nil || info.Mode().Perm()&^dirMode == 0 {
		return err
	}
	if err := d.file.Chmod(dirMode); err != nil {
		return d.openToOthers(info, err)
	}
	log.Warn("data directory was open to others", "dir", d.path, "mode", info.Mode().Perm().String())
	return nil
}

// openToOthers says why the directory can't be used, and what could be.
func (d *openDir) openToOthers(info os.FileInfo, err error) error {
	advice := ""
	if d.mayHoldAnother() {
		advice = "; one inside it would do"
	}
	return fmt.Errorf("data directory %s is open to others, with %s: it needs mode %#o, or this user as its owner%s: %w",
		d.path, ownership(info), dirMode, advice, errnoOf(err))
}

// mayHoldAnother says whether a data directory could be made inside. One with data of
// ours is not left for another one.
func (d *openDir) mayHoldAnother() bool {
	if _, err := os.Lstat(d.at(formatFile)); err == nil {
		return false
	}
	return unix.Faccessat(int(d.file.Fd()), ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS) == nil
}

// tightenFiles takes the files from everybody but their owner, if that is us. Others'
// are nobody's business as long as the directory is closed; of a secret, openSecret
// asks for more.
func (d *openDir) tightenFiles(names []string, log *slog.Logger) {
	tightened := 0
	for _, name := range names {
		info, err := os.Lstat(d.at(name))
		if err != nil || isHidden(name) || !info.Mode().IsRegular() || info.Mode().Perm()&^fileMode == 0 {
			continue
		}
		if os.Chmod(d.at(name), info.Mode().Perm()&fileMode) == nil {
			tightened++
		}
	}
	if tightened > 0 {
		log.Warn("files in the data directory were open to others", "dir", d.path, "files", tightened)
	}
}

// checkSecretMode refuses a secret that others may know, and could not be kept from.
func (d *openDir) checkSecretMode() error {
	info, err := os.Stat(d.at(secretFile))
	if err != nil {
		return errnoOf(err)
	}
	mode := info.Mode().Perm()
	if mode&^fileMode == 0 || ownerOf(info) == 0 && mode&notForRoots == 0 {
		return nil
	}
	return fmt.Errorf("it has %s: it needs mode %#o, or root as its owner, nothing for others and no write for the group",
		ownership(info), fileMode)
}

// ownership says what decides who may use a file.
func ownership(info os.FileInfo) string {
	return fmt.Sprintf("mode %#o and owner %d, while this process is user %d", info.Mode().Perm(), ownerOf(info), os.Geteuid())
}

// ownerOf returns the user who owns a file, or -1.
func ownerOf(info os.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid)
	}
	return -1
}

// errnoOf takes the name of a file from an error that says it otherwise.
func errnoOf(err error) error {
	var op *fs.PathError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// isHidden says whether a name is one of those that file systems and people leave in
// any directory.
func isHidden(name string) bool { return strings.HasPrefix(name, ".") || name == "lost+found" }
