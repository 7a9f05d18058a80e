package server

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

const maxBody = 10_000

// large is a body that is larger than maxBody by n bytes.
func large(n int) string {
	return `{"` + marker + `":"` + strings.Repeat("x", maxBody+n-len(marker)-7) + `"}`
}

func TestBodyTooLarge(t *testing.T) {
	s := serve(t, Config{MaxBody: maxBody})
	half := fmt.Sprintf("%x\r\n%s\r\n", maxBody/2, strings.Repeat("x", maxBody/2))
	for name, text := range map[string]string{
		"by a byte":                   requestText("PUT", "/token", large(1)),
		"by much":                     requestText("PUT", "/token", large(500_000)),
		"of an unknown path":          requestText("PUT", "/"+marker, large(1)),
		"of a method without a body":  requestText("GET", "/healthz", large(1)),
		"of an unknown method":        requestText(marker, "/token", large(1)),
		"said, not sent":              head + "Content-Length: 10001\r\n\r\n",
		"said to be huge":             head + "Content-Length: 9223372036854775807\r\n\r\n{}",
		"in one chunk":                chunkedText("PUT", "/token", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(large(1)), large(1))),
		"in two chunks and a byte":    chunkedText("PUT", "/token", half+half+"1\r\nx\r\n0\r\n\r\n"),
		"in endless chunks":           chunkedText("PUT", "/token", strings.Repeat(half, 100)),
		"in single bytes, chunked":    chunkedText("PUT", "/token", strings.Repeat("1\r\n \r\n", 2*maxBody)),
		"in a chunk said, not sent":   chunkedText("PUT", "/token", "2711\r\n"),
		"in a chunk of greatest size": chunkedText("PUT", "/token", "7ffffffffffffff\r\n{}"),
	} {
		t.Run(name, func(t *testing.T) {
			c := s.dial(t)
			c.send(text)
			c.wantRefused(name, 413, "BodyTooLarge")
			s.wantWorking(t)
		})
	}
}

func TestBodyOfTheGreatestSize(t *testing.T) {
	s := serve(t, Config{MaxBody: maxBody})
	c := s.dial(t)
	body := func(n int) string { return `{"meta":{"a":"` + strings.Repeat("x", n-len(`{"meta":{"a":""}}`)) + `"}}` }
	text := body(maxBody)
	if r := c.do("POST", "/token", text); !isToken(r.body) {
		t.Errorf("POST of %d bytes: %v", len(text), r)
	}
	c.send(chunkedText("POST", "/token", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(text), text)))
	if r := c.receive("POST"); !isToken(r.body) {
		t.Errorf("POST of %d bytes in a chunk: %v", len(text), r)
	}
	c.wantOpen()
	c.do("POST", "/token", body(maxBody+1)).wantError(t, 413, "BodyTooLarge")
}

func TestDefaultMaxBody(t *testing.T) {
	s := serve(t, Config{})
	const limit = 64 << 10
	if r := s.do(t, "POST", "/token", `{"meta":{}}`+strings.Repeat(" ", limit-11)); !isToken(r.body) {
		t.Errorf("POST of 64 KiB: %v", r)
	}
	s.do(t, "POST", "/token", `{"meta":{}}`+strings.Repeat(" ", limit-10)).wantError(t, 413, "BodyTooLarge")
}

// A client that sends all before it reads gets the answer too, although the
// server has long since decided.
func TestRefusedWhileStillSending(t *testing.T) {
	s := serve(t, Config{MaxBody: maxBody})
	const size = 900_000 // more than what the sockets take in, less than lingerBytes
	body := strings.Repeat(marker, size/len(marker))
	for name, test := range map[string]struct {
		text   string
		status int
		code   string
	}{
		"too large":          {requestText("PUT", "/token", body), 413, "BodyTooLarge"},
		"too large, chunked": {chunkedText("PUT", "/token", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)), 413, "BodyTooLarge"},
		"too large, asked":   {requestText("PUT", "/token", body, "Expect: 100-continue"), 413, "BodyTooLarge"},
		"bad framing":        {head + "Transfer-Encoding: identity\r\n\r\n" + body, 400, "BadRequest"},
		"bad chunk":          {chunkedText("PUT", "/token", "x\r\n"+body), 400, "BadRequest"},
		"bad header":         {head + "X : y\r\nContent-Length: 900000\r\n\r\n" + body, 400, "BadRequest"},
		"headers too large":  {head + "X: " + body + "\r\n\r\n", 431, "HeadersTooLarge"},
	} {
		t.Run(name, func(t *testing.T) {
			c := s.dial(t)
			for rest := test.text; rest != ""; { // in pieces, so that the server's answer may come between
				piece := rest[:min(len(rest), 50_000)]
				rest = rest[len(piece):]
				c.send(piece)
			}
			c.wantRefused(name, test.status, test.code)
			s.wantWorking(t)
		})
	}
}

// A client that never stops sending is cut off.
func TestLingeringEnds(t *testing.T) {
	s := serve(t, Config{MaxBody: maxBody})
	c := s.dial(t)
	c.send(head + "Content-Length: 1000000000000\r\n\r\n")
	piece := strings.Repeat("x", 100_000)
	for {
		if _, err := io.WriteString(c.conn, piece); err != nil {
			if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
				t.Errorf("sent for %v and was not cut off", patience)
			}
			break
		}
	}
	s.wantWorking(t)
}

const endlessBytes = 10 * lingerBytes

// endless is a connection of a client that sends all the time.
type endless struct {
	net.Conn
	read       int
	halfClosed bool
	closed     bool
}

func (e *endless) Read(p []byte) (int, error) {
	n := min(len(p), endlessBytes-e.read)
	if n == 0 {
		return 0, io.EOF
	}
	e.read += n
	return n, nil
}

func (e *endless) CloseWrite() error               { e.halfClosed = true; return nil }
func (e *endless) SetReadDeadline(time.Time) error { return nil }
func (e *endless) Close() error                    { e.closed = true; return nil }

func TestLingeringTakesOnlySoMuch(t *testing.T) {
	for linger, want := range map[lingering]int{notLingering: 0, briefly: lingerBytes, fully: endlessBytes} {
		e := new(endless)
		c := conn{Conn: e, reaper: newReaper(Config{}.withDefaults()), index: absent}
		c.lingerLater(linger)
		if err := c.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
		if !e.closed || e.halfClosed != (linger != notLingering) || e.read != want {
			t.Errorf("lingering %d: closed %v, half closed %v, %d bytes read, want %d", linger, e.closed, e.halfClosed, e.read, want)
		}
	}
}

func TestExpectContinue(t *testing.T) {
	s := serve(t, Config{MaxBody: maxBody})
	body := `{"meta":{"a":1}}`
	for _, value := range []string{"100-continue", "100-Continue", "100-CONTINUE"} {
		c := s.dial(t)
		for _, text := range []string{
			requestText("POST", "/token", body, "Expect: "+value),
			chunkedText("POST", "/token", "10\r\n"+body+"\r\n0\r\n\r\n", "Expect: "+value),
		} {
			headers, body, _ := strings.Cut(text, "\r\n\r\n")
			c.send(headers + "\r\n\r\n")
			c.wantContinue()
			c.send(body)
			if r := c.receive("POST"); !isToken(r.body) {
				t.Errorf("after 100 Continue: %v, want a token", r)
			}
		}
		c.wantOpen()
	}
}

// wantContinue reads an interim answer, which has nothing to be cached.
func (c *client) wantContinue() {
	c.t.Helper()
	r, err := c.tryReceive("POST")
	if err != nil || r.status != 100 {
		c.t.Fatalf("interim answer %v, %v, want 100", r, err)
	}
}

// Not every client waits for leave to send.
func TestExpectContinueImpatient(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	c.send(requestText("POST", "/token", `{"meta":{}}`, "Expect: 100-continue"))
	c.wantContinue()
	if r := c.receive("POST"); !isToken(r.body) {
		t.Errorf("answer %v, want a token", r)
	}
	c.wantOpen()
}

func TestExpectContinueRefused(t *testing.T) {
	s := serve(t, Config{MaxBody: maxBody})
	for name, test := range map[string]struct {
		text   string
		status int
		code   string
	}{
		"too large":           {head + "Expect: 100-continue\r\nContent-Length: 10001\r\n\r\n", 413, "BodyTooLarge"},
		"too large and sent":  {requestText("PUT", "/token", large(1), "Expect: 100-continue"), 413, "BodyTooLarge"},
		"two lengths":         {head + "Expect: 100-continue\r\nContent-Length: 12\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "BadRequest"},
		"identity":            {head + "Expect: 100-continue\r\nTransfer-Encoding: identity\r\n\r\n", 400, "BadRequest"},
		"folded":              {head + "Expect: 100-continue\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\n", 400, "BadRequest"},
		"no Host":             {"PUT /token HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", 400, "BadRequest"},
		"bad length":          {head + "Expect: 100-continue\r\nContent-Length: x\r\n\r\n", 400, "BadRequest"},
		"HEAD, and too large": {"HEAD /token HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 10001\r\n\r\n", 413, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := s.dial(t)
			c.send(test.text)
			if method, _, _ := strings.Cut(test.text, " "); method == "HEAD" {
				if r := c.receive(method); r.status != test.status || r.body != "" || !r.closes {
					t.Errorf("answer %v, want %d", r, test.status)
				}
				return
			}
			c.wantRefused(name, test.status, test.code)
			s.wantWorking(t)
		})
	}
}

// How large a chunked body is shows only after leave was given.
func TestExpectContinueThenTooLarge(t *testing.T) {
	s := serve(t, Config{MaxBody: maxBody})
	c := s.dial(t)
	c.send(chunkedText("PUT", "/token", "", "Expect: 100-continue"))
	c.wantContinue()
	c.send(fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(large(1)), large(1)))
	c.wantRefused("chunk", 413, "BodyTooLarge")
	s.wantWorking(t)
}

// HTTP/1.0 knows of no interim answers, and other expectations are not ours.
func TestExpectIgnored(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial(t)
	c.send("POST /token HTTP/1.0\r\nExpect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"meta\":{}}")
	if r := c.receive("POST"); !isToken(r.body) {
		t.Errorf("HTTP/1.0 with Expect: %v", r)
	}
}
