package valkey

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// options returns how the client is set, on connections of ours.
func (s *Store) options(processors int) rueidis.ClientOption {
	o := s.config.options(processors)
	o.DialCtxFn = func(ctx context.Context, address string, d *net.Dialer, config *tls.Config) (c net.Conn, err error) {
		if config != nil {
			c, err = (&tls.Dialer{NetDialer: d, Config: config}).DialContext(ctx, "tcp", address)
			if !isDialError(err) {
				err = dialError(err) // of the handshake
			}
		} else {
			c, err = d.DialContext(ctx, "tcp", address)
		}
		if err != nil {
			return nil, err
		}
		s.connections.Add(1)
		return &conn{
			Conn: c, closed: sync.OnceFunc(func() { s.connections.Add(-1) }),
			meet: func(c net.Conn) error { return s.meet(c, address) },
		}, nil
	}
	return o
}

// conn is a connection to an engine. What fails while it is made has failed before any call was
// sent over it.
type conn struct {
	net.Conn
	made    atomic.Bool
	refused atomic.Pointer[error] // why no call may be sent over it
	meet    func(net.Conn) error  // says whether it leads to the right engine
	closed  func()
}

// errClients says that the engine has closed a connection since it has too many.
var errClients = errors.New("max number of clients reached")

// errGreeting says that the engine has accepted a connection, but not answered on it in time. It
// is not [os.ErrDeadlineExceeded], which the client would take for the end of a call's time.
var errGreeting = errors.New("the engine did not answer on a new connection in time")

// SetDeadline takes in that the connection is made: the client takes the deadline away before it
// sends calls. It does not look at the error, so that Read and Write return it.
func (c *conn) SetDeadline(t time.Time) error {
	if t.IsZero() && !c.made.Load() {
		if err := c.greet(); err != nil {
			c.refused.Store(&err)
			return err
		}
		c.made.Store(true)
	}
	return c.Conn.SetDeadline(t)
}

// greet has the engine say who it is.
func (c *conn) greet() error {
	err := c.Conn.SetDeadline(time.Now().Add(ioTimeout))
	if err == nil {
		err = c.meet(c.Conn)
	}
	return dialError(err)
}

func (c *conn) Read(b []byte) (n int, err error) {
	if refused := c.refused.Load(); refused != nil {
		return 0, *refused
	}
	n, err = c.Conn.Read(b)
	if c.made.Load() {
		return n, err
	}
	if bytes.HasPrefix(b[:n], []byte("-ERR "+errClients.Error())) {
		return 0, dialError(errClients)
	}
	return n, dialError(err)
}

func (c *conn) Write(b []byte) (n int, err error) {
	if refused := c.refused.Load(); refused != nil {
		return 0, *refused
	}
	if n, err = c.Conn.Write(b); !c.made.Load() {
		err = dialError(err)
	}
	return n, err
}

// isDialError says that an error comes from making a connection.
func isDialError(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

func dialError(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errGreeting
	}
	return &net.OpError{Op: "dial", Net: "tcp", Err: err}
}

func (c *conn) Close() error {
	c.closed()
	return c.Conn.Close()
}
