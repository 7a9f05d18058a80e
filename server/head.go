package server

import (
	"bytes"
	"errors"
	"net"
	"slices"
	"strconv"
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
// In a pipeline it finds the next head behind the body of the one before. Of framing
// that it can't read it is sure that fasthttp refuses it, or it is lost: what follows is
// not looked at until the connection is idle. Never may it take for a head what is part
// of a body to fasthttp, since it changes heads.
//
// All of it belongs to the goroutine that serves the connection.
type headConn struct {
	net.Conn
	state headState
	idle  bool   // the next Read begins a head
	later []byte // was received, and is for the next Read

	// The last head that one Read brought whole, if it is no longer than maxKnown, and the
	// length of its body. A connection's requests have the same head more often than not,
	// and the same bytes mean the same again.
	known     []byte
	knownBody int

	// Of the head that is open:
	begun   bool // it has a line that is not empty
	chunked bool
	body    int // its Content-Length; in headBody, what is left of that or of the chunk
	// The line that is open: what is kept of it, whether that is not all that matters,
	// and its last byte.
	line [keptLine]byte
	kept int
	long bool
	last byte
}

type headState int

const (
	headOpen      headState = iota // in a head, or before one
	headBody                       // in the body behind it, or in a chunk of that
	headChunkSize                  // in the line before a chunk
	headChunkEnd                   // in the empty line behind it
	headTrailer                    // behind the last chunk
	headBroken                     // the next Read fails
	headLost                       // nothing is looked at
)

// keptLine is how much of a line is kept: enough for a Host without a value and for a
// Content-Length.
const keptLine = 64

// maxKnown bounds what a connection keeps of a head, in bytes.
const maxKnown = 512

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
	if c.later = c.later[n:]; len(c.later) == 0 {
		c.later = nil
	}
	return n, nil
}

// begin says that a head is what comes next.
func (c *headConn) begin() {
	c.state, c.idle, c.begun, c.chunked, c.body = headOpen, false, false, false, 0
	c.beginLine()
}

func (c *headConn) beginLine() { c.kept, c.long, c.last = 0, false, 0 }

// check looks at what was received, and returns how much of it is for this Read. What
// follows a bare LF is for none; the byte in its place is no part of any request.
func (c *headConn) check(b []byte) int {
	start := -1 // of the head that is open, if b has that
	for at := 0; at < len(b) && c.state != headLost; {
		if c.state == headBody {
			at += c.skipBody(len(b) - at)
			continue
		}
		if c.atStart() {
			if n := c.skipKnown(b[at:]); n > 0 {
				at += n
				continue
			}
			start = at
		}
		end := at + bytes.IndexByte(b[at:], '\n')
		ended := end >= at
		if !ended {
			end = len(b)
		}
		c.extendLine(b[at:end])
		switch {
		case c.state == headOpen && c.isEmptyHost():
			return c.fillHost(b, end-len("\r"))
		case !ended:
			return len(b)
		case c.last != '\r':
			b[end] = 0
			c.state, c.later = headBroken, nil
			return end + 1
		}
		at = end + 1
		if c.endLine() && start >= 0 {
			c.keep(b[start:at])
		}
	}
	return len(b)
}

// atStart reports whether nothing of a head has come, but for empty lines.
func (c *headConn) atStart() bool {
	return c.state == headOpen && !c.begun && c.kept == 0
}

// skipKnown goes past the head that b begins with, if that is the known one, and returns
// its length, else 0.
func (c *headConn) skipKnown(b []byte) int {
	if !bytes.HasPrefix(b, c.known) {
		return 0
	}
	if c.body = c.knownBody; c.body > 0 {
		c.state = headBody
	}
	return len(c.known)
}

// keep makes a head that has just ended the known one, if its length is all that there is
// to say of its body.
func (c *headConn) keep(head []byte) {
	if len(head) <= maxKnown && (c.state == headBody || c.state == headOpen) {
		c.known, c.knownBody = append(c.known[:0], head...), c.body
	}
}

// skipBody goes on by up to n bytes of a body.
func (c *headConn) skipBody(n int) int {
	n = min(n, c.body)
	switch c.body -= n; {
	case c.body > 0:
	case c.chunked:
		c.state = headChunkEnd
	default:
		c.begin()
	}
	return n
}

// extendLine adds to the line. Where there is no more room, the blanks at the end of what
// is kept are dropped: behind the colon and before a value they mean nothing. In a name
// they do: fasthttp takes it for another one.
func (c *headConn) extendLine(part []byte) {
	if len(part) == 0 {
		return
	}
	c.last = part[len(part)-1]
	for len(part) > 0 && !c.long {
		if c.kept == len(c.line) {
			c.kept = len(bytes.TrimRight(c.line[:], " \t"))
			if c.long = c.kept == len(c.line) || bytes.IndexByte(c.line[:c.kept], ':') < 0; c.long {
				c.kept = len(c.line)
				return
			}
		}
		n := copy(c.line[c.kept:], part)
		c.kept, part = c.kept+n, part[n:]
	}
}

// fillHost gives a Host, whose line ends with the CR at end, a value. That and the rest
// are for the next Read, as there may be no room in this one.
func (c *headConn) fillHost(b []byte, end int) int {
	c.later = slices.Concat([]byte("-"), b[end:], c.later)
	c.kept -= len("\r")
	return end
}

// isEmptyHost reports whether the line, up to its CR, is a Host without a value. The CR
// came just now: with an earlier one the Host would have got its value then.
func (c *headConn) isEmptyHost() bool {
	if c.last != '\r' || lower(c.line[0]) != 'h' || c.long {
		return false
	}
	value, ok := cutName(c.line[:c.kept], "host")
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

// endLine takes note of a line that has ended, as it should, and reports whether it was
// the last one of a head.
func (c *headConn) endLine() (ended bool) {
	line := c.line[:c.kept]
	empty := !c.long && string(line) == "\r"
	switch c.state {
	case headOpen:
		if !empty {
			c.begun = true
			c.noteBody(line)
		} else if ended = c.begun; ended {
			c.endHead()
		}
	case headChunkSize:
		c.beginChunk(line)
	case headChunkEnd:
		if c.state = headChunkSize; !empty {
			c.state = headLost // fasthttp refuses it
		}
	case headTrailer:
		if empty {
			c.begin()
		}
	}
	c.beginLine()
	return ended
}

// noteBody takes note of what a header line says of the body.
func (c *headConn) noteBody(line []byte) {
	switch lower(line[0]) {
	case 'c':
		if value, ok := cutName(line, "content-length"); ok {
			n, err := fasthttp.ParseUint(value)
			if c.body = n; err != nil || c.long {
				c.body = unknown
			}
		}
	case 't':
		if _, ok := cutName(line, "transfer-encoding"); ok {
			c.chunked = true
		}
	}
}

// unknown is the length of a body that can't be read here. What is no number fasthttp
// refuses; but a number may also be too long to be kept.
const unknown = -1

func (c *headConn) endHead() {
	switch {
	case c.body == unknown:
		c.state = headLost
	case c.chunked:
		c.state, c.body = headChunkSize, 0
	case c.body > 0:
		c.state = headBody
	default:
		c.begin()
	}
}

// beginChunk takes the size of a chunk from the line before it, where nothing but a blank
// or an extension may follow it.
func (c *headConn) beginChunk(line []byte) {
	digits := line
	if i := bytes.IndexAny(line, "; \t\r"); i >= 0 {
		digits = line[:i]
	}
	size, err := strconv.ParseUint(string(digits), 16, 31)
	switch {
	case err != nil || c.long:
		c.state = headLost
	case size == 0:
		c.state = headTrailer
	default:
		c.state, c.body = headBody, int(size)
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
