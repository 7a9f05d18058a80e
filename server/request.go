package server

import (
	"bytes"
	"time"

	"github.com/valyala/fasthttp"

	"tokenserver/internal/duration"
	"tokenserver/internal/metadata"
	"tokenserver/token"
)

// request is what the body of a request says. Its fields are JSON texts, compact,
// or nil if they were not given. They borrow the request's body, so that they are
// valid until the handler returns.
type request struct {
	scanner metadata.Scanner
	token   []byte
	meta    []byte
	subject []byte
	life    []byte
}

// fields says which fields a request uses. It ignores others.
type fields struct{ token, meta, subject, life bool }

var (
	fieldsOfCreate   = fields{meta: true, subject: true, life: true}
	fieldsOfExchange = fields{token: true, meta: true}
	fieldsOfToken    = fields{token: true}
	fieldsOfSubject  = fields{subject: true}
)

// read checks the body of a request and takes the fields used. Each is given
// once at most. A token is there and a string, and meta an object, or null.
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
	r.token, r.meta, r.subject, r.life = nil, nil, nil, nil
	for _, f := range r.scanner.Fields() {
		if err := r.take(f, used); err != nil {
			return err
		}
	}
	return r.check(used)
}

// take takes one field if it is used.
func (r *request) take(f metadata.Field, used fields) error {
	var into *[]byte
	switch name := string(f.Name); {
	case name == "token" && used.token:
		into = &r.token
	case name == "meta" && used.meta:
		into = &r.meta
	case name == "subject" && used.subject:
		into = &r.subject
	case name == "lifetime" && used.life:
		into = &r.life
	default:
		return nil
	}
	if *into != nil {
		return errInvalidRequest
	}
	*into = f.Value
	return nil
}

// check checks the kinds of token and meta. A null meta is as none.
func (r *request) check(used fields) error {
	if used.token && (r.token == nil || r.token[0] != '"') {
		return errInvalidRequest
	}
	if r.meta != nil && r.meta[0] == 'n' {
		r.meta = nil
	}
	if r.meta != nil && r.meta[0] != '{' {
		return errInvalidRequest
	}
	return nil
}

// parseToken returns the token that was given. Its error is token.ErrInvalid.
func (r *request) parseToken() (token.Token, error) {
	return token.Parse(metadata.Unquote(r.token))
}

// parseNew returns the session that is to be created.
func (r *request) parseNew() (n token.NewSession, err error) {
	if r.meta == nil {
		return n, errInvalidRequest
	}
	n.Meta = r.meta
	if r.subject != nil {
		if n.Subject, err = r.parseSubject(); err != nil {
			return n, err
		}
	}
	if r.life != nil {
		n.Lifetime, err = r.parseLifetime()
	}
	return n, err
}

// parseSubject returns the subject that was given.
func (r *request) parseSubject() ([]byte, error) {
	if r.subject == nil || r.subject[0] != '"' {
		return nil, errInvalidRequest
	}
	subject := metadata.Unquote(r.subject)
	if len(subject) == 0 || len(subject) > token.MaxSubject {
		return nil, errInvalidRequest
	}
	return subject, nil
}

// maxLifetimeText is how long the text of a lifetime may be, in bytes after unescaping.
const maxLifetimeText = 64

// parseLifetime returns the lifetime that was given, a duration as on the
// command line.
func (r *request) parseLifetime() (time.Duration, error) {
	if r.life[0] != '"' {
		return 0, errInvalidRequest
	}
	text := metadata.Unquote(r.life)
	if len(text) > maxLifetimeText {
		return 0, errInvalidRequest
	}
	d, err := duration.Parse(string(text))
	if err != nil || d < token.MinIdleLifetime || token.MaxIdleLifetime < d {
		return 0, errInvalidRequest
	}
	return d, nil
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
