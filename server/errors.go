package server

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/goccy/go-json"
	"github.com/valyala/fasthttp"

	"tokenserver/internal/metadata"
	"tokenserver/token"
)

// Errors of a request.
var (
	errBadRequest       = errors.New("server: bad request")
	errHeadersTooLarge  = errors.New("server: headers too large")
	errTimeout          = errors.New("server: request timeout")
	errBodyTooLarge     = errors.New("server: body too large")
	errNotFound         = errors.New("server: not found")
	errMethodNotAllowed = errors.New("server: method not allowed")
	errUnauthorized     = errors.New("server: unauthorized")
	errForbidden        = errors.New("server: forbidden")
	errPlain            = errors.New("server: plain HTTP where TLS is spoken")
	errMediaType        = errors.New("server: unsupported media type")
	errInvalidRequest   = errors.New("server: invalid request")
	errDraining         = errors.New("server: draining")
	errStopping         = errors.New("server: stopping")
	errCrowded          = errors.New("server: too many connections")
	errStale            = errors.New("server: request waited too long")
	errBusy             = errors.New("server: too many large answers")
	errInternal         = errors.New("server: internal error")
)

// answer is what a client gets for an error.
type answer struct {
	err    error
	status int
	code   string
	body   string
}

// answers has the answer to each error. An invalid token is not a failure of
// the request, so its status is 200; but of /auth, the request is one to find that out.
var answers = []answer{
	{token.ErrInvalid, 200, "InvalidToken", `{"Err":"InvalidToken"}`},
	{errNoSession, 401, "InvalidToken", `{"Err":"InvalidToken"}`}, // to a proxy that knows nothing but statuses
	failure(metadata.ErrMalformed, 400, "MalformedJSON", "The body is not a JSON text that this server accepts."),
	failure(errInvalidRequest, 422, codeInvalidRequest, "The JSON does not have the fields that this request needs."),
	failure(token.ErrBatchTooLarge, 413, "BatchTooLarge", "The answer to the items before is as large as it may be. Nothing was done: send it again."),
	failure(token.ErrMetaTooLarge, 413, "MetaTooLarge", "The metadata would be larger than this server keeps."),
	failure(errAuthTooLarge, 413, "MetaTooLarge", "The metadata is larger than headers may be."),
	failure(token.ErrFull, 507, "StoreFull", "There is no room for more sessions."),
	failure(errMediaType, 415, "UnsupportedMediaType", "The body must be application/json or application/*+json, without a content encoding."),
	failure(errNotFound, 404, "NotFound", "There is nothing at this path."),
	failure(errMethodNotAllowed, 405, "MethodNotAllowed", "This path does not have this method; Allow lists those it has."),
	failure(errUnauthorized, 401, codeUnauthorized, "The caller is not known: it needs a secret (Authorization: Bearer) or a certificate."),
	failure(errForbidden, 403, "Forbidden", "The caller may not do this."),
	failure(errPlain, 400, "BadRequest", "This port speaks TLS: use https."),
	failure(errBadRequest, 400, "BadRequest", "The request is not HTTP as this server understands it."),
	failure(errBodyTooLarge, 413, "BodyTooLarge", "The body is larger than this server reads."),
	failure(errHeadersTooLarge, 431, "HeadersTooLarge", "The request line and headers are larger than this server reads."),
	failure(errTimeout, 408, "RequestTimeout", "The request did not arrive in time."),
	refusal(errDraining, "Draining", "The server is about to stop."),
	refusal(errCrowded, codeUnavailable, "The server has too many connections. Try again."),
	refusal(errStale, codeUnavailable, "The request has waited too long for the server to start. Try again."),
	refusal(errBusy, codeUnavailable, "Too many large answers are under way. Try again."),
	refusal(errStopping, codeUnavailable, "The server stops. Try again."),
	failure(errInternal, 500, "InternalServerError", "The server has a defect; its log tells more."),
}

// unavailable is the answer to all other errors: they are the store's. What
// became of the request is unknown.
var unavailable = failure(nil, 503, codeUnavailable, "The store does not answer. Try again.")

// Codes that are looked at, or that more than one answer has.
const (
	codeUnavailable    = "StoreUnavailable"
	codeInvalidRequest = "InvalidRequest"
	codeUnauthorized   = "Unauthorized"
)

func failure(err error, status int, code, message string) answer {
	return answer{err, status, code, fmt.Sprintf(`{"Err":%q,"message":%q}`, code, message)}
}

// refusal is a failure of a request of which nothing was carried out, and which a
// client may therefore repeat.
func refusal(err error, code, message string) answer {
	return answer{err, fasthttp.StatusServiceUnavailable, code, fmt.Sprintf(`{"Err":%q,"message":%q,"done":false}`, code, message)}
}

func answerTo(err error) *answer {
	if wrong, ok := err.(*requestError); ok { // which nobody wraps
		return &wrong.answer
	}
	for i := range answers {
		if errors.Is(err, answers[i].err) {
			return &answers[i]
		}
	}
	return &unavailable
}

var contentTypeJSON = []byte("application/json")

// fail answers with an error.
func (s *Server) fail(ctx *fasthttp.RequestCtx, err error) {
	a := answerTo(err)
	if a == &unavailable {
		s.failStore(ctx, err)
		return
	}
	a.write(ctx)
}

func (a *answer) write(ctx *fasthttp.RequestCtx) {
	if a.code == codeUnavailable {
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, retryAfter)
	}
	if a.code == codeUnauthorized {
		ctx.Response.Header.Set(fasthttp.HeaderWWWAuthenticate, "Bearer")
	}
	ctx.SetStatusCode(a.status)
	ctx.Response.Header.SetContentTypeBytes(contentTypeJSON)
	ctx.Response.SetBodyString(a.body)
}

// retryAfter is when to try again, in seconds.
const retryAfter = "1"

// failStore answers with an error of the store's. It may come with every request for a
// while, so not each is logged.
func (s *Server) failStore(ctx *fasthttp.RequestCtx, err error) {
	s.logStoreError(err)
	if away := new(token.UnavailableError); errors.As(err, &away) {
		refuseWith(ctx, away.Reason)
		return
	}
	unavailable.write(ctx)
}

func (s *Server) logStoreError(err error) {
	now := time.Since(s.reaper.start)
	if away := new(token.UnavailableError); errors.As(err, &away) {
		if s.awayLogged.allow(now) {
			s.log.Warn("store is unavailable", "reason", away.Reason)
		}
		return
	}
	if s.failedLogged.allow(now) {
		s.log.Error("store failed", "error", err)
	}
}

// errorText returns the body of the answer to an error, as an item of a batch has it.
func errorText(err error) string {
	a := answerTo(err)
	if a != &unavailable {
		return a.body
	}
	if away := new(token.UnavailableError); errors.As(err, &away) {
		return string(appendRefusal(nil, away.Reason))
	}
	return a.body
}

// refuseWith answers a request of which nothing was carried out, with a reason
// of the store's.
func refuseWith(ctx *fasthttp.RequestCtx, reason string) {
	ctx.SetStatusCode(fasthttp.StatusServiceUnavailable)
	ctx.Response.Header.SetContentTypeBytes(contentTypeJSON)
	ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, retryAfter)
	setBody(ctx, appendRefusal(body(ctx), reason))
}

func appendRefusal(dst []byte, reason string) []byte {
	message, err := json.Marshal(reason)
	if err != nil {
		message = []byte(`""`)
	}
	return fmt.Appendf(dst, `{"Err":%q,"message":%s,"done":false}`, codeUnavailable, message)
}

// oncePerSecond lets a record through to the log, and others for a second not.
type oncePerSecond struct{ next atomic.Int64 }

// allow is told the time, as of a clock that begins at or above 0.
func (o *oncePerSecond) allow(now time.Duration) bool {
	next := o.next.Load()
	return int64(now) >= next && o.next.CompareAndSwap(next, int64(now+time.Second))
}
