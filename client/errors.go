package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Errors of calls, to be matched with [errors.Is].
var (
	// ErrInvalidToken says that a token is ill-formed, unknown, spent, expired or
	// deleted.
	ErrInvalidToken = errors.New("token server: invalid token")
	// ErrUnavailable says that no server could be reached, or none had its store
	// ready, until the call's end. Nothing was carried out.
	ErrUnavailable = errors.New("token server: unavailable")
	// ErrStoreFull says that there is no room for more sessions. A token that was
	// presented is still valid.
	ErrStoreFull = errors.New("token server: store is full")
	// ErrMetaTooLarge says that the metadata would be larger than the server keeps.
	// A token that was presented is still valid.
	ErrMetaTooLarge = errors.New("token server: metadata is too large")
	// ErrUnauthorized says that the server does not accept this caller. Nothing was
	// carried out.
	ErrUnauthorized = errors.New("token server: unauthorized")
	// ErrOutcomeUnknown says that the call was sent and its answer lost: it may or may
	// not have been carried out.
	ErrOutcomeUnknown = errors.New("token server: outcome is unknown")
	// ErrInvalidRequest says that the server, or the client in its place, refuses what
	// the call asks for. Nothing was carried out.
	ErrInvalidRequest = errors.New("token server: invalid request")
	// ErrStoresDiffer says that addresses lead to servers that don't share a store, or
	// don't say which they have. Nothing was carried out.
	ErrStoresDiffer = errors.New("token server: addresses have different stores")
	// ErrClosed says that the client is closed. Nothing was carried out.
	ErrClosed = errors.New("token server: client is closed")
)

// Error tells more of why a call failed. [errors.Is] finds Kind and Cause in it.
type Error struct {
	// Kind is one of the Err variables of this package.
	Kind error
	// Cause is what lies behind it, or nil: an error of the network, or of the
	// call's context.
	Cause error
	// Status is that of the server's answer, or 0. Code and Message are what the answer
	// says, for people.
	Status        int
	Code, Message string
	// Address is the server's, or empty.
	Address string
}

// Error returns it all in one line. There is never a token in it.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Kind.Error())
	if e.Address != "" {
		fmt.Fprintf(&b, ": %s", e.Address)
	}
	if e.Code != "" {
		fmt.Fprintf(&b, ": %s: %s", e.Code, e.Message)
	} else if e.Status != 0 {
		fmt.Fprintf(&b, ": status %d", e.Status)
	}
	if e.Cause != nil {
		fmt.Fprintf(&b, ": %v", e.Cause)
	}
	return b.String()
}

// Unwrap returns Kind and Cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

// kinds has the error to each code of an answer that says for certain that nothing
// was carried out. Others of a status below 500 are [ErrInvalidRequest].
var kinds = map[string]error{
	"MetaTooLarge": ErrMetaTooLarge,
	"StoreFull":    ErrStoreFull,
	"Unauthorized": ErrUnauthorized,
	"Forbidden":    ErrUnauthorized,
}

// invalid is the error of a call that is refused before it is sent.
func invalid(format string, args ...any) error {
	return &Error{Kind: ErrInvalidRequest, Cause: fmt.Errorf(format, args...)}
}

// notDone is the error of a call that has come to its end without being carried out.
// last is why not, or nil, and so is ended if the call had time left.
func notDone(ended, last error) error {
	if errors.Is(ended, ErrClosed) {
		return ErrClosed
	}
	var e Error
	if known, ok := last.(*Error); ok {
		e, last = *known, known.Cause
	}
	e.Kind, e.Cause = ErrUnavailable, ended
	switch {
	case ended == nil:
		e.Cause = last
	case last != nil:
		e.Cause = fmt.Errorf("%w: %w", ended, last)
	}
	return &e
}

// endOf returns why ctx has ended, of which there may be a cause of ours.
func endOf(ctx context.Context) error {
	if cause := context.Cause(ctx); errors.Is(cause, ErrClosed) {
		return cause
	}
	return ctx.Err()
}
