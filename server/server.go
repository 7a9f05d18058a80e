// Package server is the HTTP face of the token server: fasthttp handlers that
// turn requests into calls of a [Store], and their outcome into answers.
//
// # Basics
//
// [New] makes a [Server], [Server.Serve] answers on a listener, and
// [Server.Shutdown] ends it after the requests in flight have been answered and the
// answers taken. Every request passes through Server.handle, and every error through
// answerTo, which is the only place where an error becomes a status.
//
// A connection is a conn: it is in one phase at a time (step.go), which the reaper
// ends when it takes too long (reaper.go), and it closes such that its last answers
// arrive (linger.go). Where TLS is spoken that lies under it (tls.go). Who may call is
// asked once path and method are known (access.go).
//
// # Caveats
//
// All byte slices of a request die when its handler returns; a Store is told to
// copy what it keeps. A RequestCtx is never handed to a Store as a context: it is
// the next request's once the handler has returned.
package server

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"tokenserver/access"
	"tokenserver/token"
)

// Config describes a Server. All but Store may be left out.
type Config struct {
	// Store keeps the sessions.
	Store Store
	// MaxBody is the greatest size of a request's body in bytes. 0 means
	// DefaultMaxBody.
	MaxBody int
	// MaxMeta is the greatest size of a session's metadata in bytes, as the Store
	// has it. 0 means [token.DefaultMetaLimit].
	MaxMeta int
	// MaxBatch is the greatest number of items in a batch, and MaxBatchBody the
	// greatest size of its request's body in bytes, where that is more than MaxBody. 0
	// means DefaultMaxBatch and DefaultMaxBatchBody.
	MaxBatch, MaxBatchBody int
	// Dump allows HEAD /dump.
	Dump bool
	// Guard knows who may call. nil means that everybody may.
	Guard *access.Guard
	// Ready says why the store can't be relied on, for /readyz. nil means that it
	// always can.
	Ready func() error
	// StoreID returns which store it is, for the header Store-Id of /readyz: letters,
	// digits, - and _, or "" while that is not known. nil means that there is no such
	// header.
	StoreID func() string
	// Logger is where the dump, recovered panics, and at level debug each request, are
	// written. nil means slog.Default().
	Logger *slog.Logger
	// RequestTimeout is how long a client may take to send a request, and
	// AnswerTimeout to take the answer. 0 means DefaultRequestTimeout and
	// DefaultAnswerTimeout.
	RequestTimeout, AnswerTimeout time.Duration
	// IdleTimeout is how long a connection may lie idle. 0 means
	// DefaultIdleTimeout.
	IdleTimeout time.Duration
	// MaxConnections is how many connections there may be at a time. 0 means that
	// there is no limit. Beyond it, one is closed for a new one whose caller is not known
	// and waits to be told so, or is idle; else one that has sent nothing yet, or one that
	// is idle for over ten seconds; else the new one is refused.
	MaxConnections int
}

// Bounds and default of [Config].MaxBody in bytes. Flags are held to the bounds; a
// Server takes what it is given.
const (
	MinMaxBody     = 1 << 10
	MaxMaxBody     = 16 << 20
	DefaultMaxBody = 64 << 10
)

// Time-outs of a connection where [Config] has none.
const (
	DefaultRequestTimeout = 10 * time.Second
	DefaultAnswerTimeout  = 10 * time.Second
	DefaultIdleTimeout    = 5 * time.Minute
)

// headerBuffer is how many bytes a request line and headers may have. As many
// are read and written at once, which also makes room for a pipeline.
const headerBuffer = 8 << 10

func (cfg Config) withDefaults() Config {
	if cfg.MaxBody <= 0 {
		cfg.MaxBody = DefaultMaxBody
	}
	if cfg.MaxBatch == 0 {
		cfg.MaxBatch = DefaultMaxBatch
	}
	if cfg.MaxBatchBody == 0 {
		cfg.MaxBatchBody = DefaultMaxBatchBody
	}
	if cfg.MaxMeta == 0 {
		cfg.MaxMeta = token.DefaultMetaLimit
	}
	if cfg.Ready == nil {
		cfg.Ready = func() error { return nil }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.RequestTimeout == 0 {
		cfg.RequestTimeout = DefaultRequestTimeout
	}
	if cfg.AnswerTimeout == 0 {
		cfg.AnswerTimeout = DefaultAnswerTimeout
	}
	if cfg.IdleTimeout == 0 {
		cfg.IdleTimeout = DefaultIdleTimeout
	}
	return cfg
}

// Server answers requests from a Store.
type Server struct {
	store        Store
	maxBody      int // bytes, and maxBatchBody for a batch
	maxBatchBody int
	maxBatch     int           // items
	storeID      func() string // nil for none
	guard        *access.Guard // nil for none
	delayed      *access.Delayed
	log          *slog.Logger
	http         fasthttp.Server
	reaper       *reaper
	router       fasthttp.RequestHandler
	paths        map[string]*path // ours

	requests    sync.Pool // of *request
	batches     sync.Pool // of *batch
	auths       sync.Pool // of *authRequest
	errNoBatch  *requestError
	answers     answerBudget
	largestList int64 // bytes
	batchStep   int   // bytes

	stats     counters
	unready   func() error
	shed      atomic.Uint64 // connections closed because there were too many
	stale     atomic.Uint64 // connections refused because their requests had waited too long
	draining  atomic.Bool
	listeners listeners
	dump      dump

	awayLogged, failedLogged, shedLogged, shortageLogged, staleLogged oncePerSecond
}

// New makes a server.
func New(cfg Config) *Server {
	cfg = cfg.withDefaults()
	s := &Server{
		store:        cfg.Store,
		maxBody:      cfg.MaxBody,
		maxBatchBody: max(cfg.MaxBody, cfg.MaxBatchBody),
		maxBatch:     cfg.MaxBatch,
		storeID:      cfg.StoreID,
		guard:        cfg.Guard,
		delayed:      access.NewDelayed(cfg.MaxConnections),
		log:          cfg.Logger,
		unready:      cfg.Ready,
		requests:     sync.Pool{New: func() any { return new(request) }},
		auths:        sync.Pool{New: newAuthRequest},
		answers:      newAnswerBudget(),
	}
	s.largestList = largestList(cfg.MaxMeta)
	s.batchStep = max(minBatchStep, cfg.MaxMeta)
	s.batches.New = func() any { return s.newBatch() }
	s.errNoBatch = newRequestError(fmt.Sprintf(`"batch" must be an array of 1 to %d items.`, s.maxBatch))
	s.reaper = newReaper(cfg)
	s.dump.init()
	s.addRoutes(cfg.Dump)
	s.http = fasthttp.Server{
		Handler:                      s.handle,
		ErrorHandler:                 s.refuse,
		ExpectHandler:                s.expect,
		HeaderReceived:               s.headerReceived,
		Logger:                       httpLogger{cfg.Logger},
		ConnState:                    s.stateChanged, // in place of fasthttp's time-outs
		LazyRequestTime:              true,
		ReadBufferSize:               headerBuffer,
		WriteBufferSize:              headerBuffer,
		MaxRequestBodySize:           cfg.MaxBody,
		DisablePreParseMultipartForm: true,
		NoDefaultServerHeader:        true,
		SecureErrorLogMessage:        true,
		Concurrency:                  maxConcurrency,
	}
	return s
}

// maxConcurrency is above all limits of connections: fasthttp's own would answer
// in words of its own.
const maxConcurrency = 1 << 30

// Serve answers requests on ln until Shutdown, and then returns nil at once:
// Shutdown returns when all is done. After Shutdown it only closes ln. It may be
// called for several listeners. One of crypto/tls lies under all that the server knows of
// connections.
func (s *Server) Serve(ln net.Listener) error { return s.serve(ln, nil) }

// ServeInherited is Serve for a listener that was there before the process, as that of a
// service manager. A request that waited on it is not carried out if its client has gone, or
// it is older than five seconds: it gets a 503, and its connection is closed. On a unix
// socket the age is not known. ln is raw, or one of crypto/tls over it.
func (s *Server) ServeInherited(raw, ln net.Listener) error { return s.serve(ln, newBacklog(raw)) }

func (s *Server) serve(ln net.Listener, b *backlog) error {
	if !s.listeners.add(ln) {
		ln.Close()
		return nil
	}
	s.reaper.begin()
	return s.http.Serve(listener{ln, s, b})
}

// handle answers one request.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	begun := time.Since(s.reaper.start)
	method := methodIndex(ctx)
	defer recovering(s.log) // what finish panics with
	defer s.finish(ctx, method, begun)
	setNoStore(ctx)
	if err := requestRead(ctx); err != nil {
		s.fail(ctx, err)
		return
	}
	if err := checkFraming(ctx); err != nil {
		s.lingerRefused(ctx)
		ctx.SetConnectionClose()
		s.fail(ctx, err)
		return
	}
	s.route(ctx, method)
}

// finish turns a panic into an answer, and records the request.
func (s *Server) finish(ctx *fasthttp.RequestCtx, method int, begun time.Duration) {
	if p := recover(); p != nil {
		s.answerPanic(ctx, p)
	}
	if s.draining.Load() {
		closeAfter(ctx)
	}
	ctx.Request.ReleaseBody(maxKept)
	took := time.Since(s.reaper.start) - begun
	s.stats.time(ctx, took)
	s.observe(ctx, method, took)
}

// answerPanic answers a request that met a panic. It is its connection's last.
func (s *Server) answerPanic(ctx *fasthttp.RequestCtx, p any) {
	logPanic(s.log, p)
	ctx.Response.Reset()
	setNoStore(ctx)
	closeAfter(ctx)
	s.fail(ctx, errInternal)
}

// maxKept is the size in bytes up to which a connection keeps the buffers of
// bodies for its next request. More would be held by connections that lie idle.
const maxKept = 64 << 10

// refuse answers a request that could not be read. After the grace of a stop, and
// where a connection is shed, it was not the client that was too slow.
func (s *Server) refuse(ctx *fasthttp.RequestCtx, err error) {
	defer recovering(s.log)
	if isBroken(err) {
		return // nobody is left to be answered
	}
	s.lingerRefused(ctx)
	ctx.Response.Reset()
	setNoStore(ctx)
	if err = readError(err); err == errTimeout {
		err = cmp.Or(refusalOf(ctx), s.stopRefusal(), err)
	}
	s.fail(ctx, err)
	s.observe(ctx, otherMethod, 0)
}

// readError finds out what it means that fasthttp could not read a request.
func readError(err error) error {
	var tooLarge *fasthttp.ErrSmallBuffer
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		return errBodyTooLarge
	case errors.As(err, &tooLarge):
		return errHeadersTooLarge
	case errors.As(err, &timeout) && timeout.Timeout(), isSlowChunk(err):
		return errTimeout
	}
	return errBadRequest
}

// isBroken reports whether err is that a connection has failed, such as by a reset.
func isBroken(err error) bool {
	var failed *net.OpError
	return errors.As(err, &failed) && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed) ||
		isBrokenChunk(err, syscall.ECONNRESET)
}

// isSlowChunk reports whether err is that a chunk did not arrive in time.
func isSlowChunk(err error) bool { return isBrokenChunk(err, os.ErrDeadlineExceeded) }

// isBrokenChunk reports whether err is that a chunk could not be read, for a reason:
// this error of fasthttp's can't be unwrapped.
func isBrokenChunk(err, reason error) bool {
	var broken fasthttp.ErrBrokenChunk
	return errors.As(err, &broken) && strings.Contains(broken.Error(), reason.Error())
}

// headerReceived tells fasthttp how large the body of a request may be.
func (s *Server) headerReceived(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	return fasthttp.RequestConfig{MaxRequestBodySize: s.bodyLimit(h)}
}

// bodyLimit returns how many bytes the body of a request may have.
func (s *Server) bodyLimit(h *fasthttp.RequestHeader) int {
	path, _, _ := bytes.Cut(h.RequestURI(), []byte{'?'})
	if bytes.HasSuffix(path, []byte(batchPath)) { // it may have a host before it
		return s.maxBatchBody
	}
	return s.maxBody
}

// expect answers "Expect: 100-continue": a body that would be refused is not asked for.
func (s *Server) expect(ctx *fasthttp.RequestCtx) (status int) {
	defer func() {
		if p := recover(); p != nil {
			s.answerPanic(ctx, p)
			status = ctx.Response.StatusCode()
		}
	}()
	err := cmp.Or(checkFraming(ctx), refusalOf(ctx))
	switch {
	case err != nil:
	case ctx.Request.Header.ContentLength() > s.bodyLimit(&ctx.Request.Header):
		err = errBodyTooLarge
	default:
		return fasthttp.StatusContinue
	}
	s.lingerRefused(ctx)
	setNoStore(ctx)
	s.fail(ctx, err)
	s.observe(ctx, methodIndex(ctx), 0)
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

// Printf names what was wrong with a request in our words: fasthttp's quote the
// request, and a token might be in it.
func (l httpLogger) Printf(format string, args ...any) {
	for i := range args {
		if err, ok := args[i].(error); ok && !errors.As(err, new(net.Error)) {
			args[i] = readError(err)
		}
	}
	l.log.Debug("connection", "error", fmt.Sprintf(format, args...))
}
