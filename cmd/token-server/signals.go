package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"tokenserver/internal/stack"
)

// watchSignals returns a context that ends with the first SIGINT or SIGTERM. From
// then on SIGTERM changes nothing, since service managers may send it twice within
// milliseconds, and SIGINT, from somebody at a terminal who won't wait, ends the
// process at once.
//
// It is no signal.NotifyContext, which can't tell the two apart.
func (m *Main) watchSignals() context.Context {
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	go func() {
		defer m.recoverPanic()
		for s := range signals {
			m.onSignal(ctx, stop, s)
		}
	}()
	return ctx
}

func (m *Main) onSignal(ctx context.Context, stop context.CancelFunc, s os.Signal) {
	switch s {
	case syscall.SIGHUP:
		select {
		case m.hangups <- struct{}{}:
		default:
		}
	case syscall.SIGQUIT:
		m.writeStacks()
		m.Exit(exitQuit)
	case os.Interrupt:
		if ctx.Err() != nil {
			m.Exit(exitFailed)
		}
		stop()
	case syscall.SIGTERM:
		stop()
	}
}

// writeStacks writes the stacks of all goroutines, as the runtime does at a
// SIGQUIT, but without arguments: ids and parts of nonces are among them. It does
// not wait for a log that nobody reads.
func (m *Main) writeStacks() {
	written := make(chan struct{})
	go func() {
		defer close(written)
		defer func() { recover() }() // there is nobody to tell, and the process ends
		m.Stderr.Write(stack.All())
	}()
	select {
	case <-written:
	case <-time.After(logPatience):
	}
}

// recoverPanic is deferred by the goroutines that this program can't do without, and
// ends the process: the runtime's own report of a panic has the arguments of
// functions in it.
func (m *Main) recoverPanic() {
	p := recover()
	switch {
	case p == nil:
	case m.logger == nil: // before Run
		fmt.Fprintf(m.Stderr, "token-server: panic: %v\n%s", p, stack.Current())
		m.Exit(exitFailed)
	default:
		m.logOut.hurry()
		m.logger.Error("panic", "panic", p, "stack", string(stack.Current()))
		m.Exit(exitFailed)
	}
}
