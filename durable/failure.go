package durable

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"

	"tokenserver/internal/stack"
)

// Errors that those of Open, Load and Close and that of Fatal match. ErrNoSpace is also
// what Ready's may match.
var (
	// ErrLocked says that another process has the data directory open.
	ErrLocked = errors.New("the data directory is in use by another process")
	// ErrVersion says that the data directory is of another program or a later version.
	ErrVersion = errors.New("unknown format of the data directory")
	// ErrCorrupt says that a file is damaged.
	ErrCorrupt = errors.New("damaged file")
	// ErrNoSpace says that there is too little free space on the disk.
	ErrNoSpace = errors.New("not enough free space on the disk")

	// ErrFailed says that a write or a sync has failed, or did not come to an end.
	ErrFailed = errors.New("disk failed")
	// ErrGone says that the path of the data directory no longer leads to it.
	ErrGone = errors.New("data directory gone")
	// ErrNoDescriptors says that no file could be opened for want of descriptors.
	ErrNoDescriptors = errors.New("no file descriptors left")

	errClosed = errors.New("durable: store is closed")
)

// diskErrors are errors of the disk itself, and not of a wrong name or mode.
var diskErrors = []error{syscall.EIO, syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG}

// diskError makes an error of the disk match ErrFailed.
func diskError(err error) error {
	for _, named := range []error{ErrFailed, ErrCorrupt, ErrNoDescriptors} {
		if errors.Is(err, named) {
			return err
		}
	}
	if isShortage(err) {
		return fmt.Errorf("%w, raise their limit (ulimit -n): %w", ErrNoDescriptors, err)
	}
	for _, e := range diskErrors {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", ErrFailed, err)
		}
	}
	return err
}

// failure is the first error of the disk, after which nothing is promised any
// more: the store is fail-stop.
type failure struct {
	err           atomic.Pointer[error]
	happened      chan struct{} // closed once there is one
	notify        func(error)
	reportEnabled atomic.Bool
	once          sync.Once     // of notify
	reported      chan struct{} // closed when notify has returned
	// cause says what is behind a failure, or nil. It must not take long.
	cause func() error
}

func newFailure(notify func(error)) *failure {
	return &failure{happened: make(chan struct{}), reported: make(chan struct{}), notify: notify}
}

// set keeps err if it is the first one, and returns the first one. The
// notification has a goroutine of its own, since the caller may hold locks.
func (f *failure) set(err error) error {
	if f.cause != nil {
		if cause := f.cause(); cause != nil {
			err = cause
		}
	}
	return f.keep(nameFailure(err))
}

// nameFailure makes an error match the sentinel error for what has failed.
func nameFailure(err error) error {
	switch {
	case errors.Is(err, ErrCorrupt), errors.Is(err, ErrGone):
		return err
	case isShortage(err):
		return fmt.Errorf("%w: %w", ErrNoDescriptors, err)
	}
	return fmt.Errorf("%w: %w", ErrFailed, err)
}

// keep is set for an error that says itself what has failed.
func (f *failure) keep(err error) error {
	if f.err.CompareAndSwap(nil, &err) {
		close(f.happened)
		f.report()
	}
	return f.get()
}

// runUntilFailure runs do, which may wait for a write of Pebble's. It does not wait for
// do any longer once a write has failed, and returns that failure.
func (f *failure) runUntilFailure(do func() error) error {
	done := make(chan error, 1)
	go func() {
		defer f.recoverPanic()
		done <- do()
	}()
	select {
	case err := <-done:
		return err
	case <-f.happened:
		failed := f.get()
		if errors.Is(failed, ErrCorrupt) { // which stops nothing
			<-done
		}
		return failed
	}
}

// recoverPanic is deferred by goroutines without which the store can't go on. The
// runtime's own report of a panic has ids and parts of digests in it.
func (f *failure) recoverPanic() {
	if p := recover(); p != nil {
		f.keep(stack.PanicError(p)) // the disk is well
	}
}

// enableReport has the failure reported from now on: while Open runs, its error says all.
func (f *failure) enableReport() {
	f.reportEnabled.Store(true)
	if f.get() != nil {
		f.report()
	}
}

func (f *failure) report() {
	if f.reportEnabled.Load() {
		f.once.Do(func() {
			go func() {
				f.notify(f.get())
				close(f.reported)
			}()
		})
	}
}

// delayUntilReported keeps the error of a call back until the notification has returned: one
// that ends the process is the only thing heard of a failure then, and not the
// complaint of each request that was under way.
func (f *failure) delayUntilReported(err error) error {
	if err != nil && f.get() != nil && f.reportEnabled.Load() {
		<-f.reported
	}
	return err
}

func (f *failure) get() error {
	if err := f.err.Load(); err != nil {
		return *err
	}
	return nil
}

// pebbleLogger takes what Pebble has to say.
type pebbleLogger struct {
	log     *slog.Logger
	failure *failure
}

// Infof says nothing: it is Pebble's diary, and may have ids in it.
func (l *pebbleLogger) Infof(string, ...any) {}

func (l *pebbleLogger) Errorf(format string, args ...any) {
	l.log.Error("pebble: " + fmt.Sprintf(format, args...))
}

// Fatalf is called where Pebble can't go on, by a goroutine of it or of the
// journal, with locks held. It must not return: Pebble would go on with a broken
// state, and requests would be answered. Nor may it unwind the
// goroutine, which would release those locks.
func (l *pebbleLogger) Fatalf(format string, args ...any) {
	l.failure.set(newPebbleError(format, args))
	select {}
}

// pebbleError is what Pebble says when it can't go on, with the error that it has put
// into the text.
type pebbleError struct {
	text  string
	cause error // may be nil
}

func newPebbleError(format string, args []any) *pebbleError {
	e := &pebbleError{text: fmt.Sprintf(format, args...)}
	for _, arg := range args {
		if cause, ok := arg.(error); ok {
			e.cause = cause
		}
	}
	return e
}

func (e *pebbleError) Error() string { return e.text }
func (e *pebbleError) Unwrap() error { return e.cause }

// events has Pebble report its failures. Its own goroutines would try again for ever.
func (s *Store) events() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) { s.failure.set(err) },
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			s.failure.set(fmt.Errorf("%w %s: %w", ErrCorrupt, info.Path, info.Details))
		},
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			s.log.Warn("requests wait for the disk", "reason", info.Reason)
		},
		DiskSlow: func(info pebble.DiskSlowInfo) {
			s.log.Warn("disk is slow", "file", info.Path, "operation", info.OpType.String(), "seconds", info.Duration.Seconds())
			s.watchdog.slow.Store(newSlowOperation(&info))
		},
	}
}
