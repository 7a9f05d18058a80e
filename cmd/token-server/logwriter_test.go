package main

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLogWriterWrites(t *testing.T) {
	log := new(buffer)
	w := newLogWriter(log)
	for i, text := range []string{"one\n", "two\n", "three\n"} {
		if i == 1 {
			w.hurry()
			w.hurry()
		}
		p := []byte(text)
		if n, err := w.Write(p); n != len(p) || err != nil {
			t.Errorf("Write(%q) = %d, %v, want all of it", text, n, err)
		}
		clear(p) // it is the caller's
	}
	if got, want := log.String(), "one\ntwo\nthree\n"; got != want {
		t.Errorf("log = %q, want %q", got, want)
	}
}

func TestLogWriterTellsErrors(t *testing.T) {
	r, w := io.Pipe()
	r.Close()
	if _, err := newLogWriter(w).Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Write() to a closed pipe = %v, want %v", err, io.ErrClosedPipe)
	}
}

// While the process runs, a log that nobody reads is waited for. Its end waits
// once, whether the write began before that or after it.
func TestLogWriterIsStuck(t *testing.T) {
	for _, hurryAfter := range []time.Duration{0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			r, pipe := io.Pipe()
			w := newLogWriter(pipe)
			time.AfterFunc(hurryAfter, w.hurry)
			synctest.Wait()
			start := time.Now()
			for range 3 {
				if _, err := w.Write([]byte("x")); err != errLogStuck {
					t.Errorf("Write() without a reader = %v, want %v", err, errLogStuck)
				}
			}
			if got, want := time.Since(start), hurryAfter+logPatience; got != want {
				t.Errorf("three Writes, hurried after %v, took %v, want %v", hurryAfter, got, want)
			}
			r.Close()
		})
	}
}

// A log that is slow, but read, loses nothing at the end.
func TestLogWriterIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, pipe := io.Pipe()
		w := newLogWriter(pipe)
		w.hurry()
		var got strings.Builder
		done := make(chan struct{})
		go func() {
			defer close(done)
			for buf := make([]byte, 8); ; time.Sleep(logPatience / 2) {
				n, err := r.Read(buf)
				got.Write(buf[:n])
				if err != nil {
					return
				}
			}
		}()
		for range 5 {
			if _, err := w.Write([]byte("x")); err != nil {
				t.Errorf("Write() to a slow reader = %v, want nil", err)
			}
		}
		pipe.Close()
		if <-done; got.String() != "xxxxx" {
			t.Errorf("log = %q, want all five", got.String())
		}
	})
}

// panicky is a writer that panics.
type panicky struct{}

func (panicky) Write([]byte) (int, error) { panic("a panic") }

func TestLogOutlivesPanics(t *testing.T) {
	if _, err := newLogWriter(panicky{}).Write([]byte("x")); err == nil || !strings.Contains(err.Error(), "a panic") {
		t.Errorf("Write() = %v, want the panic", err)
	}
	m := &Main{Stderr: panicky{}}
	m.writeStacks() // at a SIGQUIT
}

// A panic before there is a log is told all the same, without arguments.
func TestPanicBeforeTheLog(t *testing.T) {
	log := new(buffer)
	code := -1
	m := &Main{Stderr: log, Exit: func(c int) { code = c }}
	func() {
		defer m.recoverPanic()
		panic("a panic")
	}()
	if got := log.String(); code != exitFailed || !strings.HasPrefix(got, "token-server: panic: a panic\n") || argument.MatchString(got) {
		t.Errorf("exit code %d, %q, want %d and the panic", code, got, exitFailed)
	}
}
