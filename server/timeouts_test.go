package server

import (
	"io"
	"strings"
	"testing"
	"time"

	"tokenserver/shard"
)

// hurry is how long clients have in tests that let the time run out.
const hurry = 500 * time.Millisecond

// slow are beginnings of requests that never come to their end.
var slow = map[string]string{
	"request line":          "PUT /tok",
	"one letter":            "P",
	"empty lines":           "\r\n",
	"headers":               "PUT /token HTTP/1.1\r\nHost: test\r\nX-" + marker,
	"end of headers":        head + "Content-Length: 2\r\n",
	"body":                  head + "Content-Length: 100\r\n\r\n{\"" + marker,
	"body, not begun":       head + "Content-Length: 100\r\n\r\n",
	"chunked, not begun":    head + "Transfer-Encoding: chunked\r\n\r\n",
	"chunk size":            head + "Transfer-Encoding: chunked\r\n\r\n1",
	"end of the chunk size": head + "Transfer-Encoding: chunked\r\n\r\n10\r",
	"chunk extension":       head + "Transfer-Encoding: chunked\r\n\r\n10;" + marker,
	"chunk":                 head + "Transfer-Encoding: chunked\r\n\r\n10\r\n{",
	"end of the chunk":      head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}",
	"next chunk":            head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
	"trailer":               head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
	"name of a trailer":     head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX",
	"nothing at all":        "",
}

func TestSlowRequests(t *testing.T) {
	s := serve(t, Config{RequestTimeout: hurry})
	for name, text := range slow {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			c := s.dial(t)
			c.send(text)
			if name == "empty lines" || name == "nothing at all" { // no request has begun, so that there is none to answer
				c.wantClosed()
				if waited := time.Since(start); waited < hurry/2 {
					t.Errorf("closed after %v, want %v", waited, hurry)
				}
				return
			}
			c.wantRefused(name, 408, "RequestTimeout")
			if waited := time.Since(start); waited < hurry/2 {
				t.Errorf("closed after %v, want %v", waited, hurry)
			}
			s.wantWorking(t)
		})
	}
}

// Bytes that come one at a time do not extend the time.
func TestDrip(t *testing.T) {
	s := serve(t, Config{RequestTimeout: hurry})
	for name, start := range map[string]string{
		"headers": "PUT /token HTTP/1.1\r\nHost: test\r\nX-Drip: ",
		"body":    head + "Content-Length: 1000\r\n\r\n",
		"chunk":   head + "Transfer-Encoding: chunked\r\n\r\n1000\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := s.dial(t)
			c.send(start)
			go func() {
				for { // until the connection is closed
					if _, err := io.WriteString(c.conn, "x"); err != nil {
						return
					}
					time.Sleep(hurry / 30)
				}
			}()
			begun := time.Now()
			c.wantRefused(name, 408, "RequestTimeout")
			if waited := time.Since(begun); waited > 10*hurry {
				t.Errorf("closed after %v, want %v", waited, hurry)
			}
		})
	}
}

// While some are slow, others are served.
func TestSlowRequestsHoldUpNobody(t *testing.T) {
	s := serve(t, Config{RequestTimeout: patience})
	for range 200 {
		for _, text := range []string{slow["headers"], slow["body"], slow["chunk"]} {
			s.dial(t).send(text)
		}
	}
	start := time.Now()
	for range 20 {
		s.wantWorking(t)
	}
	if took := time.Since(start); took > patience/2 {
		t.Errorf("20 good sequences beside slow requests took %v", took)
	}
}

// Each request has its own time, which does not run while a connection is idle.
func TestTimeBeginsWithTheRequest(t *testing.T) {
	s := serve(t, Config{RequestTimeout: hurry})
	c := s.dial(t)
	for range 3 {
		c.wantOpen()
		time.Sleep(hurry / 2)
	}
	c.wantOpen()
	c.send(slow["body"])
	c.wantRefused("second request", 408, "RequestTimeout")
}

func TestSlowAfterContinue(t *testing.T) {
	s := serve(t, Config{RequestTimeout: hurry})
	c := s.dial(t)
	c.send(head + "Expect: 100-continue\r\nContent-Length: 10\r\n\r\n")
	c.wantContinue()
	c.wantRefused("body that never comes", 408, "RequestTimeout")
}

func TestIdleTimeout(t *testing.T) {
	s := serve(t, Config{IdleTimeout: hurry})
	c := s.dial(t)
	c.wantOpen()
	start := time.Now()
	c.wantClosed() // without a word
	if waited := time.Since(start); waited < hurry/2 || waited > 10*hurry {
		t.Errorf("an idle connection was closed after %v, want %v", waited, hurry)
	}
	s.wantWorking(t)
}

// A client that takes no answers does not keep the server's buffers.
func TestSlowReader(t *testing.T) {
	const size = 1 << 20
	s := serve(t, Config{AnswerTimeout: hurry, MaxBody: 2 * size, Store: newStore(t, shard.Config{MaxMeta: 2 * size})})
	c := s.dial(t)
	tok := c.create(`{"a":"` + strings.Repeat("x", size) + `"}`)
	c.send(strings.Repeat(requestText("POST", "/token/validate", tokenBody(tok)), 50))
	eventually(t, "the connection is closed", func() bool { return s.http.GetOpenConnectionsCount() == 0 })
	s.wantWorking(t)
}

// The client may end its side after a request, and none of it is lost.
func TestHalfClosed(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial(t)
	c.send(requestText("POST", "/token", `{"meta":{}}`))
	c.conn.(interface{ CloseWrite() error }).CloseWrite()
	if r := c.receive("POST"); !isToken(r.body) {
		t.Errorf("answer to a client that has ended its side: %v", r)
	}
	c.wantClosed()
}

// A connection may break at any byte of a request: nothing is done, or all.
func TestBrokenOff(t *testing.T) {
	s := serve(t, Config{})
	live := s.dial(t)
	tok := live.create(`{}`)
	text := requestText("PUT", "/token", tokenBody(tok))
	for n := range len(text) {
		c := s.dial(t)
		c.send(text[:n])
		c.conn.(interface{ CloseWrite() error }).CloseWrite()
		if r, err := c.tryReceive("PUT"); err == nil && r.status != 400 {
			t.Errorf("request broken off after %q: %v", text[:n], r)
		}
		c.conn.Close()
	}
	live.exchange(tok, "")
	s.wantWorking(t)
}
