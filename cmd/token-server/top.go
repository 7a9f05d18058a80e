package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
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
	// maxStats is the greatest size of an answer in bytes, many times that of 1024 bars.
	maxStats = 1 << 20
	// clearScreen moves a terminal's cursor to its first line and clears what is below.
	clearScreen = "\x1b[H\x1b[J"
)

// printTop prints what the console shows: again and again on a terminal, and once anywhere
// else, until ctx ends. It takes the flags of the server, which say whom to ask.
func (m *Main) printTop(ctx context.Context, args []string) int {
	if code, done := m.parseCommand(args); done {
		return code
	}
	to, err := m.Config.adminTarget()
	if err != nil {
		fmt.Fprintln(m.Stderr, "token-server: top:", err)
		return exitUsage
	}
	if err := m.top(ctx, to, screenOf(m.Stdout)); err != nil {
		fmt.Fprintln(m.Stderr, "token-server: top:", err)
		return exitFailed
	}
	return exitOK
}

// screen is where samples are shown.
type screen struct {
	again bool                       // one after the other
	clear string                     // what makes room for the next one
	size  func() (width, height int) // in characters; 0 is not known
}

// screenOf returns what w is: no terminal, a terminal, or one that can only write on.
func screenOf(w io.Writer) screen {
	unknown := func() (int, int) { return 0, 0 }
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return screen{size: unknown}
	}
	if name := os.Getenv("TERM"); name == "" || name == "dumb" {
		return screen{again: true, clear: "\n", size: unknown}
	}
	return screen{again: true, clear: clearScreen, size: func() (width, height int) {
		width, height, err := term.GetSize(int(f.Fd()))
		if err != nil {
			return 0, 0
		}
		return width, height
	}}
}

// fit cuts a text to what a screen has room for: what scrolls away is what comes first.
func fit(text string, width, height int) string {
	if width <= 0 || height <= 2 {
		return text
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if room := height - 1; len(lines) > room { // the cursor stands in the last line
		left := len(lines) - room + 1
		lines = append(lines[:room-1], fmt.Sprintf("… %d more lines: make the window higher, or use a pipe", left))
	}
	for i, line := range lines {
		if r := []rune(line); len(r) > width {
			lines[i] = string(r[:width-1]) + "…"
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// top prints one sample, or one each second until ctx ends. Then a server that does not
// answer is waited for.
func (m *Main) top(ctx context.Context, to target, on screen) error {
	ticker := time.NewTicker(topInterval)
	defer ticker.Stop()
	for {
		text, err := m.topText(ctx, to)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !on.again:
			return err
		case err != nil:
			text = fmt.Sprintf("No answer: %v. Trying again.\n", err)
		}
		width, height := on.size()
		if _, err := io.WriteString(m.Stdout, on.clear+fit(text, width, height)); err != nil || !on.again {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (m *Main) topText(ctx context.Context, to target) (string, error) {
	sample, err := m.fetchStats(ctx, to)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	err = console.WriteText(&text, sample)
	return text.String(), err
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
	if err := json.NewDecoder(io.LimitReader(res.Body, maxStats)).Decode(sample); err != nil {
		return nil, fmt.Errorf("%s answers no statistics: %w", to.name, err)
	}
	return sample, nil
}
