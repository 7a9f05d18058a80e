package server

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

// tlsOf returns what lies under a connection, if that is TLS, or nil.
func tlsOf(nc net.Conn) *tls.Conn {
	layer, ok := nc.(interface{ head() *headConn })
	if !ok {
		return nil
	}
	c, _ := layer.head().Conn.(*tls.Conn)
	return c
}

// firstPhase is what a new connection does.
func (c *conn) firstPhase() phase {
	if c.tls != nil {
		return handshaking
	}
	return fresh
}

// handshake agrees on TLS. If that fails, nobody is there who could be answered in TLS.
func (c *conn) handshake() error {
	if err := c.tls.Handshake(); err != nil {
		c.failHandshake(err)
		return io.EOF
	}
	c.agreed = true
	if c.enter(fresh, c.reaper.request) == dead {
		return io.EOF
	}
	return nil
}

// failHandshake counts a handshake that failed, unless the client just went away.
func (c *conn) failHandshake(err error) {
	if errors.Is(err, io.EOF) {
		return
	}
	c.reaper.badHandshakes.Add(1)
	c.reaper.log.Debug("TLS handshake failed", "error", err, "remote", c.RemoteAddr().String())
	if plain, ok := errors.AsType[tls.RecordHeaderError](err); ok && plain.Conn != nil && looksLikeHTTP(plain.RecordHeader) {
		refusePlain(plain.Conn)
	}
}

// looksLikeHTTP says whether what should have begun a handshake begins a request.
func looksLikeHTTP(begin [5]byte) bool {
	for i, b := range begin {
		if (b < 'A' || 'Z' < b) && (i < len("GET") || b != ' ' && b != '/') {
			return false
		}
	}
	return true
}

// refusePlain tells a client that it does not speak TLS, and lets it read that.
func refusePlain(nc net.Conn) {
	if writeLast(nc, errPlain, refusalWait) == nil {
		discard(nc)
	}
}

// limitRead gives a connection the time d to send its request. A handshake writes while
// it reads.
func (c *conn) limitRead(d time.Duration) {
	end := time.Now().Add(d)
	if c.tls != nil {
		c.SetDeadline(end)
		return
	}
	c.SetReadDeadline(end)
}
