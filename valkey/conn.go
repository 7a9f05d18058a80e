package valkey

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"github.com/redis/rueidis"
)

// options returns how the client is set, on connections of ours.
func (s *Store) options(processors int) rueidis.ClientOption {
	o := s.config.options(processors)
	o.DialCtxFn = func(ctx context.Context, address string, d *net.Dialer, config *tls.Config) (c net.Conn, err error) {
		if config != nil {
			c, err = (&tls.Dialer{NetDialer: d, Config: config}).DialContext(ctx, "tcp", address)
		} else {
			c, err = d.DialContext(ctx, "tcp", address)
		}
		if err != nil {
			return nil, err
		}
		s.connections.Add(1)
		return &conn{Conn: c, closed: sync.OnceFunc(func() { s.connections.Add(-1) })}, nil
	}
	return o
}

// conn is a connection to an engine. What fails before the engine has said anything has failed
// while dialling: no call was sent yet.
type conn struct {
	net.Conn
	answered atomic.Bool
	closed   func()
}

// errClients says that the engine has closed a connection since it has too many.
var errClients = errors.New("max number of clients reached")

func (c *conn) Read(b []byte) (n int, err error) {
	n, err = c.Conn.Read(b)
	if c.answered.Load() {
		return n, err
	}
	if bytes.HasPrefix(b[:n], []byte("-ERR "+errClients.Error())) {
		return 0, dialError(errClients)
	}
	if n > 0 {
		c.answered.Store(true)
		return n, err
	}
	return n, dialError(err)
}

func (c *conn) Write(b []byte) (n int, err error) {
	if n, err = c.Conn.Write(b); err != nil && !c.answered.Load() {
		err = dialError(err)
	}
	return n, err
}

func dialError(err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{Op: "dial", Net: "tcp", Err: err}
}

func (c *conn) Close() error {
	c.closed()
	return c.Conn.Close()
}
