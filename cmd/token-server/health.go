package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"tokenserver/internal/flags"
)

// healthTimeout is how long a server may take to say how it does.
const healthTimeout = 5 * time.Second

// printHealth asks a server with these flags how it does.
func (m *Main) printHealth(ctx context.Context, args []string) int {
	path := "/healthz"
	ready := false
	if code, done := m.parseCommand(args, func(s *flags.Set) {
		s.Command(&ready, "ready", "", "ask whether requests would be carried out, not only whether the server answers")
	}); done {
		return code
	}
	if ready {
		path = "/readyz"
	}
	if err := m.Config.askHealth(ctx, path); err != nil {
		fmt.Fprintln(m.Stderr, "token-server: health:", err)
		return exitFailed
	}
	fmt.Fprintln(m.Stdout, "ok")
	return exitOK
}

func (c *Config) askHealth(ctx context.Context, path string) error {
	to, err := c.healthTarget()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	res, err := to.request(ctx, "GET", path, "") // which needs no secret
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer from %s within %v", to.name, healthTimeout)
	}
	if err != nil {
		return err
	}
	defer res.Body.Close()
	defer io.Copy(io.Discard, res.Body)
	return refusal(res)
}
