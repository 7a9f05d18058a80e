package admin

import (
	"net"
	"net/http"
	"slices"
	"sync"
)

// idleShare is the part of the connections beyond which none stays open without a request.
const idleShare = 0.75

// idleLimit closes connections that wait for another request, the one that has waited longest
// first, while more than most are open. A browser keeps several for a page, so that a few of
// them would keep probes and scrapes out.
type idleLimit struct {
	most int

	mu   sync.Mutex
	open map[net.Conn]struct{} // but those that are being closed
	idle []net.Conn
}

func newIdleLimit(maxConnections int) *idleLimit {
	return &idleLimit{most: int(idleShare * float64(maxConnections)), open: make(map[net.Conn]struct{})}
}

// changed is called with each new state of a connection.
func (l *idleLimit) changed(c net.Conn, state http.ConnState) {
	for _, c := range l.excess(c, state) {
		c.Close()
	}
}

// excess returns what has to be closed.
func (l *idleLimit) excess(c net.Conn, state http.ConnState) (closing []net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = slices.DeleteFunc(l.idle, func(other net.Conn) bool { return other == c })
	switch state {
	case http.StateNew:
		l.open[c] = struct{}{}
	case http.StateIdle:
		l.idle = append(l.idle, c)
	case http.StateClosed, http.StateHijacked:
		delete(l.open, c)
	}
	for len(l.open) > l.most && len(l.idle) > 0 {
		closing = append(closing, l.idle[0])
		delete(l.open, l.idle[0])
		l.idle = l.idle[1:]
	}
	return closing
}
