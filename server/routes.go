package server

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/fasthttp/router"
	"github.com/goccy/go-json"
	"github.com/valyala/fasthttp"
)

// A handler answers a request, or returns the error to answer with.
type handler func(ctx *fasthttp.RequestCtx) error

type route struct {
	method, path string
	handle       handler
}

func (s *Server) routes(dump bool) []route {
	routes := []route{
		{"POST", "/token", s.create},
		{"PUT", "/token", s.exchange},
		{"DELETE", "/token", s.delete},
		{"POST", "/token/validate", s.validate},
		{"DELETE", "/subject", s.endSubject},
		{"POST", "/subject/sessions", s.listSubject},
		{"GET", "/healthz", s.healthy},
		{"HEAD", "/healthz", s.healthy},
		{"GET", "/readyz", s.ready},
		{"HEAD", "/readyz", s.ready},
	}
	if dump {
		routes = append(routes, route{"HEAD", "/dump", s.startDump})
	}
	return routes
}

// addRoutes builds the router. It redirects nothing, and the Allow header is
// ours: the router's always lists OPTIONS.
func (s *Server) addRoutes(dump bool) {
	r := router.New()
	r.RedirectTrailingSlash = false
	r.RedirectFixedPath = false
	r.HandleOPTIONS = false
	r.NotFound = s.answering(notFound)
	r.MethodNotAllowed = s.answering(s.methodNotAllowed)
	s.allow = make(map[string]string)
	for _, route := range s.routes(dump) {
		r.Handle(route.method, route.path, s.answering(route.handle))
		s.allow[route.path] = strings.TrimPrefix(s.allow[route.path]+", "+route.method, ", ")
	}
	s.route = r.Handler
}

// answering makes a fasthttp handler of one of ours.
func (s *Server) answering(h handler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		if err := h(ctx); err != nil {
			s.fail(ctx, err)
		}
	}
}

func notFound(*fasthttp.RequestCtx) error { return errNotFound }

func (s *Server) methodNotAllowed(ctx *fasthttp.RequestCtx) error {
	allow, ok := s.allow[string(ctx.Request.URI().PathOriginal())]
	if !ok { // "*", which the router takes for a path
		ctx.Response.Header.Del(fasthttp.HeaderAllow)
		return errNotFound
	}
	ctx.Response.Header.Set(fasthttp.HeaderAllow, allow)
	return errMethodNotAllowed
}

func (s *Server) healthy(ctx *fasthttp.RequestCtx) error {
	ctx.SetBodyString("ok\n")
	return nil
}

func (s *Server) ready(ctx *fasthttp.RequestCtx) error {
	if s.draining.Load() {
		return errDraining
	}
	if err := s.unready(); err != nil {
		return notReady(ctx, err)
	}
	return s.healthy(ctx)
}

// notReady is the one answer with a reason of the store's in it: it is for operators.
func notReady(ctx *fasthttp.RequestCtx, reason error) error {
	message, err := json.Marshal(reason.Error())
	if err != nil {
		return err
	}
	ctx.SetStatusCode(fasthttp.StatusServiceUnavailable)
	ctx.Response.Header.SetContentTypeBytes(contentTypeJSON)
	ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "1")
	setBody(ctx, fmt.Appendf(body(ctx), `{"Err":"StoreUnavailable","message":%s}`, message))
	return nil
}

// logRequest writes the access log. A path that is none of ours might hold
// anything, a token too, so it is left out.
func (s *Server) logRequest(ctx *fasthttp.RequestCtx, method int, d time.Duration) {
	if !s.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	path := string(ctx.Request.URI().PathOriginal())
	if _, ours := s.allow[path]; !ours {
		path = "unknown"
	}
	s.log.LogAttrs(ctx, slog.LevelDebug, "request",
		slog.String("method", methods[method]),
		slog.String("path", path),
		slog.Int("status", ctx.Response.StatusCode()),
		slog.Duration("duration", d),
		slog.String("remote", ctx.RemoteAddr().String()))
}
