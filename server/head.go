package server

import (
	"bytes"
	"errors"
	"net"
	"slices"
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
// In a pipeline it finds the next head by the Content-Length of the one before. What
// follows a body in chunks is not looked at until the connection is idle.
//
// All of it belongs to the goroutine that serves the connection.
type headConn struct {
	net.Conn
	state headState
	idle  bool   // the next Read begins a head
	later []byte // was received, and is for the next Read

	// Of the head that is open:
	begun   bool // it has a line that is not empty
	chunked bool
	body    int // its Content-Length; in headBody, what is left of that
	// The beginning of the line that is open, all of its length, and its last byte.
	line   [keptLine]byte
	length int
	last   byte
}

type headState int

const (
	headOpen   headState = iota // in a head, or before one
	headBody                    // in the body behind it
	headBroken                  // the next Read fails
	headLost                    // nothing is looked at
)

// keptLine is how much of a line is kept: enough for a Host without a value and for a
// Content-Length.
const keptLine = 64

// errBareLF says that a line of a head ends in a bare LF.
var errBareLF = errors.New("server: bare LF")

func (c *headConn) Read(b []byte) (n int, err error) {
	if c.state == headBroken {
		c.state = headLost
		return 0, errBareLF
	}
	if c.idle {
		c.begin()
	}
	for n == 0 && err == nil && len(b) > 0 {
		n, err = c.receive(b)
		if n = c.check(b[:n]); len(c.later) > 0 {
			err = nil // the connection says it again
		}
	}
	return n, err
}

func (c *headConn) receive(b []byte) (n int, err error) {
	if len(c.later) == 0 {
		return c.Conn.Read(b)
	}
	n = copy(b, c.later)
	c.later = c.later[n:]
	return n, nil
}

// begin says that a head is what comes next.
func (c *headConn) begin() {
	c.state, c.idle, c.begun, c.chunked, c.body = headOpen, false, false, false, 0
	c.length, c.last = 0, 0
}

// check looks at what was received, and returns how much of it is for this Read. What
// follows a bare LF is for none; the byte in its place is no part of any request.
func (c *headConn) check(b []byte) int {
	for at := 0; at < len(b) && c.state != headLost; {
		if c.state == headBody {
			at += c.skipBody(len(b) - at)
			continue
		}
		end := at + bytes.IndexByte(b[at:], '\n')
		ended := end >= at
		if !ended {
			end = len(b)
		}
		c.extendLine(b[at:end])
		switch {
		case c.isEmptyHost():
			return c.fillHost(b, end-len("\r"))
		case !ended:
			return len(b)
		case c.last != '\r':
			b[end] = 0
			c.state, c.later = headBroken, nil
			return end + 1
		}
		c.endLine()
		at = end + 1
	}
	return len(b)
}

// skipBody goes on by up to n bytes of a body.
func (c *headConn) skipBody(n int) int {
	n = min(n, c.body)
	if c.body -= n; c.body == 0 {
		c.begin()
	}
	return n
}

func (c *headConn) extendLine(part []byte) {
	if len(part) == 0 {
		return
	}
	if c.length < len(c.line) {
		copy(c.line[c.length:], part)
	}
	c.length += len(part)
	c.last = part[len(part)-1]
}

// fillHost gives a Host, whose line ends with the CR at end, a value. That and the rest
// are for the next Read, as there may be no room in this one.
func (c *headConn) fillHost(b []byte, end int) int {
	c.later = slices.Concat([]byte("-"), b[end:], c.later)
	c.length -= len("\r")
	return end
}

// isEmptyHost reports whether the line, up to its CR, is a Host without a value. The CR
// came just now: with an earlier one the Host would have got its value then.
func (c *headConn) isEmptyHost() bool {
	if c.last != '\r' || lower(c.line[0]) != 'h' || c.length > len(c.line) {
		return false
	}
	value, ok := cutName(c.line[:c.length], "host")
	return ok && len(value) == 0
}

// lower turns a capital letter into a small one, and nothing else into a letter.
func lower(c byte) byte { return c | ('a' - 'A') }

// cutName returns the value of a header line, if that is its name.
func cutName(line []byte, name string) (value []byte, ok bool) {
	n := len(name)
	if len(line) <= n || line[n] != ':' || !bytes.EqualFold(line[:n], []byte(name)) {
		return nil, false
	}
	return bytes.Trim(line[n+1:], " \t\r"), true
}

// endLine takes note of a line that has ended, as it should.
func (c *headConn) endLine() {
	line := c.line[:min(c.length, len(c.line))]
	switch empty := c.length == len("\r"); {
	case !empty:
		c.begun = true
		c.noteBody(line)
	case c.begun:
		c.endHead()
	}
	c.length, c.last = 0, 0
}

// noteBody takes note of what a header line says of the body. A length that can't be
// read here is refused by fasthttp.
func (c *headConn) noteBody(line []byte) {
	switch lower(line[0]) {
	case 'c':
		if value, ok := cutName(line, "content-length"); ok {
			n, err := fasthttp.ParseUint(value)
			c.body, c.chunked = n, c.chunked || err != nil
		}
	case 't':
		if _, ok := cutName(line, "transfer-encoding"); ok {
			c.chunked = true
		}
	}
}

func (c *headConn) endHead() {
	switch {
	case c.chunked:
		c.state = headLost
	case c.body > 0:
		c.state = headBody
	default:
		c.begin()
	}
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
	if layer, ok := c.Conn.(interface{ head() *headConn }); ok {
		layer.head().idle = state == fasthttp.StateIdle
	}
}
