package bench

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"tokenserver/server"
	"tokenserver/token"
)

// BenchmarkHandler measures a whole exchange over HTTP, without a network, beside
// fasthttp answering as many constant bytes: the floor. depth is how many
// requests are pipelined.
func BenchmarkHandler(b *testing.B) {
	for _, depth := range []int{1, 16} {
		b.Run(fmt.Sprintf("handler=exchange/depth=%d", depth), func(b *testing.B) {
			const n = 1e5
			o := filled(b, "ours", n, func() engine { return newOurs(n, 0) }).(*ours)
			s := server.New(server.Config{Store: o.store, Logger: slog.New(slog.DiscardHandler)})
			benchHandler(b, o.tokens, depth, s.Serve)
		})
		b.Run(fmt.Sprintf("handler=constant/depth=%d", depth), func(b *testing.B) {
			answer := []byte(fmt.Sprintf(`{"Ok":{"token":"%032d","meta":%s}}`, 0, meta))
			s := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) { ctx.Write(answer) }}
			benchHandler(b, make([]token.Token, 1e5), depth, s.Serve)
		})
	}
}

func benchHandler(b *testing.B, tokens []token.Token, depth int, serve func(net.Listener) error) {
	ln := fasthttputil.NewInmemoryListener()
	go serve(ln)
	defer ln.Close()
	clients := make(chan *client, 64)
	ws := newWorkers(len(tokens), 2)
	for range ws {
		clients <- newClient(ln, depth)
	}
	b.ReportAllocs()
	b.ResetTimer()
	each(ws, b.N/depth+1, func(w *worker) {
		c := <-clients
		c.exchange(w, tokens)
		clients <- c
	})
}

// client pipelines exchanges over one connection. All answers have one size.
type client struct {
	conn       net.Conn
	depth      int
	requests   []byte
	answers    []byte
	answerSize int
}

const (
	requestHead = "PUT /token HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 44\r\n\r\n" + `{"token":"`
	requestTail = `"}`
)

func newClient(ln *fasthttputil.InmemoryListener, depth int) *client {
	conn, err := ln.Dial()
	must(err)
	return &client{conn: conn, depth: depth}
}

func (c *client) exchange(w *worker, tokens []token.Token) {
	first := w.first + w.rng.IntN(w.end-w.first-c.depth)
	batch := tokens[first : first+c.depth]
	c.requests = c.requests[:0]
	for _, t := range batch {
		c.requests = append(t.Append(append(c.requests, requestHead...)), requestTail...)
	}
	_, err := c.conn.Write(c.requests)
	must(err)
	if c.answerSize == 0 {
		c.learnAnswerSize()
	} else {
		_, err = io.ReadFull(c.conn, c.answers)
		must(err)
	}
	for i := range batch {
		c.takeToken(c.answers[i*c.answerSize:][:c.answerSize], &batch[i])
	}
}

func (c *client) takeToken(answer []byte, t *token.Token) {
	_, body, _ := bytes.Cut(answer, []byte("\r\n\r\n"))
	text, ok := bytes.CutPrefix(body, []byte(`{"Ok":{"token":"`))
	if !ok {
		panic("bench: " + string(answer))
	}
	var err error
	*t, err = token.Parse(text[:token.EncodedLen])
	must(err)
}

// learnAnswerSize reads the first batch of answers, which ends with meta.
func (c *client) learnAnswerSize() {
	end := append(append([]byte(nil), meta...), "}}"...)
	buf := make([]byte, 1<<16)
	n := 0
	for bytes.Count(buf[:n], end) < c.depth {
		more, err := c.conn.Read(buf[n:])
		must(err)
		n += more
	}
	c.answers, c.answerSize = buf[:n], n/c.depth
}
