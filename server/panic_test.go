package server

import (
	"context"
	"fmt"
	"log/slog"
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
