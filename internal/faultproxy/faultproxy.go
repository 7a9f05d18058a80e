// Package faultproxy is a TCP proxy for tests that cuts connections, or falls silent.
//
// # Basics
//
// [Start] starts one before a server. It passes all bytes on until it is told to cut after so
// many in one direction, to fall silent, or to lead to another server.
package faultproxy

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Proxy is a proxy on a free loopback port.
type Proxy struct {
	Address string

	ln       net.Listener
	to       atomic.Pointer[string]
	left     [2]atomic.Int64 // bytes that still pass, by Direction
	isSilent atomic.Bool
	cut      atomic.Int64

	all   sync.WaitGroup
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// Direction is that of bytes: those of requests go to the server, those of answers come back.
type Direction int

const (
	Requests Direction = iota
	Answers
)

// Start starts a proxy before the server at an address. It lives until the end of t.
func Start(t testing.TB, to string) *Proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Address: ln.Addr().String(), ln: ln, conns: make(map[net.Conn]struct{})}
	p.LeadTo(to)
	p.Mend()
	p.all.Go(p.accept)
	t.Cleanup(func() {
		ln.Close()
		p.CutAll()
		p.all.Wait()
	})
	return p
}

// LeadTo has new connections lead to another server.
func (p *Proxy) LeadTo(address string) { p.to.Store(&address) }

// CutAfter has the next connection that has more than n bytes to pass in a direction cut
// behind them. All connections count together. Then new ones are whole again.
func (p *Proxy) CutAfter(d Direction, n int64) { p.left[d].Store(n) }

// Mend lets all bytes pass.
func (p *Proxy) Mend() {
	const plenty = 1 << 50
	for d := range p.left {
		p.left[d].Store(plenty)
	}
}

// Cuts returns how many connections were cut by CutAfter.
func (p *Proxy) Cuts() int64 { return p.cut.Load() }

// Silence has connections stay open with nothing passing any more, if on says so. What comes
// meanwhile is lost.
func (p *Proxy) Silence(on bool) { p.isSilent.Store(on) }

// CutAll ends all connections.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

func (p *Proxy) accept() {
	for {
		down, err := p.ln.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", *p.to.Load())
		if err != nil {
			down.Close()
			continue
		}
		p.keep(down, up)
		p.all.Go(func() { p.pass(up, down, &p.left[Requests]) })
		p.all.Go(func() { p.pass(down, up, &p.left[Answers]) })
	}
}

func (p *Proxy) keep(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
}

// end closes connections.
func (p *Proxy) end(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		c.Close()
		delete(p.conns, c)
	}
}

// pass copies until one side ends or nothing may pass any more.
func (p *Proxy) pass(to, from net.Conn, left *atomic.Int64) {
	defer p.end(to, from)
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		for p.isSilent.Load() {
			if _, err := from.Read(buf); err != nil {
				return
			}
		}
		if rest := left.Add(-int64(n)); rest < 0 {
			p.cut.Add(1)
			p.Mend()
			to.Write(buf[:max(int64(n)+rest, 0)])
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
