package faultproxy

import (
	"io"
	"net"
	"testing"
	"time"
)

// startEcho starts a server that sends back what it gets.
func startEcho(t *testing.T) (address string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return ln.Addr().String()
}

// echo sends a text through the proxy, and returns what of it comes back.
func echo(t *testing.T, p *Proxy, text string) string {
	t.Helper()
	c, err := net.Dial("tcp", p.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(c, text)
	got := make([]byte, len(text))
	n, _ := io.ReadFull(c, got)
	return string(got[:n])
}

func TestCutAfter(t *testing.T) {
	p := Start(t, startEcho(t))
	const text = "hello"
	for _, d := range []Direction{Requests, Answers} {
		for n := range int64(len(text)) {
			p.CutAfter(d, n)
			if got, want := echo(t, p, text), text[:n]; got != want && (d == Answers || len(got) > len(want)) {
				t.Errorf("cut after %d bytes of direction %d: %q, want %q", n, d, got, want)
			}
			if got := echo(t, p, text); got != text {
				t.Errorf("the connection after the cut one: %q, want %q", got, text)
			}
		}
	}
	if got, want := p.Cuts(), int64(2*len(text)); got != want {
		t.Errorf("Cuts = %d, want %d", got, want)
	}
}

func TestLeadTo(t *testing.T) {
	p := Start(t, "127.0.0.1:1")
	if got := echo(t, p, "x"); got != "" {
		t.Errorf("without a server: %q", got)
	}
	p.LeadTo(startEcho(t))
	if got := echo(t, p, "x"); got != "x" {
		t.Errorf("with another server: %q, want x", got)
	}
}

func TestSilence(t *testing.T) {
	p := Start(t, startEcho(t))
	p.Silence(true)
	c, err := net.Dial("tcp", p.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "x")
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("Read = %d, error %v, want nothing in time", n, err)
	}
	p.CutAll()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("Read = no error once all is cut")
	}
}
