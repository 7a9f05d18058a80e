package main

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

const goodAnswer = "HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2035 00:00:00 GMT\r\nContent-Type: application/json\r\n" +
	"Cache-Control: no-store\r\nContent-Length: 2\r\n\r\n{}"

// readAnswer reads the first answer of in.
func readAnswer(in string) (answer, error) {
	r := answerReader{source: strings.NewReader(in), maxBody: 100, clock: func() int64 { return 0 }}
	var a answer
	err := r.next(opExchange, &a)
	return a, err
}

func TestAnswer(t *testing.T) {
	tests := []struct {
		name, in                        string
		status                          int
		contentType, cacheControl, body string
		closes                          bool
	}{
		{"usual", goodAnswer, 200, "application/json", "no-store", "{}", false},
		{"no body", "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", 202, "", "", "", false},
		{"no reason", "HTTP/1.1 202 \r\nContent-Length: 0\r\n\r\n", 202, "", "", "", false},
		{"other case, blanks", "HTTP/1.1 503 x\r\ncontent-length: \t1 \r\nCONTENT-TYPE:a\r\nconnection: Close\r\n\r\n!", 503, "a", "", "!", true},
		{"next answer behind it", goodAnswer + goodAnswer, 200, "application/json", "no-store", "{}", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := readAnswer(test.in)
			if err != nil || got.status != test.status || string(got.contentType) != test.contentType ||
				string(got.cacheControl) != test.cacheControl || string(got.body) != test.body || got.closes != test.closes {
				t.Errorf("answer %+v, %v, want %+v", got, err, test)
			}
		})
	}
}

func TestHeadThatIsNotComplete(t *testing.T) {
	whole := strings.TrimSuffix(goodAnswer, "{}")
	for n := range len(whole) {
		if got, err := parseHead([]byte(whole[:n])); got.size != 0 || err != nil {
			t.Fatalf("parseHead(%q) = %+v, %v, want size 0", whole[:n], got, err)
		}
	}
	if got, err := parseHead([]byte(whole)); got.size != len(whole) || err != nil {
		t.Errorf("parseHead(%q) = %+v, %v, want size %d", whole, got, err, len(whole))
	}
}

func TestMalformedAnswer(t *testing.T) {
	const line = "HTTP/1.1 200 OK\r\n"
	tests := []struct{ name, in string }{
		{"not HTTP", "hello\r\n"},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"},
		{"short status", "HTTP/1.1 20\r\n"},
		{"no blank behind the status", "HTTP/1.1 2000\r\nContent-Length: 0\r\n\r\n"},
		{"status of letters", "HTTP/1.1 2x0 OK\r\n"},
		{"status 600", "HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n"},
		{"interim answer", "HTTP/1.1 100 Continue\r\n\r\n"},
		{"line feed alone", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"},
		{"carriage return in a value", line + "A: b\rc\r\nContent-Length: 0\r\n\r\n"},
		{"DEL in a value", line + "A: b\x7fc\r\nContent-Length: 0\r\n\r\n"},
		{"NUL in a value", line + "A: b\x00c\r\nContent-Length: 0\r\n\r\n"},
		{"no length", line + "Content-Type: a\r\n\r\n"},
		{"two lengths", line + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n!"},
		{"negative length", line + "Content-Length: -1\r\n\r\n"},
		{"signed length", line + "Content-Length: +1\r\n\r\n!"},
		{"empty length", line + "Content-Length: \r\n\r\n"},
		{"hexadecimal length", line + "Content-Length: 0x1\r\n\r\n!"},
		{"list of lengths", line + "Content-Length: 1, 1\r\n\r\n!"},
		{"huge length", line + "Content-Length: 99999999999999999999\r\n\r\n"},
		{"more than allowed", line + "Content-Length: 101\r\n\r\n"},
		{"chunked", line + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"length and chunked", line + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"two types", line + "Content-Type: a\r\nContent-Type: a\r\nContent-Length: 0\r\n\r\n"},
		{"no colon", line + "Content-Length\r\n\r\n"},
		{"no name", line + ": 1\r\n\r\n"},
		{"blank before the colon", line + "Content-Length : 0\r\n\r\n"},
		{"folded header", line + "A: b\r\n c: d\r\nContent-Length: 0\r\n\r\n"},
		{"endless line", line + strings.Repeat("a", maxHeadSize)},
		{"endless headers", line + strings.Repeat("A: b\r\n", maxHeadSize/6)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := readAnswer(test.in); !errors.Is(err, errMalformed) {
				t.Errorf("answer %.80q: %v, want a malformed answer", test.in, err)
			}
			// Nor is it taken for the answer before it.
			r := answerReader{source: strings.NewReader(goodAnswer + test.in), maxBody: 100, clock: func() int64 { return 0 }}
			first, second := r.next(opExchange, new(answer)), r.next(opExchange, new(answer))
			if first != nil || !errors.Is(second, errMalformed) {
				t.Errorf("a good answer, then %.80q: %v, %v, want a malformed answer", test.in, first, second)
			}
		})
	}
}

func TestAnswerReader(t *testing.T) {
	large := "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + strings.Repeat("x", 5000)
	in := goodAnswer + large + goodAnswer + large + goodAnswer
	sources := map[string]func(io.Reader) io.Reader{
		"at once":      func(r io.Reader) io.Reader { return r },
		"by the byte":  iotest.OneByteReader,
		"halves":       iotest.HalfReader,
		"data and err": iotest.DataErrReader,
	}
	for name, source := range sources {
		t.Run(name, func(t *testing.T) {
			r := answerReader{source: source(strings.NewReader(in)), maxBody: 6000, clock: func() int64 { return 7 }}
			for i, want := range []int{2, 5000, 2, 5000, 2} {
				var a answer
				if err := r.next(opExchange, &a); err != nil || len(a.body) != want || r.arrived != 7 {
					t.Fatalf("answer %d: %d bytes at %d, %v, want %d at 7", i, len(a.body), r.arrived, err, want)
				}
			}
			if r.unread() {
				t.Error("bytes are left")
			}
			if err := r.next(opExchange, new(answer)); err != io.EOF {
				t.Errorf("next after the last = %v, want %v", err, io.EOF)
			}
		})
	}
}

func TestAnswerReaderWithinAnAnswer(t *testing.T) {
	r := answerReader{source: strings.NewReader(goodAnswer[:len(goodAnswer)-1]), maxBody: 10, clock: func() int64 { return 0 }}
	if err := r.next(opExchange, new(answer)); err != io.ErrUnexpectedEOF {
		t.Errorf("next = %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

// A head must not be taken for the one before it when anything in it differs.
func TestChangingHeads(t *testing.T) {
	heads := []string{
		"HTTP/1.1 200 OK\r\nContent-Type: a\r\nContent-Length: 1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Type: a\r\nContent-Length: 1\r\n\r\n",
		"HTTP/1.1 201 OK\r\nContent-Type: a\r\nContent-Length: 1\r\n\r\n",
		"HTTP/1.1 201 OK\r\nContent-Type: b\r\nContent-Length: 1\r\n\r\n",
		"HTTP/1.1 201 OK\r\nContent-Type: b\r\nContent-Length: 1\r\nA: b\r\n\r\n",
		"HTTP/1.1 201 OK\r\nContent-Type: b\r\nContent-Length: 1\r\nConnection: close\r\n\r\n",
	}
	r := answerReader{source: iotest.OneByteReader(strings.NewReader(strings.Join(heads, "x") + "x")), maxBody: 9, clock: func() int64 { return 0 }}
	for _, in := range heads {
		want, _ := parseHead([]byte(in))
		var got answer
		if err := r.next(opExchange, &got); err != nil || !reflect.DeepEqual(got.head, want) || string(got.body) != "x" {
			t.Errorf("%q: %+v, %v, want %+v", in, got, err, want)
		}
	}
}

// What the parser takes, net/http takes too, and means the same.
func FuzzAnswer(f *testing.F) {
	f.Add(goodAnswer)
	f.Add("HTTP/1.1 202 \r\ncontent-length:0\r\nConnection: close\r\n\r\n")
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n!")
	f.Add("HTTP/1.1 200 \r\n0:\x13\r\nContent-Length:0\r\n\r\n")
	f.Fuzz(func(t *testing.T, in string) {
		got, err := readAnswer(in)
		if err != nil {
			return
		}
		want, err := http.ReadResponse(bufio.NewReader(strings.NewReader(in)), &http.Request{Method: http.MethodPut})
		if err != nil {
			t.Fatalf("%q is taken, which net/http refuses: %v", in, err)
		}
		defer want.Body.Close()
		body, err := io.ReadAll(want.Body)
		hasNone := want.StatusCode == http.StatusNoContent || want.StatusCode == http.StatusNotModified
		if err != nil || want.StatusCode != got.status || !hasNone && string(body) != string(got.body) ||
			want.Header.Get("Content-Type") != string(got.contentType) {
			t.Errorf("%q: %+v, want %d %v %q, %v", in, got, want.StatusCode, want.Header, body, err)
		}
	})
}
