package server

import (
	"context"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"tokenserver/token"
)

// body takes the response's buffer out, so that an answer can be appended
// straight to what fasthttp sends.
func body(ctx *fasthttp.RequestCtx) []byte { return ctx.Response.SwapBody(nil)[:0] }

// setBody puts the buffer back. A large one is used this once.
func setBody(ctx *fasthttp.RequestCtx, body []byte) {
	if cap(body) > maxKept {
		ctx.Response.SetBodyRaw(body)
	} else {
		ctx.Response.SwapBody(body)
	}
}

func (s *Server) handleCreate(ctx *fasthttp.RequestCtx) error {
	r := s.newRequest()
	defer s.release(r)
	if err := r.read(ctx, fieldsOfCreate); err != nil {
		return err
	}
	t, err := s.store.Create(context.Background(), r.newSession())
	if err != nil {
		return err
	}
	setBody(ctx, t.Append(body(ctx))) // text/plain; charset=utf-8 is fasthttp's default
	return nil
}

// What an exchange answers, with the token and the metadata between.
const (
	exchangedHead = `{"Ok":{"token":"`
	exchangedMid  = `","meta":`
	exchangedTail = `}}`

	tokenStart = len(exchangedHead)
	tokenEnd   = tokenStart + token.EncodedLen
)

// exchangedStart is an answer up to the metadata, with room for the token, which
// is known only after the store has appended the metadata.
var exchangedStart = exchangedHead + string(make([]byte, token.EncodedLen)) + exchangedMid

func (s *Server) handleExchange(ctx *fasthttp.RequestCtx) error {
	r := s.newRequest()
	defer s.release(r)
	if err := r.read(ctx, fieldsOfExchange); err != nil {
		return err
	}
	t, err := r.parseToken()
	if err != nil {
		return err
	}
	buf := append(body(ctx), exchangedStart...)
	x, err := s.store.Exchange(context.Background(), t, r.patch(), buf)
	if err != nil {
		setBody(ctx, buf)
		return err
	}
	x.Token.Append(x.Meta[tokenStart:tokenStart:tokenEnd])
	setBody(ctx, append(x.Meta, exchangedTail...))
	ctx.Response.Header.SetContentTypeBytes(contentTypeJSON)
	if x.Reused {
		ctx.Response.Header.Set("Token-Reused", "true")
	}
	return nil
}

// What a validate answers, around the metadata and the seconds that are left.
const (
	validatedHead = `{"Ok":{"meta":`
	validatedMid  = `,"expires_in":`
	validatedTail = `}}`
)

func (s *Server) handleValidate(ctx *fasthttp.RequestCtx) error {
	r := s.newRequest()
	defer s.release(r)
	if err := r.read(ctx, fieldsOfToken); err != nil {
		return err
	}
	t, err := r.parseToken()
	if err != nil {
		return err
	}
	buf, expires, err := s.store.Validate(context.Background(), t, append(body(ctx), validatedHead...))
	if err != nil {
		return err
	}
	buf = append(buf, validatedMid...)
	buf = strconv.AppendInt(buf, secondsUntil(expires, time.Now()), 10)
	setBody(ctx, append(buf, validatedTail...))
	ctx.Response.Header.SetContentTypeBytes(contentTypeJSON)
	return nil
}

// secondsUntil rounds up: a session that lives has at least a second.
func secondsUntil(t, now time.Time) int64 {
	return max(int64((t.Sub(now)+time.Second-1)/time.Second), 1)
}

// handleDelete accepts any token: whoever presents one wants its session to be over,
// and afterwards it is.
func (s *Server) handleDelete(ctx *fasthttp.RequestCtx) error {
	r := s.newRequest()
	defer s.release(r)
	if err := r.read(ctx, fieldsOfToken); err != nil {
		return err
	}
	if t, err := r.parseToken(); err == nil {
		if err := s.store.Delete(context.Background(), t); err != nil {
			return err
		}
	}
	ctx.SetStatusCode(fasthttp.StatusAccepted)
	return nil
}
