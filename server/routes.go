package server

import (
	"bytes"
	"errors"
	"slices"
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
		{"GET", authPath, access.Tokens, s.handleAuth},
		{"HEAD", authPath, access.Tokens, s.handleAuth},
		{"GET", "/openapi.yaml", 0, handleOpenAPI},
		{"HEAD", "/openapi.yaml", 0, handleOpenAPI},
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
	s.paths = make(map[string]*path)
	for _, route := range s.routes(dump) {
		h := s.answering(s.guarded(route))
		r.Handle(route.method, route.path, h)
		s.pathOf(route.path).add(route.method, h)
	}
	s.router = r.Handler
}

// path is what there is at a path of ours.
type path struct {
	handlers [len(methods)]fasthttp.RequestHandler // by the index of their methods
	allow    string                                // its methods, as the header has them
}

func (s *Server) pathOf(name string) *path {
	if s.paths[name] == nil {
		s.paths[name] = new(path)
	}
	return s.paths[name]
}

func (p *path) add(method string, h fasthttp.RequestHandler) {
	p.handlers[slices.Index(methods[:], method)] = h
	p.allow = strings.TrimPrefix(p.allow+", "+method, ", ")
}

// route hands a request to its handler. A target that is one of our paths to the
// letter, with a query or without, as almost all are, needs neither to be parsed nor to
// be looked for by the router.
func (s *Server) route(ctx *fasthttp.RequestCtx, method int) {
	target := ctx.Request.Header.RequestURI()
	if p := s.paths[string(target)]; p != nil && p.handlers[method] != nil {
		p.handlers[method](ctx)
		return
	}
	if err := checkTarget(ctx); err != nil {
		s.fail(ctx, err)
		return
	}
	name, _, _ := bytes.Cut(target, []byte{'?'})
	if p := s.paths[string(name)]; p != nil && p.handlers[method] != nil {
		p.handlers[method](ctx)
		return
	}
	s.router(ctx)
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
	p, ok := s.paths[string(ctx.Request.URI().PathOriginal())]
	if !ok { // "*", which the router takes for a path
		ctx.Response.Header.Del(fasthttp.HeaderAllow)
		return errNotFound
	}
	ctx.Response.Header.Set(fasthttp.HeaderAllow, p.allow)
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
