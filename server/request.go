package server

import (
	"bytes"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"tokenserver/internal/duration"
	"tokenserver/internal/metadata"
	"tokenserver/token"
)

// request is what the body of a request says. It borrows the request's body, so that
// it is valid until the handler returns.
type request struct {
	scanner metadata.Scanner
	values  [fieldCount][]byte // JSON texts, compact, or nil if they were not given
}

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

// fieldRules say what a field is called and which values it may have.
var fieldRules = [fieldCount]struct {
	name string
	ok   func(value []byte) bool
}{
	fieldToken:    {"token", isString},
	fieldMeta:     {"meta", isObject},
	fieldUnset:    {"unset", metadata.IsStrings},
	fieldSubject:  {"subject", isSubject},
	fieldLifetime: {"lifetime", isLifetime},
	fieldLimit:    {"limit", isLimit},
	fieldAfter:    {"after", isString},
	fieldSession:  {"session", isString},
	fieldKeep:     {"keep", isString},
}

// fields are those that a request uses. It ignores others.
type fields struct{ required, optional []field }

var (
	fieldsOfCreate      = fields{[]field{fieldMeta}, []field{fieldSubject, fieldLifetime}}
	fieldsOfExchange    = fields{[]field{fieldToken}, []field{fieldMeta, fieldUnset}}
	fieldsOfToken       = fields{required: []field{fieldToken}}
	fieldsOfEndSubject  = fields{[]field{fieldSubject}, []field{fieldSession, fieldKeep}}
	fieldsOfListSubject = fields{[]field{fieldSubject}, []field{fieldLimit, fieldAfter}}
)

// read checks the body of a request and takes the fields used. Each is given once at
// most, and of its kind. An optional one that is null is as if it were not given.
func (r *request) read(ctx *fasthttp.RequestCtx, used fields) error {
	if err := checkMediaType(&ctx.Request.Header); err != nil {
		return err
	}
	text, err := r.scanner.Scan(ctx.Request.Body())
	if err != nil {
		return err
	}
	if text[0] != '{' {
		return errInvalidRequest
	}
	clear(r.values[:])
	for _, member := range r.scanner.Fields() {
		if f, ok := used.find(member.Name); ok {
			if r.values[f] != nil {
				return errInvalidRequest
			}
			r.values[f] = member.Value
		}
	}
	return r.check(used)
}

// find returns the field used with a name.
func (used fields) find(name []byte) (field, bool) {
	for _, list := range [...][]field{used.required, used.optional} {
		for _, f := range list {
			if string(name) == fieldRules[f].name {
				return f, true
			}
		}
	}
	return 0, false
}

// check checks the kinds of the fields used.
func (r *request) check(used fields) error {
	for _, f := range used.required {
		if r.values[f] == nil || !fieldRules[f].ok(r.values[f]) {
			return errInvalidRequest
		}
	}
	for _, f := range used.optional {
		if string(r.values[f]) == "null" {
			r.values[f] = nil
		}
		if r.values[f] != nil && !fieldRules[f].ok(r.values[f]) {
			return errInvalidRequest
		}
	}
	return nil
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

// parseToken returns the token that was given. Its error is token.ErrInvalid.
func (r *request) parseToken() (token.Token, error) {
	return token.Parse(metadata.Unquote(r.values[fieldToken]))
}

// patch returns what an exchange is to change.
func (r *request) patch() token.Patch {
	return token.Patch{Meta: r.values[fieldMeta], Unset: r.values[fieldUnset]}
}

// newSession returns the session that is to be created.
func (r *request) newSession() token.NewSession {
	n := token.NewSession{Meta: r.values[fieldMeta]}
	if r.values[fieldSubject] != nil {
		n.Subject = r.subject()
	}
	if r.values[fieldLifetime] != nil {
		n.Lifetime, _ = parseLifetime(r.values[fieldLifetime])
	}
	return n
}

// subject returns the subject that was given.
func (r *request) subject() []byte { return metadata.Unquote(r.values[fieldSubject]) }

// page returns which sessions are to be listed.
func (r *request) page() (page token.Page, err error) {
	page.Limit = maxPage
	if r.values[fieldLimit] != nil {
		page.Limit, _ = strconv.Atoi(string(r.values[fieldLimit]))
	}
	if r.values[fieldAfter] != nil {
		if page.After, err = token.ParseSessionName(metadata.Unquote(r.values[fieldAfter])); err != nil {
			return page, errInvalidRequest
		}
	}
	return page, nil
}

// maxLifetimeText is how long the text of a lifetime may be, in bytes after unescaping.
const maxLifetimeText = 64

// parseLifetime reads a lifetime, a duration as on the command line.
func parseLifetime(value []byte) (d time.Duration, ok bool) {
	if !isString(value) {
		return 0, false
	}
	text := metadata.Unquote(value)
	if len(text) > maxLifetimeText {
		return 0, false
	}
	d, err := duration.Parse(string(text))
	return d, err == nil && token.MinSessionLifetime <= d && d <= token.MaxIdleLifetime
}

// checkMediaType checks that a body is said to be plain JSON. Of a coding the
// header alone says too much, whatever its value.
func checkMediaType(h *fasthttp.RequestHeader) error {
	if len(h.PeekAll(fasthttp.HeaderContentEncoding)) > 0 {
		return errMediaType
	}
	mediaType, _, _ := bytes.Cut(h.ContentType(), []byte{';'})
	if !bytes.EqualFold(bytes.TrimSpace(mediaType), contentTypeJSON) {
		return errMediaType
	}
	return nil
}
