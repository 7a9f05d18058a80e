package main

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestParseReply(t *testing.T) {
	cases := []struct {
		in   string
		want reply
		size int
		err  error
	}{
		{"+OK\r\nrest", reply{kind: '+', value: []byte("OK")}, 5, nil},
		{"-NOSCRIPT No matching script.\r\n", reply{kind: '-', value: []byte("NOSCRIPT No matching script.")}, 31, nil},
		{":42\r\n", reply{kind: ':', value: []byte("42")}, 5, nil},
		{"$5\r\nhello\r\n$", reply{kind: '$', value: []byte("hello")}, 11, nil},
		{"$4\r\n\r\n\r\n\r\n", reply{kind: '$', value: []byte("\r\n\r\n")}, 10, nil},
		{"$0\r\n\r\n", reply{kind: '$', value: []byte{}}, 6, nil},
		{"$-1\r\n", reply{kind: '$', null: true}, 5, nil},
		{"", reply{}, 0, nil},
		{"+OK\r", reply{}, 0, nil},
		{"$5\r\nhello\r", reply{}, 0, nil},
		{"$5\r\n", reply{}, 0, nil},
		{"+OK\n", reply{}, 0, errMalformed},
		{"\r\n", reply{}, 0, errMalformed},
		{"*1\r\n+OK\r\n", reply{}, 0, errMalformed},
		{"$5\r\nhelloXY", reply{}, 0, errMalformed},
		{"$-2\r\n", reply{}, 0, errMalformed},
		{"$\r\n", reply{}, 0, errMalformed},
		{"$1x\r\n", reply{}, 0, errMalformed},
		{"$1048577\r\n", reply{}, 0, errMalformed},
		{strings.Repeat("x", 5<<10), reply{}, 0, errMalformed},
	}
	for _, c := range cases {
		got, size, err := parseReply([]byte(c.in))
		if !errors.Is(err, c.err) || size != c.size {
			t.Errorf("parseReply(%.40q) has size %d and error %v, want %d and %v", c.in, size, err, c.size, c.err)
			continue
		}
		if size > 0 && (got.kind != c.want.kind || got.null != c.want.null || string(got.value) != string(c.want.value)) {
			t.Errorf("parseReply(%.40q) = %v, want %v", c.in, got, c.want)
		}
	}
}

func TestReplyReaderPutsPiecesTogether(t *testing.T) {
	const in = "+OK\r\n$11\r\nhello\r\nhell\r\n:7\r\n"
	sources := map[string]io.Reader{
		"at once":      strings.NewReader(in),
		"byte by byte": iotest.OneByteReader(strings.NewReader(in)),
	}
	for name, source := range sources {
		r := replyReader{source: source, clock: func() int64 { return 1 }, buf: make([]byte, 4)}
		for _, want := range []string{"OK", "hello\r\nhell", "7"} {
			got, err := r.next()
			if err != nil || string(got.value) != want {
				t.Errorf("%s: next() = %v, %v, want %q", name, got, err, want)
			}
		}
		if _, err := r.next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: next() at the end has error %v, want %v", name, err, io.ErrUnexpectedEOF)
		}
	}
}

func TestAppendCommand(t *testing.T) {
	got := appendCommand(nil, 2)
	got = appendArgument(got, "GET")
	got = appendArgument(got, []byte("ts:abc"))
	if want := "*2\r\n$3\r\nGET\r\n$6\r\nts:abc\r\n"; string(got) != want {
		t.Errorf("command = %q, want %q", got, want)
	}
}
