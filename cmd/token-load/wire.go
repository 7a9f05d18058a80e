package main

import (
	"bytes"
	"errors"
	"io"
)

// answer is one HTTP answer. Its slices are valid until the next answer is read.
type answer struct {
	head
	body []byte
}

// head is what a status line and headers say.
type head struct {
	size         int // of itself
	status       int
	bodySize     int
	contentType  []byte
	cacheControl []byte
	closes       bool // the server closes the connection after the answer
}

// maxHeadSize bounds the status line and headers of an answer.
const maxHeadSize = 8 << 10

// errMalformed is matched by every error about an answer that breaks HTTP/1.1, or that uses
// what this client has no use for: chunks, interim answers, folded headers.
var errMalformed = errors.New("malformed answer")

type malformedError string

func (e malformedError) Error() string   { return "malformed answer: " + string(e) }
func (malformedError) Is(err error) bool { return err == errMalformed }

// parseHead reads the head at the start of b. Its size is 0 if b ends before it does.
func parseHead(b []byte) (head, error) {
	h := head{bodySize: -1}
	line, at, err := cutLine(b, 0)
	if line == nil || err != nil {
		return head{}, err
	}
	if h.status, err = parseStatusLine(line); err != nil {
		return head{}, err
	}
	for {
		line, at, err = cutLine(b, at)
		if line == nil || err != nil {
			return head{}, err
		}
		if len(line) == 0 {
			break
		}
		if err := h.parseHeader(line); err != nil {
			return head{}, err
		}
	}
	if h.bodySize < 0 {
		return head{}, malformedError("no Content-Length")
	}
	h.size = at
	return h, nil
}

// cutLine returns the line at b[at:] without its CRLF, and where the next one begins; nil if it
// is not there in full.
func cutLine(b []byte, at int) (line []byte, next int, err error) {
	n := bytes.IndexByte(b[at:], '\n')
	switch {
	case n < 0 && len(b) >= maxHeadSize, at+n >= maxHeadSize:
		return nil, 0, malformedError("headers too long")
	case n < 0:
		return nil, 0, nil
	case n == 0 || b[at+n-1] != '\r':
		return nil, 0, malformedError("line without CRLF")
	}
	line = b[at : at+n-1]
	for _, c := range line {
		if c < ' ' && c != '\t' || c == 0x7f {
			return nil, 0, malformedError("control character in a line")
		}
	}
	return line, at + n + 1, nil
}

func parseStatusLine(line []byte) (int, error) {
	const version = "HTTP/1.1 "
	if len(line) < len(version)+4 || string(line[:len(version)]) != version || line[len(version)+3] != ' ' {
		return 0, malformedError("bad status line")
	}
	status, ok := parseDecimal(line[len(version):][:3])
	if !ok || status < 200 || status > 599 {
		return 0, malformedError("bad status")
	}
	return status, nil
}

// parseHeader takes over the headers that matter. Names match in any case.
func (h *head) parseHeader(line []byte) error {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 || !isHeaderName(line[:colon]) {
		return malformedError("bad header name")
	}
	name, value := line[:colon], trimBlanks(line[colon+1:])
	switch {
	case isHeader(name, "Content-Length"):
		n, ok := parseDecimal(value)
		if !ok || h.bodySize >= 0 {
			return malformedError("bad Content-Length")
		}
		h.bodySize = n
	case isHeader(name, "Content-Type"):
		if h.contentType != nil {
			return malformedError("two Content-Type")
		}
		h.contentType = value
	case isHeader(name, "Cache-Control"):
		h.cacheControl = value
	case isHeader(name, "Connection"):
		h.closes = isHeader(value, "close")
	case isHeader(name, "Transfer-Encoding"):
		return malformedError("Transfer-Encoding")
	}
	return nil
}

func trimBlanks(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

func isHeader(name []byte, known string) bool {
	return len(name) == len(known) && (string(name) == known || bytes.EqualFold(name, []byte(known)))
}

// headerNameChars has the characters of an HTTP token.
var headerNameChars = charSet("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")

func charSet(chars string) (set [256]bool) {
	for i := range len(chars) {
		set[chars[i]] = true
	}
	return set
}

func isHeaderName(name []byte) bool {
	for _, c := range name {
		if !headerNameChars[c] {
			return false
		}
	}
	return true
}

// parseDecimal reads one to nine digits and nothing else.
func parseDecimal(b []byte) (n int, ok bool) {
	if len(b) == 0 || len(b) > 9 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// answerReader reads answers one after another from a connection.
type answerReader struct {
	source     io.Reader
	maxBody    int
	clock      func() int64
	arrived    int64 // when the bytes of the latest answer came
	buf        []byte
	start, end int // unread bytes of buf
	known      [operationCount]knownHead
}

// knownHead is the latest head of the answers to an operation. Most heads are the same bytes as
// the one before; parsing them anew would take half of this program's own time.
type knownHead struct {
	raw []byte
	head
}

// next reads one answer, to a request of op. The answer before it is no longer valid.
func (r *answerReader) next(op operation, a *answer) error {
	for {
		if r.unread() {
			known := &r.known[op]
			if err := known.find(r.buf[r.start:r.end]); err != nil {
				return err
			}
			if known.bodySize > r.maxBody {
				return malformedError("body too long")
			}
			if body := r.start + known.size; known.size > 0 && r.end-body >= known.bodySize {
				r.start = body + known.bodySize
				*a = answer{known.head, r.buf[body:r.start]}
				return nil
			}
		}
		if err := r.fill(); err != nil {
			return err
		}
	}
}

// find makes k the head at the start of b, of size 0 if b ends before it does.
func (k *knownHead) find(b []byte) error {
	if k.size > 0 && bytes.HasPrefix(b, k.raw) {
		return nil
	}
	h, err := parseHead(b)
	if k.head = h; err != nil || h.size == 0 {
		return err
	}
	k.raw = append(k.raw[:0], b[:h.size]...)
	k.head, err = parseHead(k.raw) // its slices must not lie in the reader's buffer
	return err
}

// fill reads more bytes behind the unread ones.
func (r *answerReader) fill() error {
	if r.start == r.end {
		r.start, r.end = 0, 0
	}
	if r.end == len(r.buf) {
		r.grow()
	}
	n, err := r.source.Read(r.buf[r.end:])
	r.end += n
	if n > 0 {
		r.arrived = r.clock()
		return nil
	}
	if err == io.EOF && r.start < r.end {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (r *answerReader) grow() {
	if r.start > 0 {
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
		return
	}
	r.buf = append(r.buf, make([]byte, max(len(r.buf), 512))...)
}

// unread reports whether bytes have come that no answer has taken.
func (r *answerReader) unread() bool { return r.start < r.end }

// reset makes r read from source, which has nothing to do with what was read before.
func (r *answerReader) reset(source io.Reader) {
	r.source, r.start, r.end = source, 0, 0
}
