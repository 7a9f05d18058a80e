package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tokenserver/internal/flags"
)

const defaultSocketMode = 0o660

// newSocketMode makes a flag for the mode of a socket.
func newSocketMode(target *fs.FileMode) flags.Value {
	return &flags.Typed[fs.FileMode]{
		Target: target,
		Kind:   "mode",
		Parse:  parseMode,
		Format: func(mode fs.FileMode) string { return fmt.Sprintf("%04o", mode) },
		Range:  "an octal number, 0000 … 0777",
	}
}

var (
	octal   = regexp.MustCompile(`^0?[0-7]{3}$`)
	errMode = errors.New("no mode")
)

func parseMode(text string) (fs.FileMode, error) {
	if !octal.MatchString(text) {
		return 0, errMode
	}
	mode, err := strconv.ParseUint(text, 8, 32)
	return fs.FileMode(mode), err
}

// socketPath returns the path of a unix socket's address, and false for any other.
func socketPath(address string) (path string, ok bool) {
	return strings.CutPrefix(address, flags.UnixPrefix)
}

// listenUnix listens on a unix socket of a mode. A socket that is there already is removed
// if nobody listens on it.
func listenUnix(path string, mode fs.FileMode) (net.Listener, error) {
	unlock, err := lockDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := removeStale(path); err != nil {
		return nil, err
	}
	var config net.ListenConfig
	// Linux gives the file the mode that the socket has when it is bound, so that at no
	// time somebody connects who must not. What the umask takes is given back below.
	config.Control = func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { syscall.Fchmod(int(fd), uint32(mode)) })
	}
	ln, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil {
		ln.Close()
		return nil, err
	}
	return newSocket(ln.(*net.UnixListener), path)
}

// socket is a listener that removes its file when it is closed, unless that is another
// one's by now.
type socket struct {
	*net.UnixListener
	path string
	file fs.FileInfo
}

func newSocket(ln *net.UnixListener, path string) (*socket, error) {
	file, err := os.Lstat(path)
	if err != nil {
		ln.Close()
		return nil, err
	}
	ln.SetUnlinkOnClose(false)
	return &socket{ln, path, file}, nil
}

// Close looks at the file before it closes: until then no other file is the same.
func (s *socket) Close() error {
	if unlock, err := lockDir(filepath.Dir(s.path)); err == nil {
		defer unlock()
	}
	if now, err := os.Lstat(s.path); err == nil && os.SameFile(now, s.file) {
		os.Remove(s.path)
	}
	return s.UnixListener.Close()
}

// lockPatience is how long a start waits for another one.
const lockPatience = time.Second

// lockDir lets one server at a time look at the sockets of a directory, and replace a
// stale one: a second would take the first one's new socket for it. Whoever keeps the
// lock for long is no server.
func lockDir(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for begun := time.Now(); time.Since(begun) < lockPatience; time.Sleep(lockPatience / 100) {
		if syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			break
		}
	}
	return func() { d.Close() }, nil
}

// checkSockets finds sockets that can't be made.
func (c *Config) checkSockets() (errs []error) {
	for _, address := range append(c.listenAddresses(), c.AdminAddress) {
		path, ok := socketPath(address)
		if !ok {
			continue
		}
		if info, err := os.Stat(filepath.Dir(path)); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", address, err))
		} else if !info.IsDir() {
			errs = append(errs, fmt.Errorf("%s: %s is no directory", address, filepath.Dir(path)))
		}
		if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
			errs = append(errs, fmt.Errorf("%s: %s is there, and no socket", address, path))
		}
	}
	return errs
}

// removeStale removes a socket on which nobody listens.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there, and no socket", path)
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
	}
	switch {
	case err == nil:
		return fmt.Errorf("somebody listens on %s", path)
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("whether somebody listens is not known: %w", err)
	}
	return os.Remove(path)
}
