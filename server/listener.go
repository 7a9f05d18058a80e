package server

import (
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
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
		if l.s.stopped.Load() { // before fasthttp knew of this listener
			l.Close()
			return nil, net.ErrClosed
		}
		c, err := l.Listener.Accept()
		if err == nil {
			watched := &conn{Conn: c, reaper: l.s.reaper}
			l.s.reaper.add(watched)
			return watched, nil
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

// What a client may still send, and for how long, after it was refused.
const (
	lingerBytes = 1 << 20
	lingerTime  = time.Second
)

// lingerAfter lets the connection of a refused request linger. Closed with
// unread input, a socket resets the connection, and the client might lose the
// answer that tells why.
func lingerAfter(ctx *fasthttp.RequestCtx) {
	if c, ok := ctx.Conn().(*conn); ok {
		c.linger.Store(true)
	}
}

// Close closes the connection.
func (c *conn) Close() error {
	c.reaper.remove(c)
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && c.linger.Load() && half.CloseWrite() == nil {
		c.SetReadDeadline(time.Now().Add(lingerTime))
		io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
	return c.Conn.Close()
}
