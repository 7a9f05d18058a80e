// Package server is the HTTP face of the token server: fasthttp handlers that
// turn requests into calls of a Store, and their outcome into answers.
//
// # Basics
//
// New makes a Server, Serve answers on a listener, and Shutdown ends it after
// the requests in flight have been answered. Every request passes through
// Server.handle, and every error through answerTo, which is the only place where
// an error becomes a status.
//
// # Caveats
//
// All byte slices of a request die when its handler returns; a Store is told to
// copy what it keeps. A RequestCtx is never handed to a Store as a context: it
// is cancelled at a graceful stop, and an exchange must not be.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// Config describes a Server. All but Store may be left out.
type Config struct {
	// Store keeps the sessions.
	Store Store
	// MaxBody is the greatest size of a request's body in bytes. 0 means 64 KiB.
	MaxBody int
	// Dump allows HEAD /dump.
	Dump bool
	// Logger is where the dump, defects, and at level debug each request, are
	// written. nil means slog.Default().
	Logger *slog.Logger
	// RequestTimeout is how long a client may take to send a request, and
	// AnswerTimeout to take the answer. 0 means 10 seconds.
	RequestTimeout, AnswerTimeout time.Duration
	// IdleTimeout is how long a connection may lie idle. 0 means 5 minutes.
	IdleTimeout time.Duration
}

// headerBuffer is how many bytes a request line and headers may have. As many
// are read and written at once, which also makes room for a pipeline.
const headerBuffer = 8 << 10

func (cfg Config) withDefaults() Config {
	if cfg.MaxBody <= 0 {
		cfg.MaxBody = 64 << 10
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.RequestTimeout == 0 {
		cfg.RequestTimeout = 10 * time.Second
	}
	if cfg.AnswerTimeout == 0 {
		cfg.AnswerTimeout = 10 * time.Second
	}
	if cfg.IdleTimeout == 0 {
		cfg.IdleTimeout = 5 * time.Minute
	}
	return cfg
}

// Server answers requests from a Store.
type Server struct {
	store   Store
	maxBody int
	log     *slog.Logger
	http    fasthttp.Server
	route   fasthttp.RequestHandler
	allow   map[string]string // methods of each path, as the header has them

	requests sync.Pool // of *request
	stats    statistics
	draining atomic.Bool
	dump     dump
}

// New makes a server.
func New(cfg Config) *Server {
	cfg = cfg.withDefaults()
	s := &Server{
		store:    cfg.Store,
		maxBody:  cfg.MaxBody,
		log:      cfg.Logger,
		requests: sync.Pool{New: func() any { return new(request) }},
	}
	s.dump.init()
	s.addRoutes(cfg.Dump)
	s.http = fasthttp.Server{
		Handler:                      s.handle,
		ErrorHandler:                 s.refuse,
		ExpectHandler:                s.expect,
		Logger:                       httpLogger{cfg.Logger},
		ReadTimeout:                  cfg.RequestTimeout,
		WriteTimeout:                 cfg.AnswerTimeout,
		IdleTimeout:                  cfg.IdleTimeout,
		ReadBufferSize:               headerBuffer,
		WriteBufferSize:              headerBuffer,
		MaxRequestBodySize:           cfg.MaxBody,
		DisablePreParseMultipartForm: true,
		NoDefaultServerHeader:        true,
		SecureErrorLogMessage:        true,
		CloseOnShutdown:              true,
		TCPKeepalive:                 true,
	}
	return s
}

// Serve answers requests on ln until Shutdown, and then returns nil at once:
// Shutdown returns when all is done.
func (s *Server) Serve(ln net.Listener) error {
	return s.http.Serve(listener{ln})
}

// Drain makes /readyz answer 503 from now on. All else goes on.
func (s *Server) Drain() { s.draining.Store(true) }

// Shutdown closes the listener and idle connections, and returns when the
// requests in flight have been answered and a dump has ended, or with ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.Drain()
	s.dump.stop()
	return s.http.ShutdownWithContext(ctx)
}

// handle answers one request.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	defer s.finish(ctx)
	setNoStore(ctx)
	if err := checkFraming(ctx); err != nil {
		ctx.SetConnectionClose()
		s.fail(ctx, err)
		return
	}
	s.route(ctx)
}

// finish turns a panic into an answer, and counts and logs the request.
func (s *Server) finish(ctx *fasthttp.RequestCtx) {
	if defect := recover(); defect != nil {
		s.log.Error("defect", "panic", fmt.Sprint(defect), "stack", stack())
		ctx.Response.Reset()
		setNoStore(ctx)
		ctx.SetConnectionClose()
		s.fail(ctx, errDefect)
	}
	s.stats.count(ctx, methodIndex(ctx), time.Since(ctx.Time()))
	s.logRequest(ctx)
}

// refuse answers a request that could not be read.
func (s *Server) refuse(ctx *fasthttp.RequestCtx, err error) {
	lingerAfter(ctx)
	ctx.Response.Reset()
	setNoStore(ctx)
	s.fail(ctx, readError(err))
	s.stats.count(ctx, otherMethod, 0)
}

// readError finds out what it means that fasthttp could not read a request.
func readError(err error) error {
	var tooLarge *fasthttp.ErrSmallBuffer
	var timeout net.Error
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		return errBodyTooLarge
	case errors.As(err, &tooLarge):
		return errHeadersTooLarge
	case errors.As(err, &timeout) && timeout.Timeout():
		return errTimeout
	}
	return errBadRequest
}

// expect answers "Expect: 100-continue": a body that would be refused is not asked for.
func (s *Server) expect(ctx *fasthttp.RequestCtx) int {
	err := checkFraming(ctx)
	if err == nil && ctx.Request.Header.ContentLength() <= s.maxBody {
		return fasthttp.StatusContinue
	}
	if err == nil {
		err = errBodyTooLarge
	}
	lingerAfter(ctx)
	setNoStore(ctx)
	s.fail(ctx, err)
	s.stats.count(ctx, methodIndex(ctx), 0)
	return ctx.Response.StatusCode()
}

// setNoStore keeps answers, which are secrets, out of caches.
func setNoStore(ctx *fasthttp.RequestCtx) {
	ctx.Response.Header.SetCanonical(headerCacheControl, valueNoStore)
}

var (
	headerCacheControl = []byte("Cache-Control")
	valueNoStore       = []byte("no-store")
)

// httpLogger takes what fasthttp has to say of broken connections.
type httpLogger struct{ log *slog.Logger }

func (l httpLogger) Printf(format string, args ...any) {
	l.log.Debug("connection", "error", fmt.Sprintf(format, args...))
}

// listener and conn let a connection be closed such that its last answer arrives.
type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c}, nil
}

type conn struct {
	net.Conn
	linger bool // set and read by the connection's own goroutine
}

// What a client may still send, and for how long, after it was refused.
const (
	lingerBytes = 1 << 20
	lingerTime  = time.Second
)

// lingerAfter lets the connection of a refused request linger. Closed with
// unread input, a socket resets the connection, and the client might lose the
// answer that tells why.
func lingerAfter(ctx *fasthttp.RequestCtx) {
	if c, ok := ctx.Conn().(*conn); ok {
		c.linger = true
	}
}

// Close closes the connection.
func (c *conn) Close() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && c.linger && half.CloseWrite() == nil {
		c.SetReadDeadline(time.Now().Add(lingerTime))
		io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
	return c.Conn.Close()
}
