package server

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// head is a request line and what a request needs, to which the faults are added.
const head = "PUT /token HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"

// brokenHTTP are requests that are answered with 400 BadRequest, and whose
// connection is closed: nobody can tell where the next request would begin.
var brokenHTTP = map[string]string{
	"two Content-Length":              head + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
	"two equal Content-Length":        head + "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
	"two Content-Length, other case":  head + "Content-Length: 2\r\nCONTENT-length: 2\r\n\r\n{}",
	"two Content-Length in one":       head + "Content-Length: 2, 2\r\n\r\n{}",
	"two Content-Length, one of GET":  "GET /healthz HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
	"Content-Length negative":         head + "Content-Length: -2\r\n\r\n{}",
	"Content-Length with plus":        head + "Content-Length: +2\r\n\r\n{}",
	"Content-Length hexadecimal":      head + "Content-Length: 0x2\r\n\r\n{}",
	"Content-Length with fraction":    head + "Content-Length: 2.0\r\n\r\n{}",
	"Content-Length with blank":       head + "Content-Length: 1 0\r\n\r\n{}",
	"Content-Length empty":            head + "Content-Length:\r\n\r\n",
	"Content-Length a word":           head + "Content-Length: " + marker + "\r\n\r\n",
	"Content-Length of 40 digits":     head + "Content-Length: 1" + strings.Repeat("0", 39) + "\r\n\r\n{}",
	"Transfer-Encoding gzip":          head + "Transfer-Encoding: gzip\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
	"Transfer-Encoding gzip, chunked": head + "Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
	"Transfer-Encoding chunked twice": head + "Transfer-Encoding: chunked, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
	"two Transfer-Encoding":           head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
	"two Transfer-Encoding, identity": head + "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
	"Transfer-Encoding identity":      head + "Transfer-Encoding: identity\r\n\r\n",
	"Transfer-Encoding Identity":      head + "transfer-encoding: Identity\r\n\r\n{}",
	"Transfer-Encoding empty":         head + "Transfer-Encoding:\r\n\r\n",
	"Transfer-Encoding a word":        head + "Transfer-Encoding: x" + marker + "\r\n\r\n",
	"Transfer-Encoding of HTTP/1.0":   "PUT /token HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",

	"chunk size not hexadecimal": head + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n",
	"chunk size negative":        head + "Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
	"chunk size with plus":       head + "Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n",
	"chunk size with 0x":         head + "Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
	"chunk size empty":           head + "Transfer-Encoding: chunked\r\n\r\n\r\n{}\r\n0\r\n\r\n",
	"chunk size of 40 digits":    head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("f", 40) + "\r\n{}\r\n",
	"chunk size of 16 digits":    head + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}\r\n",
	"chunk size that overflows":  head + "Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n0\r\n\r\n",
	"chunk size with blank":      head + "Transfer-Encoding: chunked\r\n\r\n 2\r\n{}\r\n0\r\n\r\n",
	"chunk size with bare LF":    head + "Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n",
	"chunk extension with LF":    head + "Transfer-Encoding: chunked\r\n\r\n2;a=b\n{}\r\n0\r\n\r\n",
	"chunk longer than its size": head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{ }\r\n0\r\n\r\n",
	"chunk without its end":      head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}0\r\n\r\n",
	"chunk ended by bare LF":     head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\n0\r\n\r\n",
	"last chunk without its end": head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx\r\n\r\n",
	"trailer that frames":        head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nContent-Length: 2\r\n\r\n",

	"no Host":                     "PUT /token HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
	"no header at all":            "GET /healthz HTTP/1.1\r\n\r\n",
	"two Hosts, one empty":        "GET /healthz HTTP/1.1\r\nHost:\r\nHost: " + marker + "\r\n\r\n",
	"two empty Hosts":             "GET /healthz HTTP/1.1\r\nHost:\r\nX: y\r\nHost: \r\n\r\n",
	"empty Host of another name":  "GET /healthz HTTP/1.1\r\nHosts:\r\n\r\n",
	"blank before an empty Host":  "GET /healthz HTTP/1.1\r\nHost :\r\n\r\n",
	"two Hosts":                   "GET /healthz HTTP/1.1\r\nHost: test\r\nHost: " + marker + "\r\n\r\n",
	"Host with a blank":           "GET /healthz HTTP/1.1\r\nHost: a " + marker + "\r\n\r\n",
	"Host in an absolute target":  "GET http://test/healthz HTTP/1.1\r\n\r\n",
	"folded header":               head + "X: a\r\n " + marker + "\r\nContent-Length: 2\r\n\r\n{}",
	"folded header, with tab":     head + "X: a\r\n\tb\r\nContent-Length: 2\r\n\r\n{}",
	"folded header, empty":        head + "X: a\r\n \r\nContent-Length: 2\r\n\r\n{}",
	"folded header, bare LF":      head + "X: a\n b\r\nContent-Length: 2\r\n\r\n{}",
	"folded Content-Length":       head + "Content-Length:\r\n 2\r\n\r\n{}",
	"folded Transfer-Encoding":    head + "Transfer-Encoding:\r\n chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
	"folded last header":          head + "Content-Length: 2\r\nX: a\r\n b\r\n\r\n{}",
	"first header begins blank":   "GET /healthz HTTP/1.1\r\n Host: test\r\n\r\n",
	"blank before the colon":      head + "Content-Length : 2\r\n\r\n{}",
	"tab before the colon":        head + "Content-Length\t: 2\r\n\r\n{}",
	"blank before another colon":  head + "X : " + marker + "\r\nContent-Length: 2\r\n\r\n{}",
	"header without a colon":      head + marker + "\r\n\r\n",
	"header without a name":       head + ": " + marker + "\r\n\r\n",
	"null byte in a value":        head + "X: a\x00" + marker + "\r\n\r\n",
	"null byte in a name":         head + "X\x00" + marker + ": a\r\n\r\n",
	"null byte in the target":     "GET /healthz\x00" + marker + " HTTP/1.1\r\nHost: test\r\n\r\n",
	"null byte in the method":     "G\x00ET /healthz HTTP/1.1\r\nHost: test\r\n\r\n",
	"carriage return in a value":  head + "X: a\r" + marker + "\r\n\r\n",
	"letter beyond ASCII in name": head + "Xé: a\r\n\r\n",

	"no target":              "GET HTTP/1.1\r\nHost: test\r\n\r\n",
	"no version":             "GET /healthz?" + marker + "\r\nHost: test\r\n\r\n",
	"blank in the target":    "GET /healthz " + marker + " HTTP/1.1\r\nHost: test\r\n\r\n",
	"no slash in the target": "GET healthz HTTP/1.1\r\nHost: test\r\n\r\n",
	"other protocol":         "GET /healthz FTP/1.1\r\nHost: test\r\n\r\n",
	"version in lower case":  "GET /healthz http/1.1\r\nHost: test\r\n\r\n",
	"no HTTP":                "{\"token\": \"" + marker + "\"}\r\n\r\n",
	"TLS":                    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
	"HTTP/2":                 "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}

// init adds each way to give a length in two ways.
func init() {
	for _, coding := range []string{"chunked", "Chunked", "CHUNKED", "identity", "Identity"} {
		for _, name := range []string{"Transfer-Encoding", "transfer-encoding", "TRANSFER-ENCODING"} {
			for _, closing := range []string{"", "Connection: close\r\n", "Connection: keep-alive\r\n"} {
				te, cl, wire := name+": "+coding+"\r\n", "Content-Length: 12\r\n", "\r\n2\r\n{}\r\n0\r\n\r\n"
				brokenHTTP[fmt.Sprintf("length, then %s: %s, %s", name, coding, closing)] = head + closing + cl + te + wire
				brokenHTTP[fmt.Sprintf("%s: %s, then length, %s", name, coding, closing)] = head + te + cl + closing + wire
				brokenHTTP[fmt.Sprintf("%s: %s around length, %s", name, coding, closing)] = head + closing + te + "X: y\r\n" + strings.ToLower(cl) + wire
				brokenHTTP[fmt.Sprintf("%s: %s, length 0, %s", name, coding, closing)] = head + te + "Content-Length: 0\r\n" + closing + wire
			}
		}
	}
}

func TestBrokenHTTP(t *testing.T) {
	s := serve(t, Config{})
	for name, text := range brokenHTTP {
		c := s.dial(t)
		c.send(text)
		c.wantRefused(name, 400, "BadRequest")
		s.wantWorking(t)
	}
}

// bareLF are requests with a line that ends in a bare LF. Nothing more is waited for.
var bareLF = map[string]string{
	"only them":             "GET /healthz HTTP/1.1\nHost: test\n\n",
	"a line alone":          "GET /healthz HTTP/1.1\n",
	"request line":          "GET /healthz HTTP/1.1\nHost: test\r\n\r\n",
	"a header":              "GET /healthz HTTP/1.1\r\nHost: test\r\nX: y\nZ: z\r\n\r\n",
	"the first header":      "GET /healthz HTTP/1.1\r\nHost: test\nX: y\r\n\r\n",
	"the last header":       "GET /healthz HTTP/1.1\r\nHost: test\r\nX: y\n\r\n",
	"the empty line":        "GET /healthz HTTP/1.1\r\nHost: test\r\n\n",
	"an empty line before":  "\nGET /healthz HTTP/1.1\r\nHost: test\r\n\r\n",
	"after an empty line":   "\r\n\nGET /healthz HTTP/1.1\r\nHost: test\r\n\r\n",
	"before a body":         "PUT /token HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: 2\n\r\n{}",
	"after a CR":            "GET /healthz HTTP/1.1\r\nHost: test\r\nX: y\r\r\n\n",
	"in the place of Host":  "GET /healthz HTTP/1.1\r\nHost:\n\r\n",
	"a letter and no more":  "G\n",
	"nothing but line ends": "\n\n\n",
}

func TestBareLF(t *testing.T) {
	s := serve(t, Config{}) // with 10 seconds for a request
	for name, text := range bareLF {
		for _, first := range []string{"", requestText("GET", "/healthz", "")} {
			c := s.dial(t)
			if first != "" {
				c.send(first)
				c.receive("GET")
			}
			start := time.Now()
			c.send(text)
			c.wantRefused(name, 400, "BadRequest")
			if waited := time.Since(start); waited > 5*time.Second {
				t.Errorf("%s: refused after %v, want at once", name, waited)
			}
		}
		s.wantWorking(t)
	}
	// In single bytes, and in a pipeline where no line is left open.
	for _, text := range []string{"GET /healthz HTTP/1.1\r\nHost: test\n", "GET /healthz HTTP/1.1\n"} {
		c := s.dial(t)
		for i := range len(text) {
			c.send(text[i : i+1])
			time.Sleep(time.Millisecond)
		}
		c.wantRefused(text, 400, "BadRequest")
	}
	c := s.dial(t)
	c.send(requestText("GET", "/healthz", "") + bareLF["a header"])
	if r := c.receive("GET"); r.status != 200 {
		t.Errorf("the first of a pipeline: %v", r)
	}
	c.wantRefused("a header, in a pipeline", 400, "BadRequest")
	s.wantWorking(t)
}

// A bare LF in a body is nobody's business, wherever it arrives.
func TestLineFeedsInBodies(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	text := requestText("POST", "/token", "{\n\"meta\":\n\n{}}\n")
	for _, at := range []int{len(text), strings.Index(text, "\r\n\r\n") + 4, strings.Index(text, "\r\n\r\n") + 3, len(text) - 2} {
		c.send(text[:at])
		time.Sleep(10 * time.Millisecond)
		c.send(text[at:])
		if r := c.receive("POST"); !isToken(r.body) {
			t.Errorf("%q, cut at %d: %v, want a token", text, at, r)
		}
	}
}

// Who has no name for the server says so.
func TestEmptyHost(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	for _, line := range []string{"Host:", "host:", "HOST: ", "Host: \t  "} {
		for _, others := range []string{"", "X: y\r\n"} {
			for _, text := range []string{
				"POST /token HTTP/1.1\r\n" + line + "\r\n" + others + "Content-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"meta\":{}}",
				"POST /token HTTP/1.1\r\n" + others + "Content-Type: application/json\r\nContent-Length: 11\r\n" + line + "\r\n\r\n{\"meta\":{}}",
			} {
				c.send(text)
				if r := c.receive("POST"); !isToken(r.body) {
					t.Fatalf("%q: %v, want a token", text, r)
				}
			}
		}
	}
	for _, at := range []int{20, 24, 27, 28, 29, 30, 31} {
		text := "GET /healthz HTTP/1.1\r\nHost: \r\nX: y\r\n\r\n"
		c.send(text[:at])
		time.Sleep(10 * time.Millisecond)
		c.send(text[at:])
		if r := c.receive("GET"); r.status != 200 {
			t.Fatalf("%q, cut at %d: %v, want 200", text, at, r)
		}
	}
	c.wantOpen()
}

// What follows a broken request is not taken for another one.
func TestNothingIsSmuggled(t *testing.T) {
	store := newMishap(t)
	s := serve(t, Config{Store: store})
	tok := s.dial(t).create(`{}`)
	store.set(func(call string) error {
		t.Errorf("%s was called", call)
		return nil
	})
	inner := requestText("PUT", "/token", tokenBody(tok))
	for _, text := range []string{
		head + fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", len(inner)+5) + inner,
		head + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + inner,
		head + "Transfer-Encoding: identity\r\n\r\n" + inner,
		head + "Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n" + inner,
		head + "Content-Length: 0\r\nContent-Length: 5\r\n\r\n" + inner,
		head + "X: y\r\n Transfer-Encoding: chunked\r\n\r\n" + inner,
		head + "Content-Length: 0\r\nX : y\r\n\r\n" + inner,
		head + "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n" + inner,
		"GET /healthz HTTP/1.1\r\n\r\n" + inner,
	} {
		c := s.dial(t)
		c.send(text)
		c.wantRefused(text, 400, "BadRequest")
	}
	store.clear()
	s.dial(t).exchange(tok, "")
}

func TestHTTP10(t *testing.T) {
	s := serve(t, Config{})
	for _, host := range []string{"", "Host: test\r\n"} {
		c := s.dial(t)
		c.send("POST /token HTTP/1.0\r\n" + host + "Content-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"meta\":{}}")
		if r := c.receive("POST"); r.status != 200 || !isToken(r.body) {
			t.Errorf("HTTP/1.0 with %q: %v, want a token", host, r)
		}
		c.wantClosed()
	}
	c := s.dial(t)
	for range 2 {
		c.send("GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
		if r := c.receive("GET"); r.status != 200 || r.header.Get("Connection") != "keep-alive" {
			t.Errorf("HTTP/1.0 with keep-alive: %v", r)
		}
	}
	c.wantOpen()
}

func TestConnectionClose(t *testing.T) {
	s := serve(t, Config{})
	for _, value := range []string{"close", "Close", "x, close"} {
		c := s.dial(t)
		if r := c.do("GET", "/healthz", "", "Connection: "+value); r.status != 200 || !r.closes {
			t.Errorf("Connection: %s: %v", value, r)
		}
		c.wantClosed()
	}
}

func TestChunkedBodies(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial(t)
	for _, wire := range []string{
		"b\r\n{\"meta\":{}}\r\n0\r\n\r\n",
		"B\r\n{\"meta\":{}}\r\n0\r\n\r\n",
		"0000b\r\n{\"meta\":{}}\r\n000\r\n\r\n",
		"1\r\n{\r\n6\r\n\"meta\"\r\n1\r\n:\r\n3\r\n{}}\r\n0\r\n\r\n",
		"b;name=value\r\n{\"meta\":{}}\r\n0;last\r\n\r\n",
		"b\r\n{\"meta\":{}}\r\n0\r\nX-Trailer: " + marker + "\r\n\r\n",
	} {
		c.send(chunkedText("POST", "/token", wire))
		if r := c.receive("POST"); r.status != 200 || !isToken(r.body) {
			t.Errorf("chunked body %q: %v, want a token", wire, r)
		}
	}
	c.send(chunkedText("POST", "/token", "0\r\n\r\n"))
	c.receive("POST").wantError(t, 400, "MalformedJSON")
	c.wantOpen()
}

// A request may arrive in any pieces.
func TestSingleBytes(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial(t)
	for _, text := range []string{
		requestText("POST", "/token", `{"meta":{"a":"é"}}`),
		chunkedText("POST", "/token", "5\r\n{\"met\r\n6\r\na\":{}}\r\n0\r\n\r\n"),
	} {
		for i := range len(text) {
			c.send(text[i : i+1])
		}
		if r := c.receive("POST"); !isToken(r.body) {
			t.Errorf("%q in single bytes: %v", text, r)
		}
	}
	c.wantOpen()
}

// Lines end with CRLF, and empty ones before a request are skipped.
func TestLineEnds(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial(t)
	c.send("\r\n\r\n" + requestText("POST", "/token", `{"meta":{}}`))
	if r := c.receive("POST"); !isToken(r.body) {
		t.Errorf("request after empty lines: %v", r)
	}
	c.wantOpen()
}

func TestHeadersTooLarge(t *testing.T) {
	s := serve(t, Config{})
	long := strings.Repeat(marker, headerBuffer/len(marker)+1)
	for name, text := range map[string]string{
		"target":       "GET /" + long + " HTTP/1.1\r\nHost: test\r\n\r\n",
		"value":        head + "X: " + long + "\r\n\r\n",
		"name":         head + long + ": x\r\n\r\n",
		"many":         head + strings.Repeat("X: y\r\n", headerBuffer/6) + "\r\n",
		"without end":  head + strings.Repeat("X: y\r\n", 10*headerBuffer),
		"only letters": strings.Repeat(marker, 50_000),
		"query":        "GET /healthz?" + strings.Repeat(marker, 10_000) + " HTTP/1.1\r\nHost: test\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := s.dial(t)
			c.send(text)
			c.wantRefused(name, 431, "HeadersTooLarge")
			s.wantWorking(t)
		})
	}
	c := s.dial(t)
	if r := c.do("GET", "/healthz", "", "X: "+long[:headerBuffer-200]); r.status != 200 {
		t.Errorf("headers that just fit: %v", r)
	}
	c.wantOpen()
}

// Answers come in the order of the requests, whatever they are.
func TestPipeline(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial(t)
	tok := c.create(`{}`)
	steps := []struct {
		text string
		want int
		code string
	}{
		{requestText("POST", "/token", `{"meta":{}}`), 200, ""},
		{requestText("PUT", "/"+marker, `{"`), 404, "NotFound"},
		{requestText("PUT", "/token", tokenBody(tok)), 200, ""},
		{requestText("PUT", "/token", tokenBody(tok)), 200, "InvalidToken"},
		{requestText("GET", "/token", ""), 405, "MethodNotAllowed"},
		{requestText("PUT", "/token", `{"`+marker), 400, "MalformedJSON"},
		{chunkedText("POST", "/token", "b\r\n{\"meta\":{}}\r\n0\r\n\r\n"), 200, ""},
		{requestText("PUT", "/token", `[]`), 422, "InvalidRequest"},
		{requestText("PUT", "/token", `{}`, "Content-Type: x"), 415, "UnsupportedMediaType"},
		{requestText("DELETE", "/token", tokenBody(somewhere)), 202, ""},
		{requestText("GET", "/healthz", ""), 200, ""},
	}
	var all strings.Builder
	for range 10 {
		for _, step := range steps {
			all.WriteString(step.text)
		}
	}
	all.WriteString(brokenHTTP["no Host"] + requestText("GET", "/healthz", ""))
	go io.WriteString(c.conn, all.String())
	for round := range 10 {
		for i, step := range steps {
			r := c.receive("PUT")
			code := step.code
			if i == 2 && round > 0 { // spent in the first round
				code = "InvalidToken"
			}
			if got := strings.TrimPrefix(r.body, `{"Err":"`); r.status != step.want || code != "" && !strings.HasPrefix(got, code) {
				t.Fatalf("round %d, answer %d: %v, want %d %s", round, i, r, step.want, code)
			}
		}
	}
	c.wantRefused("the last", 400, "BadRequest")
	s.wantWorking(t)
}
