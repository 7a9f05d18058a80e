package server

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

// listener and conn let a connection be closed such that its last answer arrives.
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
			return &conn{Conn: c}, nil
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

type conn struct {
	net.Conn
	linger atomic.Bool // set by the connection's goroutine; Shutdown may close it too
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
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && c.linger.Load() && half.CloseWrite() == nil {
		c.SetReadDeadline(time.Now().Add(lingerTime))
		io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
	return c.Conn.Close()
}
