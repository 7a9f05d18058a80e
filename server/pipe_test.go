package server

import (
	"crypto/tls"
	"net"
	"sync"
	"testing"
)

// pipeListener accepts pipes, which buffer nothing: what a client does not read
// blocks whoever writes it.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

func (l *pipeListener) dial(t testing.TB) *client {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close() })
	l.conns <- theirs
	return newClient(t, ours)
}

// servePipes lets a server answer on pipes too.
func (s *served) servePipes(t testing.TB) *pipeListener { return s.servePipesOver(t, nil) }

// servePipesOver is servePipes over TLS, unless that is nil.
func (s *served) servePipesOver(t testing.TB, with *tls.Config) *pipeListener {
	t.Helper()
	ln := newPipeListener()
	var serving net.Listener = ln
	if with != nil {
		serving = tls.NewListener(ln, with)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(serving) }()
	t.Cleanup(func() {
		s.shutdown(t)
		if err := <-served; err != nil {
			t.Errorf("Serve() = %v", err)
		}
	})
	return ln
}
