package server

import (
	"fmt"
	"io"
	"net"
	"time"

	"github.com/valyala/fasthttp"
)

// SpareConnections returns how many connections beyond a Config.MaxConnections a
// server with one listener has open for a moment: those that are being refused,
// the newest one, and the one that is closed for it. Each further listener has
// these two as well.
func SpareConnections(maxConnections int) int { return refusals(maxConnections) + 2 }

// refusals returns how many clients at a time get time to read that they are refused.
func refusals(maxConnections int) int {
	return max(minRefused, min(maxConnections/8, maxRefused))
}

// Of refusing a connection.
const (
	minRefused, maxRefused = 4, 64
	// refusalWait is how long a refused client may take to send its request, without
	// which some would not expect an answer.
	refusalWait = 100 * time.Millisecond
	// refusalBytes is how much a refused client may send, and refusalTime for how long,
	// until it has read the answer.
	refusalBytes = 256 << 10
	refusalTime  = time.Second
	// Where there are callers, a new connection waits for up to unknownWait to be let in
	// while requests are in our hands that will show whether their callers are known. It
	// looks every unknownTick. Meanwhile no connection is closed that came within
	// youngTime.
	unknownWait = time.Second
	youngTime   = 100 * time.Millisecond
	unknownTick = time.Millisecond
)

// admit lets a new connection in, or closes it. Another one may have to go for it.
func (s *Server) admit(nc net.Conn) *conn {
	c := &conn{Conn: nc, tls: tlsOf(nc), reaper: s.reaper}
	c.stranger.Store(s.guard != nil)
	c.born = s.reaper.clock()
	victim, ok := s.reaper.letIn(c)
	if victim != nil {
		s.countShed("closed")
		victim.leave()
	}
	switch {
	case ok:
		return c
	case s.reaper.stopping.Load():
		refuseAtOnce(nc, errStopping)
	default:
		s.countShed("refused")
		s.turnAway(nc)
	}
	return nil
}

// leave ends a connection that was shed. Its request may be under way: if it comes
// in time it is refused, and else the connection is closed without a word.
func (c *conn) leave() {
	switch {
	case c.waiting: // it has a request, and gets its answer at once if there is time for that
		if !c.told {
			cut(c.Conn)
		}
		c.wakeUp()
	case c.told:
		c.limitRead(refusalWait)
	default:
		defer cut(c.Conn)
		if !isLayered(c.Conn) {
			writeLast(c.Conn, errCrowded, refusalPatience(c.Conn))
		}
	}
}

func (c *conn) wakeUp() {
	c.reaper.mu.Lock()
	defer c.reaper.mu.Unlock()
	c.wakeUpLocked()
}

// countShed counts a connection that was closed because there are too many.
func (s *Server) countShed(what string) {
	n := s.shed.Add(1)
	if s.shedLogged.allow(time.Since(s.reaper.start)) {
		s.log.Warn("too many connections", "limit", s.reaper.max, "newest", what, "shed", n)
	}
}

// turnAway tells a client that nothing was carried out, and closes its connection.
// If many are being told, there is no time for one more to read it.
func (s *Server) turnAway(nc net.Conn) {
	if isLayered(nc) || !s.reaper.beginRefusal(nc) {
		refuseAtOnce(nc, errCrowded)
		return
	}
	go func() {
		defer recovering(s.log)
		defer s.reaper.endRefusal(nc)
		refuseConn(nc)
	}()
}

// refuseConn waits for the client's request, answers, and lets the client read it.
func refuseConn(nc net.Conn) {
	defer nc.Close()
	nc.SetReadDeadline(time.Now().Add(refusalWait))
	nc.Read(make([]byte, 512))
	if writeLast(nc, errCrowded, refusalWait) == nil {
		discard(nc)
	}
}

// discard takes what a refused client sends, until it has read the answer.
func discard(nc net.Conn) {
	nc.SetReadDeadline(time.Now().Add(refusalTime))
	io.CopyN(io.Discard, nc, refusalBytes)
}

// refuseAtOnce answers without waiting for the client. What has come is read before
// the close, which would be a reset otherwise. Nothing is told in the middle of a
// handshake.
func refuseAtOnce(nc net.Conn, why error) {
	defer cut(nc)
	if isLayered(nc) {
		return
	}
	writeLast(nc, why, refusalPatience(nc))
	buf := make([]byte, headerBuffer)
	for n := 0; n < refusalBytes && unread(nc) > 0; {
		read, err := nc.Read(buf)
		if n += read; err != nil {
			return
		}
	}
}

// refusalPatience is how long the write of an answer may take that should take no
// time. It takes none where nothing lies before it, and then even a busy machine
// should come to it.
func refusalPatience(nc net.Conn) time.Duration {
	if unsent(nc) > 0 {
		return time.Millisecond
	}
	return refusalWait
}

// writeLast writes the answer to whatever the client will ask, and ends our side.
func writeLast(nc net.Conn, why error, d time.Duration) error {
	nc.SetWriteDeadline(time.Now().Add(d))
	a, again := answerTo(why), ""
	if a.code == codeUnavailable {
		again = "Retry-After: " + retryAfter + "\r\n"
	}
	_, err := fmt.Fprintf(nc, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"+
		"Cache-Control: no-store\r\n%sConnection: close\r\n\r\n%s", a.status, fasthttp.StatusMessage(a.status), len(a.body), again, a.body)
	if half, ok := nc.(interface{ CloseWrite() error }); ok && err == nil {
		err = half.CloseWrite()
	}
	return err
}

// beginRefusal registers a connection that is being refused, if there is room.
func (r *reaper) beginRefusal(nc net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.beginRefusalLocked(nc)
}

// beginRefusalLocked requires r.mu.
func (r *reaper) beginRefusalLocked(nc net.Conn) bool {
	if r.closed || len(r.refused) >= refusals(r.max) {
		return false
	}
	r.refused[nc] = struct{}{}
	return true
}

func (r *reaper) endRefusal(nc net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.refused, nc)
	r.signalEmptyLocked()
}
