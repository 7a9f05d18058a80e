package server

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/valyala/fasthttp"

	"tokenserver/internal/duration"
	"tokenserver/internal/metadata"
	"tokenserver/token"
)

// field is a field of a request's body.
type field int

const (
	fieldToken field = iota
	fieldMeta
	fieldUnset
	fieldSubject
	fieldLifetime
	fieldLimit
	fieldAfter
	fieldSession
	fieldKeep
	fieldCount
)

// fieldRule says what a field is called and which values it may have.
type fieldRule struct {
	name         string
	ok           func(value []byte) bool
	wrong, twice *requestError
}

// newRule makes the rule of a field from what it needs to be, in words.
func newRule(name, needs string, ok func(value []byte) bool) fieldRule {
	return fieldRule{
		name:  name,
		ok:    ok,
		wrong: newRequestError(fmt.Sprintf("%q must be %s.", name, needs)),
		twice: newRequestError(fmt.Sprintf("%q is given twice.", name)),
	}
}

var fieldRules = [fieldCount]fieldRule{
	fieldToken:   newRule("token", "a string", isString),
	fieldMeta:    newRule("meta", "an object", isObject),
	fieldUnset:   newRule("unset", "an array of strings", metadata.IsStrings),
	fieldSubject: newRule("subject", fmt.Sprintf("a string of 1 to %d bytes", token.MaxSubject), isSubject),
	fieldLifetime: newRule("lifetime", fmt.Sprintf("a duration from %s to %s",
		duration.Format(token.MinSessionLifetime), duration.Format(token.MaxIdleLifetime)), isLifetime),
	fieldLimit:   newRule("limit", fmt.Sprintf("a whole number from 1 to %d", maxPage), isLimit),
	fieldAfter:   newRule("after", "the name of a session of this subject that lives; start again without it", isString),
	fieldSession: newRule("session", "a string", isString),
	fieldKeep:    newRule("keep", "a string", isString),
}

// Errors of bodies that are not about one field.
var (
	errNoObject = newRequestError("The body must be a JSON object.")
	errNoKind   = newRequestError("An item must have one of create, exchange, validate and delete, once, with an object as its value.")
	errTwoEnds  = newRequestError(`"session" and "keep" can't be given both.`)
)

// requestError is an errInvalidRequest that says what was wrong, for a person, and
// has nothing of the request in it.
type requestError struct{ answer answer }

func newRequestError(message string) *requestError {
	return &requestError{failure(errInvalidRequest, fasthttp.StatusUnprocessableEntity, codeInvalidRequest, message)}
}

func (e *requestError) Error() string { return e.answer.err.Error() }

// Unwrap returns errInvalidRequest.
func (e *requestError) Unwrap() error { return e.answer.err }

// fields are those that a request uses. It ignores others.
type fields struct {
	required, optional []field
	names              []string // of all
}

func newFields(required, optional []field) fields {
	used := fields{required: required, optional: optional}
	for _, f := range slices.Concat(required, optional) {
		used.names = append(used.names, fieldRules[f].name)
	}
	return used
}

var (
	fieldsOfCreate      = newFields([]field{fieldMeta}, []field{fieldSubject, fieldLifetime})
	fieldsOfExchange    = newFields([]field{fieldToken}, []field{fieldMeta, fieldUnset})
	fieldsOfToken       = newFields([]field{fieldToken}, nil)
	fieldsOfEndSubject  = newFields([]field{fieldSubject}, []field{fieldSession, fieldKeep})
	fieldsOfListSubject = newFields([]field{fieldSubject}, []field{fieldLimit, fieldAfter})
)

// find returns the field used with a name.
func (used fields) find(name string) (field, bool) {
	for _, list := range [...][]field{used.required, used.optional} {
		for _, f := range list {
			if name == fieldRules[f].name {
				return f, true
			}
		}
	}
	return 0, false
}

func isString(value []byte) bool { return value[0] == '"' }

func isObject(value []byte) bool { return value[0] == '{' }

func isSubject(value []byte) bool {
	if !isString(value) {
		return false
	}
	n := len(metadata.Unquote(value))
	return 1 <= n && n <= token.MaxSubject
}

func isLifetime(value []byte) bool {
	_, ok := parseLifetime(value)
	return ok
}

func isLimit(value []byte) bool {
	n, err := strconv.Atoi(string(value))
	return err == nil && 1 <= n && n <= maxPage
}
