package server

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
)

// chunkConn is a connection that each Read takes up to size bytes from.
type chunkConn struct {
	net.Conn
	r    io.Reader
	size int
}

func (c chunkConn) Read(b []byte) (int, error) { return c.r.Read(b[:min(len(b), c.size)]) }

// A pipeline means the same wherever its packets and the reads of it end.
func TestHeadsOfPipelines(t *testing.T) {
	const (
		get    = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
		hosted = "GET /healthz HTTP/1.1\r\nHost:\r\nX: y\r\n\r\n"
		filled = "GET /healthz HTTP/1.1\r\nHost:-\r\nX: y\r\n\r\n"
		post   = "POST /token HTTP/1.1\r\nContent-Length: 9\r\nHost: a\r\n\r\n{\nHost:\r\n"
		longer = "POST /token HTTP/1.1\r\nHost: a\r\nContent-Length: 42\r\n\r\n"
		chunks = "POST /token HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{\nHost:\r\n\r\n00a;x=y\r\n\nHost:\r\n\r\n\r\n0\r\nHost:\r\n\r\n"
		long   = "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"
	)
	for _, tt := range []struct {
		name, in, want string
		broken         bool
	}{
		{"two", get + get, get + get, false},
		{"empty Hosts", hosted + hosted + hosted, filled + filled + filled, false},
		{"empty Host with blanks", get + "GET / HTTP/1.1\r\nhOST: \t \r\n\r\n", get + "GET / HTTP/1.1\r\nhOST: \t -\r\n\r\n", false},
		{"what looks like one in a body", post + hosted, post + filled, false},
		{"the same heads again", post + post + "\r\n" + post + get + get + hosted, post + post + "\r\n" + post + get + get + filled, false},
		{"the same head, and one more line", get + get[:len(get)-2] + "Content-Length: 7\r\n\r\nHost:\r\n" + hosted, get + get[:len(get)-2] + "Content-Length: 7\r\n\r\nHost:\r\n" + filled, false},
		{"the same head of no body behind one with a body", get + post + get + hosted, get + post + get + filled, false},
		{"the same chunked head", chunks + chunks + hosted, chunks + chunks + filled, false},
		{"the same head, broken", post + post[:len(post)-11] + "\n" + get, post + post[:len(post)-11] + "\x00", true},
		{"the same head behind one with a longer body", longer + get + "Host:\r\n\n" + get + get + hosted, longer + get + "Host:\r\n\n" + get + get + filled, false},
		{"the same head, whose body begins like the head behind it before", longer + get + "Host:\r\n\n" + get + longer + get + "Host:\r\n\n" + hosted, longer + get + "Host:\r\n\n" + get + longer + get + "Host:\r\n\n" + filled, false},
		{"the same head in a line that began before", get + "\r" + get + "\n" + get, get + "\r" + get + "\x00", true},
		{"empty line behind a body", post + "\r\n" + hosted, post + "\r\n" + filled, false},
		{"long line", "GET / HTTP/1.1\r\n" + long + "Host:\r\n\r\n" + hosted, "GET / HTTP/1.1\r\n" + long + "Host:-\r\n\r\n" + filled, false},
		{"chunks and trailers", hosted + chunks + hosted, filled + chunks + filled, false},
		{"no chunks", "PUT / HTTP/1.1\r\nTransfer-Encoding: x\r\n\r\nq\r\n\nHost:\r\n", "PUT / HTTP/1.1\r\nTransfer-Encoding: x\r\n\r\nq\r\n\nHost:\r\n", false},
		{"chunk without an end", "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n\nHost:\r\n", "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n\nHost:\r\n", false},
		{"broken size of a chunk", "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\n{", "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\x00", true},
		{"broken trailer", "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n", "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\x00", true},
		{"many blanks before no Host", "GET / HTTP/1.1\r\nHost:" + strings.Repeat(" ", 200) + "\r\n\r\n", "GET / HTTP/1.1\r\nHost:" + strings.Repeat(" ", 200) + "-\r\n\r\n", false},
		{"blanks to the last byte that is kept", "GET / HTTP/1.1\r\nHost:" + strings.Repeat(" ", 58) + "\r\n\r\n", "GET / HTTP/1.1\r\nHost:" + strings.Repeat(" ", 58) + "-\r\n\r\n", false},
		{"blanks in the name of a length", "GET / HTTP/1.1\r\nContent" + strings.Repeat(" ", 57) + "-Length: 30\r\n\r\n" + hosted, "GET / HTTP/1.1\r\nContent" + strings.Repeat(" ", 57) + "-Length: 30\r\n\r\n" + filled, false},
		{"blanks in the name of a coding", "GET / HTTP/1.1\r\nTransfer" + strings.Repeat(" ", 56) + "-Encoding: chunked\r\n\r\n" + hosted, "GET / HTTP/1.1\r\nTransfer" + strings.Repeat(" ", 56) + "-Encoding: chunked\r\n\r\n" + filled, false},
		{"nothing but blanks", "GET / HTTP/1.1\r\n" + strings.Repeat(" ", 64) + "\r\nHost:\r\n\r\n" + get, "GET / HTTP/1.1\r\n" + strings.Repeat(" ", 64) + "\r\nHost:-\r\n\r\n" + get, false},
		{"many blanks before a length", "PUT / HTTP/1.1\r\nContent-Length:" + strings.Repeat(" ", 99) + "9\r\n\r\n{\nHost:\r\n" + hosted, "PUT / HTTP/1.1\r\nContent-Length:" + strings.Repeat(" ", 99) + "9\r\n\r\n{\nHost:\r\n" + filled, false},
		{"many zeros in a length", "PUT / HTTP/1.1\r\nContent-Length: " + strings.Repeat("0", 99) + "9\r\n\r\n{\nHost:\r\n" + hosted, "PUT / HTTP/1.1\r\nContent-Length: " + strings.Repeat("0", 99) + "9\r\n\r\n{\nHost:\r\n" + hosted, false},
		{"length with a zero more than is kept", "PUT / HTTP/1.1\r\nContent-Length: " + strings.Repeat("0", 47) + "9\r\n\r\n{\nHost:\r\n", "PUT / HTTP/1.1\r\nContent-Length: " + strings.Repeat("0", 47) + "9\r\n\r\n{\nHost:\r\n", false},
		{"broken request line", get + "GET / HTTP/1.1\nHost: a\r\n\r\n" + get, get + "GET / HTTP/1.1\x00", true},
		{"broken header behind a body", post + "GET / HTTP/1.1\r\nHost: a\n\r\n", post + "GET / HTTP/1.1\r\nHost: a\x00", true},
		{"broken empty line", get + "\n" + get, get + "\x00", true},
		{"broken behind an empty Host", hosted + "GET / HTTP/1.1\n", filled + "GET / HTTP/1.1\x00", true},
	} {
		for received := 1; received <= len(tt.in)+1; received++ {
			for _, size := range []int{1, 2, 3, 7, 40, 4096} {
				got, err := readAllBy(&headConn{Conn: chunkConn{r: strings.NewReader(tt.in), size: received}}, size)
				if got != tt.want || errors.Is(err, errBareLF) != tt.broken {
					t.Errorf("%s, received by %d, read by %d: %q, %v, want %q, broken: %v", tt.name, received, size, got, err, tt.want, tt.broken)
				}
			}
		}
	}
}

// Heads mean what they mean when they come byte by byte, when none is known whole.
func FuzzHeads(f *testing.F) {
	const get, post = "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{\nHost:\r\n"
	f.Add(get+get+post+post+get, 4096)
	f.Add(post+post[:30]+get, 60)
	f.Add("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n0\r\n\r\n"+get, 30)
	f.Fuzz(func(t *testing.T, in string, size int) {
		if bare := strings.Count(in, "\r") - strings.Count(in, "\r\n"); size < 1 || bare > 0 {
			t.Skip() // a bare CR is the end of what came, or is not
		}
		// All of it once more: what was known is met again.
		in += in
		want, wantErr := readAllBy(&headConn{Conn: chunkConn{r: strings.NewReader(in), size: 1}}, 4096)
		got, err := readAllBy(&headConn{Conn: chunkConn{r: strings.NewReader(in), size: size}}, 4096)
		if got != want || err != wantErr {
			t.Errorf("%q received by %d: %q, %v, want %q, %v", in, size, got, err, want, wantErr)
		}
	})
}

// A head is known if it is short, and its length is all that there is to say of its body.
// What is lost once is lost again.
func TestKnownHeads(t *testing.T) {
	const get, put = "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "PUT / HTTP/1.1\r\n"
	zeros := put + "Content-Length: " + strings.Repeat("0", keptLine) + "8\r\n\r\n"
	sized := func(n int) string {
		return put + "X: " + strings.Repeat("y", n-len(put)-len("X: \r\n\r\n")) + "\r\n\r\n"
	}
	for _, tt := range []struct{ name, head, body, want string }{
		{"no body", get, "", get},
		{"a body", put + "Content-Length: 8\r\n\r\n", "\nHost:\r\n", put + "Content-Length: 8\r\n\r\n"},
		{"behind an empty line", "\r\n" + get, "", get},
		{"as long as may be", sized(maxKnown), "", sized(maxKnown)},
		{"longer", sized(maxKnown + 1), "", ""},
		{"chunked", put + "Transfer-Encoding: chunked\r\n\r\n", "8\r\n\nHost:\r\n\r\n0\r\n\r\n", ""},
		{"a length that is not kept", zeros, "\nHost:\r\n", ""},
	} {
		c := &headConn{}
		for range 3 {
			c.Conn, c.idle = chunkConn{r: strings.NewReader(tt.head + tt.body), size: 4096}, true
			got, err := readAllBy(c, 4096)
			if got != tt.head+tt.body || err != nil {
				t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.head+tt.body)
			}
			if got := string(c.known); got != tt.want {
				t.Errorf("%s: known is %q, want %q", tt.name, got, tt.want)
			}
		}
	}
}

// readAllBy reads up to size bytes at a time until an error, nil for the end.
func readAllBy(r io.Reader, size int) (string, error) {
	var all strings.Builder
	b := make([]byte, size)
	for {
		n, err := r.Read(b)
		all.Write(b[:n])
		if err == io.EOF {
			return all.String(), nil
		} else if err != nil {
			return all.String(), err
		}
	}
}

// Bytes that come with an error are looked at too.
func TestHeadWithError(t *testing.T) {
	c := &headConn{Conn: chunkConn{r: iotest.DataErrReader(strings.NewReader("GET / HTTP/1.1\r\nHost:\r\n\r\n")), size: 4096}}
	got, err := readAllBy(c, 4096)
	if want := "GET / HTTP/1.1\r\nHost:-\r\n\r\n"; got != want || err != nil {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

func TestHeadsOfPipelinesAreServed(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	const empty = "GET /healthz HTTP/1.1\r\nHost:\r\n\r\n"
	create := requestText("POST", "/token", `{"meta":{}}`)
	c.send(empty + create + "\r\n" + empty + create + create + "GET /healthz HTTP/1.1\nHost: a\r\n\r\n")
	for i, method := range []string{"GET", "POST", "GET", "POST", "POST"} {
		if r := c.receive(method); r.status != 200 {
			t.Fatalf("request %d: %v, want 200", i, r)
		}
	}
	c.wantRefused("a bare LF at the end of a pipeline", 400, "BadRequest")
}

// A length that is longer than what is kept of a line must not make a head of a body.
func TestLongLengthsAreNoHeads(t *testing.T) {
	s := serve(t, Config{})
	inner := requestText("DELETE", "/token", `{"token":"x"}`)
	for zeros := range 200 {
		body := "{\n" + strings.Repeat("Host:\r\n", len(inner)) + inner
		c := s.dial(t)
		c.send(fmt.Sprintf("%sContent-Length: %s%d\r\n\r\n%s", head, strings.Repeat("0", zeros), len(body), body))
		if r := c.receive("PUT"); r.status != 400 {
			t.Fatalf("%d zeros: %v, want 400 for the body", zeros, r)
		}
		c.send(requestText("GET", "/healthz", ""))
		if r := c.receive("GET"); r.status != 200 {
			t.Fatalf("%d zeros: then %v, want 200: the body has no request in it", zeros, r)
		}
	}
}
