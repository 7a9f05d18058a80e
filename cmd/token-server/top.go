package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"

	"tokenserver/admin/console"
	"tokenserver/admin/sampler"
)

const (
	// topInterval is the time between two looks.
	topInterval = time.Second
	// topTimeout is how long a look may take.
	topTimeout = 5 * time.Second
	// clearScreen moves a terminal's cursor to its first line and clears what is below.
	clearScreen = "\x1b[H\x1b[J"
)

// printTop prints what the console shows: again and again on a terminal, and once anywhere
// else. It takes the flags of the server, which say whom to ask.
func (m *Main) printTop(args []string) int {
	if code, done := m.parseCommand(args); done {
		return code
	}
	to, err := m.Config.adminTarget()
	if err != nil {
		fmt.Fprintln(m.Stderr, "token-server: top:", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := m.top(ctx, to, isTerminal(m.Stdout)); err != nil {
		fmt.Fprintln(m.Stderr, "token-server: top:", err)
		return exitFailed
	}
	return exitOK
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// top prints one sample, or one each second until ctx ends. Then a server that does not
// answer is waited for.
func (m *Main) top(ctx context.Context, to target, again bool) error {
	ticker := time.NewTicker(topInterval)
	defer ticker.Stop()
	for {
		sample, err := m.fetchStats(ctx, to)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !again:
			return err
		case err != nil:
			fmt.Fprintf(m.Stdout, "%sNo answer: %v. Trying again.\n", clearScreen, err)
		default:
			if again {
				io.WriteString(m.Stdout, clearScreen)
			}
			if err := console.WriteText(m.Stdout, sample); err != nil || !again {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// fetchStats asks the admin listener for its last sample.
func (m *Main) fetchStats(ctx context.Context, to target) (*sampler.Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, topTimeout)
	defer cancel()
	res, err := to.request(ctx, http.MethodGet, "/stats", m.Config.CallerSecretFile)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if err := refusal(res); err != nil {
		return nil, fmt.Errorf("%s answers %w", to.name, err)
	}
	sample := new(sampler.Sample)
	if err := json.NewDecoder(res.Body).Decode(sample); err != nil {
		return nil, fmt.Errorf("%s answers no statistics: %w", to.name, err)
	}
	return sample, nil
}
