package main

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"time"

	"tokenserver/internal/stack"
)

// logPatience is how long an end waits for a log that nobody reads.
const logPatience = time.Second

var errLogStuck = errors.New("nobody reads the log")

// logWriter is where the log goes. A full pipe holds up those who log, as it
// does everywhere, but not the end of the process: from hurry on, the first
// write that takes too long is the last.
type logWriter struct {
	w       io.Writer
	hurried chan struct{}
	once    sync.Once
	stuck   bool // only used by Write, which slog calls once at a time
}

func newLogWriter(w io.Writer) *logWriter {
	return &logWriter{w: w, hurried: make(chan struct{})}
}

// hurry says that the process is about to end.
func (l *logWriter) hurry() { l.once.Do(func() { close(l.hurried) }) }

// Write implements io.Writer.
func (l *logWriter) Write(p []byte) (int, error) {
	if l.stuck {
		return 0, errLogStuck
	}
	written := make(chan error, 1)
	entry := bytes.Clone(p) // p is used again, while this may be stuck
	go func() { written <- writeEntry(l.w, entry) }()
	select {
	case err := <-written:
		return len(p), err
	case <-l.hurried:
	}
	select {
	case err := <-written:
		return len(p), err
	case <-time.After(logPatience):
		l.stuck = true
		return 0, errLogStuck
	}
}

// writeEntry writes an entry of the log. A panic is an error.
func writeEntry(w io.Writer, entry []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = stack.PanicError(p)
		}
	}()
	_, err = w.Write(entry)
	return err
}
