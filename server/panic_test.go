package server

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"

	"tokenserver/shard"
	"tokenserver/token"
)

// panicking is a store that panics with a token among the arguments of its calls.
type panicking struct{ *shard.Store }

//go:noinline
func (p panicking) Exchange(_ context.Context, t token.Token, _ token.Patch, _ []byte) (token.ExchangeResult, error) {
	return token.ExchangeResult{}, outOfRange(nil, t)
}

//go:noinline
func outOfRange(list []int, t token.Token) error { _ = list[len(t.ID)]; return nil }

// The runtime prints the arguments of functions: a token lies in them word by word.
func TestStacksShowNoTokens(t *testing.T) {
	var log logBuffer
	s := serve(t, Config{Store: panicking{newStore(t, shard.Config{})}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	c := s.dial(t)
	tok := c.create(`{}`)
	c.do("PUT", "/token", tokenBody(tok)).wantError(t, 500, "InternalServerError")
	text := log.String()
	if !strings.Contains(text, "server.outOfRange(…)") || !strings.Contains(text, "panic_test.go") {
		t.Errorf("the stack does not name function and file: %s", text)
	}
	parsed, err := token.Parse([]byte(tok))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{fmt.Sprintf("%#x, %#x", parsed.ID[0], parsed.ID[1]), fmt.Sprintf("%#x, %#x", parsed.Nonce[0], parsed.Nonce[1]), "(0x", "{0x"} {
		if strings.Contains(text, secret) {
			t.Errorf("the stack has %s, an argument: %s", secret, text)
		}
	}
}

// panickyLog is a log whose records of requests panic.
type panickyLog struct{ slog.Handler }

func (l panickyLog) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "request" {
		panic("a panic")
	}
	return l.Handler.Handle(ctx, r)
}

// Nothing that a request passes through ends the process.
func TestRequestsOutlivePanics(t *testing.T) {
	for name, test := range map[string]struct {
		text   string
		status int
	}{
		"handled":        {requestText("GET", "/healthz", ""), 200},
		"asks for leave": {head + "Expect: 100-continue\r\nContent-Length: 10000000\r\n\r\n", 500},
		"unreadable":     {head + "Content-Length: 10000000\r\n\r\n", 413},
	} {
		t.Run(name, func(t *testing.T) {
			var log logBuffer
			s := serve(t, Config{Logger: slog.New(panickyLog{slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})})})
			for range 2 {
				c := s.dial(t)
				c.send(test.text)
				if r := c.receive("PUT"); r.status != test.status {
					t.Errorf("answer %v, want %d", r, test.status)
				}
				c.conn.Close()
			}
			if got := strings.Count(log.String(), "recovered panic"); got != 2 {
				t.Errorf("log = %s, want two panics", log.String())
			}
		})
	}
}

// panickyEnd is a connection whose half can't be closed without a panic.
type panickyEnd struct {
	net.Conn
	closed bool
}

func (*panickyEnd) CloseWrite() error { panic("a panic") }
func (p *panickyEnd) Close() error    { p.closed = true; return nil }

func TestCloseOutlivesPanics(t *testing.T) {
	var log logBuffer
	r := newReaper(Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}.withDefaults())
	end := new(panickyEnd)
	c := &conn{Conn: end, reaper: r}
	r.add(c)
	c.lingerLater(fully)
	if c.Close(); !end.closed || r.open() != 0 || !strings.Contains(log.String(), "recovered panic") {
		t.Errorf("after a panic: closed %v, %d connections, log %s", end.closed, r.open(), log.String())
	}
}
