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
	s       *Server
	backlog *backlog // nil if no connection can have waited before the server ran
}

// Accept makes room when file descriptors or memory have run out, and waits for
// better times: to fasthttp, any error means that the listener is done for.
func (l listener) Accept() (net.Conn, error) {
	for delay := time.Duration(0); ; delay = min(max(2*delay, minAcceptDelay), maxAcceptDelay) {
		c, err := l.Listener.Accept()
		if err == nil {
			if l.backlog != nil && l.backlog.isStale(c) {
				l.s.refuseStale(c)
				continue
			}
			if watched := l.s.admit(withHead(c)); watched != nil {
				return watched, nil
			}
			continue
		}
		if !isShortage(err) {
			return nil, err
		}
		l.s.makeRoom(err)
		select {
		case <-time.After(delay):
		case <-l.s.reaper.done:
		}
	}
}

// makeRoom closes a connection after a new one could not be accepted, if there is
// one that may be closed for it. There is no time for a client to read why.
func (s *Server) makeRoom(err error) {
	if victim := s.reaper.shedOne(); victim != nil {
		s.shed.Add(1)
		victim.leave()
	}
	if s.shortageLogged.allow(time.Since(s.reaper.start)) {
		s.log.Warn("can't accept connections", "error", err, "shed", s.shed.Load())
	}
}

// How long to wait after a connection could not be accepted, again and again.
const (
	minAcceptDelay = 5 * time.Millisecond
	maxAcceptDelay = time.Second
)

func isShortage(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
		errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}
