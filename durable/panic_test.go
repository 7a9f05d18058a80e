package durable

import (
	"errors"
	"strings"
	"testing"
	"time"

	"tokenserver/token"
)

// A panic in the background ends the store as a failed write does: it is told once,
// with a stack without arguments, and nothing is answered any more.
func TestPanicIsAFailure(t *testing.T) {
	told := make(chan error, 1)
	f := newFailure(func(err error) { told <- err })
	f.enableReport()
	go func() {
		defer f.recoverPanic()
		decodeNothing(token.ID{})
	}()
	select {
	case err := <-told:
		if text := err.Error(); errors.Is(err, ErrFailed) || !strings.Contains(text, "decodeNothing(…)") {
			t.Errorf("Fatal was told of %v, want the panic with its stack, without arguments", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Fatal was told of nothing")
	}
}

// A panic while sessions are loaded is an error of Load.
func TestPanicInLoad(t *testing.T) {
	var err error
	func() {
		defer recoverTo(&err)
		decodeNothing(token.ID{})
	}()
	if err == nil || !strings.Contains(err.Error(), "decodeNothing(…)") {
		t.Errorf("error = %v, want the panic with its stack", err)
	}
}

//go:noinline
func decodeNothing(id token.ID) { _ = []int(nil)[len(id)] }
