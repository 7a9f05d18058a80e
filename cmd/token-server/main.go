// Command token-server hands out one-time access tokens for metadata. See its --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"

	"tokenserver/access"
	"tokenserver/admin"
	"tokenserver/admin/sampler"
	"tokenserver/internal/flags"
	"tokenserver/server"
	"tokenserver/token"
)

// Exit codes of the command.
const (
	exitOK     = 0  // a clean stop, help or version
	exitFailed = 1  // at run time
	exitUsage  = 2  // a bad flag, value or argument
	exitQuit   = 2  // SIGQUIT, as in any Go program
	exitDisk   = 74 // the store can't keep what it answers: the disk has failed or is full (EX_IOERR of sysexits.h)
)

func main() {
	signal.Ignore(syscall.SIGPIPE) // the sessions outlive whoever reads the log
	m := NewMain()
	os.Exit(m.Execute(m.watchSignals(), os.Args[1:]))
}

// Main is the whole program: ParseFlags fills Config, Run starts everything,
// Wait waits for an end, and Close stops everything.
type Main struct {
	Config  Config
	Stdout  io.Writer
	Stderr  io.Writer
	Environ []string       // the environment: name=value
	Exit    func(code int) // when nothing can be promised any more, or somebody won't wait

	hangups  chan struct{}           // a SIGHUP came
	secret   *token.Secret           // from Config.SecretFiles; nil for none
	guard    *access.Guard           // nil if anybody may call
	tls      *access.TLS             // nil for none
	level    slog.LevelVar           // of the log
	ignored  []string                // environment variables that were not taken for a flag
	misspelt []flags.UnknownVariable // environment variables that are no flag
	unused   []string                // what Config.unused says of the flags as they were given
	logOut   *logWriter              // to Stderr
	logger   *slog.Logger

	listeners      []net.Listener // in the order of Config.Addresses, or inherited
	inherited      bool           // listeners are the service manager's
	adminListener  net.Listener   // nil if there is none
	adminListeners []net.Listener // all of them, adminListener is the first
	store          server.Store
	load           load    // of store
	service        service // told of to the service manager
	server         *server.Server
	admins         []*admin.Server  // one on each of adminListeners
	sampler        *sampler.Sampler // of all of them

	stopping     atomic.Bool // no backup is begun any more
	storeFailure sync.Once   // which is told of once

	served      chan struct{} // closed when the server has stopped on one of the listeners
	serveErr    error         // why, before served is closed
	serving     sync.WaitGroup
	adminServed sync.WaitGroup
}

// NewMain returns a program with the streams and the environment of the process.
func NewMain() *Main {
	m := &Main{Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ(), Exit: os.Exit}
	m.hangups = make(chan struct{}, 1)
	return m
}

// Execute runs the program with args until ctx ends, and returns its exit code.
func (m *Main) Execute(ctx context.Context, args []string) int {
	if len(args) > 0 {
		if command, ok := commands[args[0]]; ok {
			return command(m, ctx, args[1:])
		}
	}
	err := m.ParseFlags(args)
	switch {
	case errors.Is(err, flags.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintln(m.Stderr, "token-server:", err)
		return exitUsage
	}
	if err = m.Run(); err == nil {
		err = errors.Join(m.Wait(ctx), m.Close())
	}
	m.logOut.hurry()
	if isDiskFailure(err) {
		m.storeFailed(err)
	}
	if err != nil {
		m.logger.Error(err.Error())
		return exitCode(err)
	}
	return exitOK
}
