package server

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/valyala/fasthttp"
)

// lingering is how long a connection that we end takes what the client still
// sends. Closed with unread input, a socket resets the connection, and the client
// might lose the last answers.
type lingering int

const (
	notLingering lingering = iota
	briefly                // a client that was refused may send no end of a body
	fully                  // until the client has all answers
)

// What a client may still send, and for how long, after it was refused.
const (
	lingerBytes = 1 << 20
	lingerTime  = time.Second
)

// closeAfter ends the connection with the present answer. What the client has
// sent behind the request is not carried out.
func closeAfter(ctx *fasthttp.RequestCtx) {
	ctx.SetConnectionClose()
	lingerAfter(ctx, fully)
}

// lingerAfter lets a connection that is about to be closed linger.
func lingerAfter(ctx *fasthttp.RequestCtx, how lingering) {
	if c, ok := ctx.Conn().(*conn); ok {
		c.lingerLater(how)
	}
}

// lingerLater begins the time that the last answer and lingering have together.
func (c *conn) lingerLater(how lingering) {
	c.linger = max(c.linger, how)
	c.lingerEnd = c.reaper.answerEnd()
}

// lingerRefused lets the connection of a refused request linger. At a stop there
// may be answers before the refusal that the client has still to read.
func (s *Server) lingerRefused(ctx *fasthttp.RequestCtx) {
	how := briefly
	if s.draining.Load() {
		how = fully
	}
	lingerAfter(ctx, how)
}

// drain ends our side of the connection, unless that is dead, and takes what the
// client still sends.
func (c *conn) drain() {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return
	}
	if c.linger == notLingering && c.reaper.stopping.Load() && unsent(c.Conn) > 0 {
		c.lingerLater(fully) // answers are under way to a client that may still send requests
	}
	if c.linger == notLingering || !c.reaper.release(c) || half.CloseWrite() != nil {
		return
	}
	if c.linger == briefly {
		c.SetReadDeadline(time.Now().Add(lingerTime))
		io.CopyN(io.Discard, c.Conn, lingerBytes)
		return
	}
	c.lingerFully()
}

// lingerFully ends when the client closes, when the time for an answer is over, or
// when all has arrived and the client is silent: some notice that a connection was
// closed only when they need it again.
func (c *conn) lingerFully() {
	for time.Now().Before(c.lingerEnd) {
		c.SetReadDeadline(earlier(c.lingerEnd, time.Now().Add(lingerTime)))
		n, err := io.Copy(io.Discard, c.Conn)
		if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 && unsent(c.Conn) == 0 {
			return
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
