package server

import (
	"errors"
	"strings"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"

	"tokenserver/access"
	"tokenserver/token"
)

// A handler answers a request, or returns the error to answer with.
type handler func(ctx *fasthttp.RequestCtx) error

type route struct {
	method, path string
	needs        access.Role // of its callers; 0 for everybody
	handle       handler
}

// batchPath is the path of the one request whose body has a limit of its own.
const batchPath = "/token/batch"

func (s *Server) routes(dump bool) []route {
	routes := []route{
		{"POST", "/token", access.Tokens, s.handleCreate},
		{"PUT", "/token", access.Tokens, s.handleExchange},
		{"DELETE", "/token", access.Tokens, s.handleDelete},
		{"POST", "/token/validate", access.Tokens, s.handleValidate},
		{"POST", batchPath, access.Tokens, s.handleBatch},
		{"DELETE", "/subject", access.Tokens, s.handleEndSubject},
		{"POST", "/subject/sessions", access.Tokens, s.handleListSubject},
		{"GET", "/healthz", 0, s.handleHealth},
		{"HEAD", "/healthz", 0, s.handleHealth},
		{"GET", "/readyz", 0, s.handleReady},
		{"HEAD", "/readyz", 0, s.handleReady},
	}
	if dump {
		routes = append(routes, route{"HEAD", "/dump", access.Admin, s.handleDump})
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
	r.NotFound = s.answering(handleNotFound)
	r.MethodNotAllowed = s.answering(s.handleMethodNotAllowed)
	s.allow = make(map[string]string)
	for _, route := range s.routes(dump) {
		r.Handle(route.method, route.path, s.answering(s.guarded(route.needs, route.handle)))
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

func handleNotFound(*fasthttp.RequestCtx) error { return errNotFound }

func (s *Server) handleMethodNotAllowed(ctx *fasthttp.RequestCtx) error {
	allow, ok := s.allow[string(ctx.Request.URI().PathOriginal())]
	if !ok { // "*", which the router takes for a path
		ctx.Response.Header.Del(fasthttp.HeaderAllow)
		return errNotFound
	}
	ctx.Response.Header.Set(fasthttp.HeaderAllow, allow)
	return errMethodNotAllowed
}

func (s *Server) handleHealth(ctx *fasthttp.RequestCtx) error {
	ctx.SetBodyString("ok\n")
	return nil
}

func (s *Server) handleReady(ctx *fasthttp.RequestCtx) error {
	if s.draining.Load() {
		return errDraining
	}
	if err := s.Ready(); err != nil {
		refuseWith(ctx, err.Error())
		return nil
	}
	if id := s.identity(); id != "" {
		ctx.Response.Header.Set("Store-Id", id)
	}
	return s.handleHealth(ctx)
}

// Ready says why /readyz would answer 503, or returns nil. It is the one place where any
// error of the store's is told: it is for operators.
func (s *Server) Ready() error {
	if s.draining.Load() {
		return errors.New("the server is about to stop")
	}
	err := s.unready()
	if away := new(token.UnavailableError); errors.As(err, &away) {
		return errors.New(away.Reason)
	}
	return err
}

// identity returns which store it is, or "" if that is not known.
func (s *Server) identity() string {
	if s.storeID == nil {
		return ""
	}
	return s.storeID()
}
