// Command token-load plays a busy web tier: it keeps many sessions on a
// Token Server, exchanges their tokens as fast as the server can (closed loop) or at a fixed
// rate (open loop), checks every answer and reports throughput and latencies.
//
// It never sends an exchange twice. What it leaves on the server when it ends are the sessions
// that it did not delete; they expire.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"tokenserver/internal/flags"
)

// Exit codes of the command.
const (
	exitOK     = 0
	exitFailed = 1 // wrong answers, or the run itself failed
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Main is the whole program: ParseFlags fills Config, Run makes the load and writes the report.
type Main struct {
	Config Config
	Stdout io.Writer
	Stderr io.Writer
}

// execute runs the program with args and returns its exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	m := &Main{Stdout: stdout, Stderr: stderr}
	err := m.ParseFlags(args)
	switch {
	case errors.Is(err, flags.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintln(stderr, "token-load:", err)
		return exitUsage
	}
	switch err := m.Run(ctx); {
	case err == nil:
		return exitOK
	case !errors.Is(err, errFaulty): // of which the report has told
		fmt.Fprintln(stderr, "token-load:", err)
	}
	return exitFailed
}
