package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// reply is one answer of the server. Its value is valid until the next one is read.
type reply struct {
	kind  byte // + simple string, - error, : integer, $ bulk string
	null  bool // of a bulk string that is none
	value []byte
}

// String implements fmt.Stringer, for messages.
func (r reply) String() string {
	if r.null {
		return "nothing"
	}
	return fmt.Sprintf("%c%.160q", r.kind, r.value)
}

// errMalformed is returned for what is not RESP, or that no script of ours answers: arrays.
var errMalformed = errors.New("malformed answer")

// maxValue bounds a bulk string.
const maxValue = 1 << 20

// parseReply reads the answer at the start of b. size is how many bytes it has, 0 if b ends
// before it does.
func parseReply(b []byte) (r reply, size int, err error) {
	end := bytes.IndexByte(b, '\n')
	switch {
	case end < 0 && len(b) > 4<<10:
		return r, 0, errMalformed
	case end < 0:
		return r, 0, nil
	case end < 2 || b[end-1] != '\r':
		return r, 0, errMalformed
	}
	r.kind, r.value = b[0], b[1:end-1]
	switch r.kind {
	case '+', '-', ':':
		return r, end + 1, nil
	case '$':
		return parseBulk(b, end+1, r.value)
	}
	return r, 0, errMalformed
}

// parseBulk reads a bulk string, of length bytes from start on.
func parseBulk(b []byte, start int, length []byte) (reply, int, error) {
	if string(length) == "-1" {
		return reply{kind: '$', null: true}, start, nil
	}
	n, ok := parseLength(length)
	if !ok {
		return reply{}, 0, errMalformed
	}
	end := start + n
	if len(b) < end+2 {
		return reply{}, 0, nil
	}
	if b[end] != '\r' || b[end+1] != '\n' {
		return reply{}, 0, errMalformed
	}
	return reply{kind: '$', value: b[start:end]}, end + 2, nil
}

// parseLength reads a whole number up to maxValue.
func parseLength(b []byte) (n int, ok bool) {
	if len(b) == 0 || len(b) > len("1048576") {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, n <= maxValue
}

// replyReader reads one answer after another.
type replyReader struct {
	source     io.Reader
	clock      func() int64
	arrived    int64 // when the bytes of the latest answer came
	buf        []byte
	start, end int // unread bytes of buf
}

// next reads one answer. The one before it is no longer valid.
func (r *replyReader) next() (reply, error) {
	for {
		if r.start < r.end {
			answer, size, err := parseReply(r.buf[r.start:r.end])
			r.start += size
			if size > 0 || err != nil {
				return answer, err
			}
		}
		if err := r.fill(); err != nil {
			return reply{}, err
		}
	}
}

// fill reads more bytes behind the unread ones.
func (r *replyReader) fill() error {
	if r.start == r.end {
		r.start, r.end = 0, 0
	}
	if r.end == len(r.buf) {
		if r.start == 0 {
			r.buf = append(r.buf, make([]byte, max(len(r.buf), 512))...)
		}
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
	}
	n, err := r.source.Read(r.buf[r.end:])
	r.end += n
	if n > 0 {
		r.arrived = r.clock()
		return nil
	}
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// appendCommand appends a command of so many arguments, which follow by appendArgument.
func appendCommand(dst []byte, arguments int) []byte {
	dst = append(dst, '*')
	dst = strconv.AppendInt(dst, int64(arguments), 10)
	return append(dst, "\r\n"...)
}

func appendArgument[T []byte | string](dst []byte, argument T) []byte {
	dst = append(dst, '$')
	dst = strconv.AppendInt(dst, int64(len(argument)), 10)
	dst = append(dst, "\r\n"...)
	dst = append(dst, argument...)
	return append(dst, "\r\n"...)
}
