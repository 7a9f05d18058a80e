package valkey

import (
	"context"
	"errors"
	"strings"

	"github.com/redis/rueidis"

	"tokenserver/token"
)

// Errors of Open that do not pass by themselves.
var (
	// ErrRefused says that the engine is not one that this package works with.
	ErrRefused = errors.New("valkey: engine refused")
	// ErrAddress says that an Engine names hosts or a database that do not go together.
	ErrAddress = errors.New("valkey: wrong address")
)

var (
	errClosed  = errors.New("valkey: store is closed")
	errTooMany = &token.UnavailableError{Reason: "too many calls to the engine are under way"}
	errReply   = errors.New("valkey: the engine sent a reply that no script makes")
	errLate    = errors.New("the engine was reached too late")
)

// failure is why a command got no reply that counts.
type failure struct {
	err error
	// kind is what it is counted as, and logged by.
	kind string
	// reached says that the engine may have carried the command out.
	reached bool
	// passes says that it may be over within the time of a call.
	passes bool
}

// isEngines says that it is a trouble of the engine's, and not of one key.
func (f *failure) isEngines() bool {
	return f.kind != "closed" && f.kind != "wrongtype" && f.kind != "tryagain" && f.kind != "moved"
}

// replyErrors are errors that an engine says instead of carrying a command out, by their
// first words, as the client tells them: without ERR.
var replyErrors = []struct {
	prefix, kind string
	passes       bool
}{
	{"LOADING", "loading", false},
	{"CLUSTERDOWN", "clusterdown", true},
	{"MASTERDOWN", "masterdown", true},
	{"TRYAGAIN", "tryagain", true},
	{"READONLY", "readonly", true},
	{"BUSY", "busy", true},
	{"MISCONF", "misconf", false},
	{"NOREPLICAS", "noreplicas", false},
	{"NOPERM", "noperm", false},
	{noPermissionInScript, "noperm", false},
	{aclFailureInScript, "noperm", false},
	{"NOAUTH", "noauth", false},
	{"WRONGPASS", "noauth", false},
	{"WRONGTYPE", "wrongtype", false},
	{"MOVED", "moved", true},
	{"ASK", "moved", true},
	{"max number of clients", "clients", true},
	{"Script attempted to access a non local key", "tryagain", true},
	{"UNKILLABLE", "busy", true},
}

// What engines say within a script instead of NOPERM.
const (
	noPermissionInScript = "The user executing the script can't " // Redis 7.0
	aclFailureInScript   = "ACL failure in script: "              // later ones, and Valkey
)

// classify says what an error of the client means.
func classify(err error) failure {
	if reply, ok := rueidis.IsRedisErr(err); ok {
		return classifyReply(reply.Error())
	}
	// A connection has a time-out of its own, which is not the call's.
	if isDialError(err) {
		return classifyDial(err)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return failure{err: errors.New("the engine did not answer in time"), kind: "timeout", reached: true}
	case errors.Is(err, rueidis.ErrNoSlot), errors.Is(err, errUncovered):
		return failure{err: errUncovered, kind: "clusterdown", passes: true} // there was nobody to send it to
	case errors.Is(err, rueidis.ErrClosing):
		// The client says so of what it has sent, too.
		return failure{err: errClosed, kind: "closed", reached: true, passes: true}
	}
	return failure{err: err, kind: "network", reached: true, passes: true}
}

// classifyDial says what an error means that has come before anything was sent.
func classifyDial(err error) failure {
	switch said, ok := errors.AsType[*replyError](err); {
	case ok:
		return classifyReply(said.text)
	case errors.Is(err, errClients):
		return failure{err: err, kind: "clients", passes: true}
	case errors.Is(err, errOther):
		return failure{err: errOther, kind: "identity", passes: true}
	}
	return failure{err: err, kind: "network", passes: true}
}

func classifyReply(text string) failure {
	for _, known := range replyErrors {
		if strings.HasPrefix(text, known.prefix) {
			return failure{err: errors.New(text), kind: known.kind, passes: known.passes}
		}
	}
	return failure{err: errors.New(text), kind: "other"}
}

func isFull(err *rueidis.RedisError) bool { return strings.HasPrefix(err.Error(), "OOM") }

func isNoScript(err *rueidis.RedisError) bool { return err.IsNoScript() }

// unavailable returns the error of a call that has failed. mayHaveHappened says that the
// engine may have carried some of it out.
func unavailable(reason error, mayHaveHappened bool) error {
	if mayHaveHappened {
		return &unknownError{reason}
	}
	return &token.UnavailableError{Reason: reason.Error()}
}

// undone returns an answer that says that nothing was carried out. repeated says that an earlier
// try may have been: what the last one has met says nothing about that.
func undone(answer error, repeated bool) error {
	if repeated {
		return &unknownError{errors.New(answer.Error())} // no errors.Is must find the answer
	}
	return answer
}

// harmless returns the error of a call that changes nothing: it may be repeated.
func harmless(err error) error {
	if unknown, ok := errors.AsType[*unknownError](err); ok {
		return &token.UnavailableError{Reason: unknown.reason.Error()}
	}
	return err
}

// afterSome returns the error of a call that has changed something already, if n says so.
func afterSome(err error, n int) error {
	if known, ok := errors.AsType[*token.UnavailableError](err); ok && n > 0 {
		return &unknownError{errors.New(known.Reason)}
	}
	return err
}

// unknownError says that it is unknown what has become of a call.
type unknownError struct{ reason error }

func (e *unknownError) Error() string { return "valkey: outcome unknown: " + e.reason.Error() }
func (e *unknownError) Unwrap() error { return e.reason }
