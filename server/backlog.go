package server

import (
	"net"
	"sync/atomic"
	"time"
)

// maxWait is how old what a client has sent may be when its connection is accepted from a
// backlog. The client has given up by then, most likely, and an exchange that was carried
// out would cost the session its token.
const maxWait = 5 * time.Second

// backlog looks at connections that may have waited, while no server ran, on a listener
// that outlives the process.
type backlog struct {
	// waited is how many connections the first Accepts return that had been there before
	// the server was.
	waited atomic.Int64
}

// newBacklog looks at what waits on a listener.
func newBacklog(ln net.Listener) *backlog {
	b := new(backlog)
	b.waited.Store(int64(waiting(ln)))
	return b
}

// isStale says whether nobody may wait any more for the answer to what was sent on a
// connection that was accepted just now: the client has closed it, or the request is too
// old. A client of TCP that has closed only its own side can't be told from one that is
// gone, and is taken for that if its connection has waited. What was sent over TLS is no
// request: that comes after the handshake, for which the client has to be there.
func (b *backlog) isStale(nc net.Conn) bool {
	waited := b.waited.Add(-1) >= 0
	if isLayered(nc) {
		return false
	}
	return peerState(nc).isStale(waited, unread(nc))
}

// peer is what is known of the other side of a connection.
type peer struct {
	gone   bool          // there is nobody
	closed bool          // it sends nothing more
	age    time.Duration // of the last that it sent; 0 if that is not known
}

func (p peer) isStale(waited bool, unread int) bool {
	return p.gone || p.closed && waited || p.age > maxWait && unread > 0
}

// refuseStale tells a client, if there is one, that nothing was carried out.
func (s *Server) refuseStale(nc net.Conn) {
	n := s.stale.Add(1)
	if s.staleLogged.allow(time.Since(s.reaper.start)) {
		s.log.Warn("requests have waited too long to be carried out, before the server ran", "refused", n)
	}
	refuseAtOnce(nc, errStale)
}
