package server

import (
	"bytes"
	"errors"
	"net"
	"syscall"

	"github.com/valyala/fasthttp"
)

// headConn is the connection under a conn. It looks at the heads of requests as they
// arrive, where fasthttp is not as strict as RFC 9112 wants it, or stricter:
//
//   - A line that ends in a bare LF breaks the request, at once. fasthttp takes that for
//     the end of a line, or waits for an end with CRLF that never comes.
//   - An empty Host is legal. fasthttp refuses it, so that it gets a value, which nobody
//     looks at.
//
// It knows where a head begins if a Read begins there: that is so for all requests but
// those in a pipeline.
//
// All of it belongs to the goroutine that serves the connection.
type headConn struct {
	net.Conn
	state headState
	begun bool // the head has a line that is not empty
	// The line so far, of which no more than its length is known beyond hostLine, and
	// its last byte.
	line   [hostLine]byte
	length int
	last   byte
}

type headState int

const (
	headAwaited headState = iota // the next Read begins a head
	headOpen                     // the next Read goes on with a head
	headBroken                   // the next Read fails
	headPassed                   // what comes is not looked at
)

// hostLine is the length of a line up to which it may be an empty Host, with blanks.
const hostLine = 16

// errBareLF says that a line of a head ends in a bare LF.
var errBareLF = errors.New("server: bare LF")

// Read leaves room for the value of an empty Host.
func (c *headConn) Read(b []byte) (int, error) {
	switch c.state {
	case headBroken:
		c.state = headPassed
		return 0, errBareLF
	case headPassed:
		return c.Conn.Read(b)
	}
	n, err := c.Conn.Read(b[:max(len(b)-1, min(len(b), 1))])
	if n > 0 {
		c.state = headOpen
		n = c.check(b, n)
	}
	return n, err
}

// check looks at the n bytes of b that were read, and returns how many there are to be
// taken for them. Those from a bare LF on are left out: the byte in its place is no
// part of any request.
func (c *headConn) check(b []byte, n int) int {
	for rest := 0; rest < n; {
		i := bytes.IndexByte(b[rest:n], '\n')
		if i < 0 {
			c.take(b[rest:n])
			return n + c.fillHost(b, n, n)
		}
		end := rest + i
		c.take(b[rest:end])
		if c.last != '\r' {
			b[end] = 0
			c.state = headBroken
			return end + 1
		}
		if c.length > len("\r") {
			c.begun = true
		} else if c.begun {
			c.state = headPassed
			return n
		}
		if i > 0 {
			filled := c.fillHost(b, n, end)
			end, n = end+filled, n+filled
		}
		rest, c.length, c.last = end+1, 0, 0
	}
	return n
}

// take adds to the line.
func (c *headConn) take(part []byte) {
	if len(part) == 0 {
		return
	}
	if c.length < len(c.line) {
		copy(c.line[c.length:], part)
	}
	c.length += len(part)
	c.last = part[len(part)-1]
}

// fillHost gives an empty Host, whose line is b up to a CR before end, a value. It
// returns how many bytes that takes.
func (c *headConn) fillHost(b []byte, n, end int) int {
	if c.last != '\r' || !c.isEmptyHost() || n == len(b) {
		return 0
	}
	copy(b[end:n+1], b[end-1:n])
	b[end-1] = '-'
	return 1
}

func (c *headConn) isEmptyHost() bool {
	const host = "Host:"
	if c.length > len(c.line) || c.length < len(host) {
		return false
	}
	line := c.line[:c.length]
	return bytes.EqualFold(line[:len(host)], []byte(host)) && len(bytes.Trim(line[len(host):], " \t\r")) == 0
}

// expect says that the next request may be read.
func (c *headConn) expect() {
	c.state, c.begun, c.length, c.last = headAwaited, false, 0, 0
}

// CloseWrite ends our side of the connection, if it has sides.
func (c *headConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SyscallConn returns what is known of the socket, if this is one.
func (c *headConn) SyscallConn() (syscall.RawConn, error) {
	if socket, ok := c.Conn.(syscall.Conn); ok {
		return socket.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

func (c *headConn) head() *headConn { return c }

// layeredHeadConn is a headConn over a layer such as TLS.
type layeredHeadConn struct{ headConn }

// NetConn returns the connection under the layer.
func (c *layeredHeadConn) NetConn() net.Conn {
	return c.Conn.(interface{ NetConn() net.Conn }).NetConn()
}

// withHead puts a headConn over a connection.
func withHead(nc net.Conn) net.Conn {
	if _, layered := nc.(interface{ NetConn() net.Conn }); layered {
		return &layeredHeadConn{headConn{Conn: nc}}
	}
	return &headConn{Conn: nc}
}

// stateChanged is told by fasthttp when a request begins and when it has been answered.
// If a request begins and nothing was read since the last one, it came in a pipeline.
func (s *Server) stateChanged(nc net.Conn, state fasthttp.ConnState) {
	s.reaper.stateChanged(nc, state)
	c, ok := nc.(*conn)
	if !ok {
		return
	}
	layer, ok := c.Conn.(interface{ head() *headConn })
	if !ok {
		return
	}
	switch head := layer.head(); {
	case state == fasthttp.StateIdle:
		head.expect()
	case state == fasthttp.StateActive && head.state == headAwaited:
		head.state = headPassed
	}
}
