package server

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// listener makes conns.
type listener struct {
	net.Listener
	s *Server
}

// Accept waits for better times when file descriptors or memory have run out:
// to fasthttp, any error means that the listener is done for.
func (l listener) Accept() (net.Conn, error) {
	for delay := minAcceptDelay; ; delay = min(2*delay, maxAcceptDelay) {
		c, err := l.Listener.Accept()
		if err == nil {
			if watched := l.s.admit(withHead(c)); watched != nil {
				return watched, nil
			}
			continue
		}
		if !isShortage(err) {
			return nil, err
		}
		l.s.log.Warn("can't accept connections", "error", err)
		time.Sleep(delay)
	}
}

// How long to wait after a connection could not be accepted.
const (
	minAcceptDelay = 5 * time.Millisecond
	maxAcceptDelay = time.Second
)

func isShortage(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
		errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}
