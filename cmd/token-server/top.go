package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"

	"tokenserver/admin/console"
	"tokenserver/admin/sampler"
	"tokenserver/internal/flags"
)

const (
	// topInterval is the time between two looks.
	topInterval = time.Second
	// topTimeout is how long a look may take.
	topTimeout = 5 * time.Second
	// clearScreen moves a terminal's cursor to its first line and clears what is below.
	clearScreen = "\x1b[H\x1b[J"
)

// errAdminOff says that there is nobody to ask.
var errAdminOff = errors.New("there is no admin listener: --admin-address is off")

// printTop prints what the console shows: again and again on a terminal, and once anywhere
// else. It takes the flags of the server, of which --admin-address says whom to ask.
func (m *Main) printTop(args []string) int {
	err := m.ParseFlags(args)
	if errors.Is(err, flags.ErrHelp) {
		return exitOK
	}
	if err == nil && m.Config.AdminAddress == adminOff {
		err = errAdminOff
	}
	if err != nil {
		fmt.Fprintln(m.Stderr, "token-server:", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := m.top(ctx, isTerminal(m.Stdout)); err != nil {
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
func (m *Main) top(ctx context.Context, again bool) error {
	ticker := time.NewTicker(topInterval)
	defer ticker.Stop()
	for {
		sample, err := m.fetchStats(ctx)
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
func (m *Main) fetchStats(ctx context.Context) (*sampler.Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, topTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/stats", nil)
	if err != nil {
		return nil, err
	}
	res, err := m.adminClient().Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", m.Config.AdminAddress, res.Status)
	}
	sample := new(sampler.Sample)
	if err := json.NewDecoder(res.Body).Decode(sample); err != nil {
		return nil, fmt.Errorf("%s answers no statistics: %w", m.Config.AdminAddress, err)
	}
	return sample, nil
}

// adminClient returns a client whose requests all go to the admin listener.
func (m *Main) adminClient() *http.Client {
	network, address := "tcp", m.Config.AdminAddress
	if path, ok := socketPath(address); ok {
		network, address = "unix", path
	}
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}}
}
