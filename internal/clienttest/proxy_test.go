package clienttest

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenserver/client"
	"tokenserver/shard"
)

// proxy passes bytes on to a server, until it cuts.
type proxy struct {
	address string
	up      string
	ln      net.Listener
	wg      sync.WaitGroup

	requests, answers atomic.Int64 // bytes that still pass; below 0 the connection is cut
	silent            atomic.Bool  // connections stay open, and nothing passes
	mu                sync.Mutex
	conns             []net.Conn
}

func startProxy(t testing.TB, up string) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{address: ln.Addr().String(), up: up, ln: ln}
	p.mend()
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		ln.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

// mend lets all bytes pass.
func (p *proxy) mend() {
	const plenty = 1 << 50
	p.requests.Store(plenty)
	p.answers.Store(plenty)
}

func (p *proxy) accept() {
	for {
		down, err := p.ln.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", p.up)
		if err != nil {
			down.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, down, up)
		p.mu.Unlock()
		p.wg.Go(func() { p.pass(up, down, &p.requests) })
		p.wg.Go(func() { p.pass(down, up, &p.answers) })
	}
}

// pass copies until one side ends or nothing may pass any more. Then a new connection
// is whole again.
func (p *proxy) pass(to, from net.Conn, left *atomic.Int64) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		for p.silent.Load() {
			if _, err := from.Read(buf); err != nil {
				return
			}
		}
		if rest := left.Add(-int64(n)); rest < 0 {
			to.Write(buf[:max(int64(n)+rest, 0)])
			p.mend()
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// TestCutAnywhere: the connection to a server breaks at each byte of a request and of
// its answer. What a call says is what has happened, and no session is lost.
func TestCutAnywhere(t *testing.T) {
	n := startNode(t, shard.Config{})
	p := startProxy(t, n.address)
	direct := newClient(t, client.Config{Addresses: []string{n.address}})
	through := newClient(t, client.Config{Addresses: []string{p.address}, MaxInFlight: 1})
	const most = 400 // bytes; longer than request and answer of a call
	for at := int64(0); at < most; at++ {
		for name, left := range map[string]*atomic.Int64{"request": &p.requests, "answer": &p.answers} {
			token, err := direct.Create(t.Context(), client.NewSession{Meta: []byte(`{"user":1}`)})
			if err != nil {
				t.Fatal(err)
			}
			through.Ready(t.Context()) // the last connection may have been cut
			left.Store(at)
			x, err := through.Exchange(t.Context(), token, client.Patch{})
			p.mend()
			_, unspent := direct.Validate(t.Context(), token)
			_, lives := direct.Validate(t.Context(), x.Token)
			switch {
			case err == nil && lives == nil && errors.Is(unspent, client.ErrInvalidToken):
			case errors.Is(err, client.ErrOutcomeUnknown):
			default:
				t.Errorf("cut at byte %d of the %s: error = %v; the old token: %v, the new one: %v", at, name, err, unspent, lives)
			}
		}
	}
}

// TestHalfOpen: connections stay open and nothing passes any more. Calls end at their
// deadline, and go on as soon as there are other connections.
func TestHalfOpen(t *testing.T) {
	n := startNode(t, shard.Config{})
	p := startProxy(t, n.address)
	c := newClient(t, client.Config{Addresses: []string{p.address}, Timeout: 200 * time.Millisecond})
	token, err := c.Create(t.Context(), client.NewSession{Meta: []byte(`{}`)})
	if err != nil {
		t.Fatal(err)
	}
	p.silent.Store(true)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			begun := time.Now()
			_, err := c.Validate(t.Context(), token)
			if took := time.Since(begun); err == nil || took > 5*time.Second {
				t.Errorf("a call took %v and ended with %v", took, err)
			}
		})
	}
	wg.Wait()
	p.silent.Store(false)
	late := newClient(t, client.Config{Addresses: []string{p.address}})
	for _, c := range []*client.Client{c, late} {
		var err error
		for begun := time.Now(); time.Since(begun) < 10*time.Second; {
			if _, err = c.Validate(t.Context(), token); err == nil {
				break
			}
		}
		if err != nil {
			t.Errorf("once bytes pass again: %v", err)
		}
	}
}
