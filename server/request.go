package server

import (
	"bytes"

	"tokenserver/token"

	"github.com/valyala/fasthttp"
)

// request is what the body of a request says. It refers to the request's body.
type request struct {
	scanner token.Scanner
	token   []byte // the string's JSON text; nil if it was not given
	meta    []byte // compact; nil if it was not given
}

// fields says which fields a request uses. It ignores others.
type fields struct{ token, meta bool }

var (
	fieldsOfCreate   = fields{meta: true}
	fieldsOfExchange = fields{token: true, meta: true}
	fieldsOfToken    = fields{token: true}
)

// read checks the body of a request and takes the fields used. Each is given
// once at most, a token is a string and meta an object or null.
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
	r.token, r.meta = nil, nil
	for _, f := range r.scanner.Fields() {
		if err := r.take(f, used); err != nil {
			return err
		}
	}
	return r.check(used)
}

// take takes one field if it is used.
func (r *request) take(f token.Field, used fields) error {
	var into *[]byte
	switch name := string(f.Name); {
	case name == "token" && used.token:
		into = &r.token
	case name == "meta" && used.meta:
		into = &r.meta
	default:
		return nil
	}
	if *into != nil {
		return errInvalidRequest
	}
	*into = f.Value
	return nil
}

// check checks the kinds of the fields taken. Without a token to go with it,
// meta is required.
func (r *request) check(used fields) error {
	if used.token && (r.token == nil || r.token[0] != '"') {
		return errInvalidRequest
	}
	if r.meta != nil && r.meta[0] == 'n' {
		r.meta = nil
	}
	if r.meta != nil && r.meta[0] != '{' || r.meta == nil && !used.token {
		return errInvalidRequest
	}
	return nil
}

// parseToken returns the token that was given. Its error is token.ErrInvalid.
func (r *request) parseToken() (token.Token, error) {
	return token.Parse(token.Unquote(r.token))
}

// checkMediaType checks that a body is said to be plain JSON.
func checkMediaType(h *fasthttp.RequestHeader) error {
	if len(h.ContentEncoding()) > 0 {
		return errMediaType
	}
	mediaType, _, _ := bytes.Cut(h.ContentType(), []byte{';'})
	if !bytes.EqualFold(bytes.TrimSpace(mediaType), contentTypeJSON) {
		return errMediaType
	}
	return nil
}
