package server

import (
	"errors"
	"fmt"
	"runtime/debug"

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
	errMediaType        = errors.New("server: unsupported media type")
	errInvalidRequest   = errors.New("server: invalid request")
	errDraining         = errors.New("server: draining")
	errInternal         = errors.New("server: internal error")
)

// answer is what a client gets for an error.
type answer struct {
	err    error
	status int
	body   string
}

// answers has the answer to each error. An invalid token is not a failure of
// the request, so its status is 200.
var answers = []answer{
	{token.ErrInvalid, 200, `{"Err":"InvalidToken"}`},
	failure(metadata.ErrMalformed, 400, "MalformedJSON", "The body is not a JSON text that this server accepts."),
	failure(errInvalidRequest, 422, "InvalidRequest", "The JSON does not have the fields that this request needs."),
	failure(token.ErrMetaTooLarge, 413, "MetaTooLarge", "The metadata would be larger than this server keeps."),
	failure(token.ErrFull, 507, "StoreFull", "There is no room for more sessions."),
	failure(errMediaType, 415, "UnsupportedMediaType", "The body must be application/json, without a content encoding."),
	failure(errNotFound, 404, "NotFound", "There is nothing at this path."),
	failure(errMethodNotAllowed, 405, "MethodNotAllowed", "This path does not have this method; Allow lists those it has."),
	failure(errBadRequest, 400, "BadRequest", "The request is not HTTP as this server understands it."),
	failure(errBodyTooLarge, 413, "BodyTooLarge", "The body is larger than this server reads."),
	failure(errHeadersTooLarge, 431, "HeadersTooLarge", "The request line and headers are larger than this server reads."),
	failure(errTimeout, 408, "RequestTimeout", "The request did not arrive in time."),
	failure(errDraining, 503, "Draining", "The server is about to stop."),
	failure(errInternal, 500, "InternalServerError", "The server has a defect; its log tells more."),
}

// unavailable is the answer to all other errors: they are the store's.
var unavailable = failure(nil, 503, "StoreUnavailable", "The store does not answer. Try again.")

func failure(err error, status int, code, message string) answer {
	return answer{err, status, fmt.Sprintf(`{"Err":%q,"message":%q}`, code, message)}
}

func answerTo(err error) *answer {
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
		s.log.Error("store failed", "error", err)
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "1")
	}
	ctx.SetStatusCode(a.status)
	ctx.Response.Header.SetContentTypeBytes(contentTypeJSON)
	ctx.Response.SetBodyString(a.body)
}

func stack() string { return string(debug.Stack()) }
