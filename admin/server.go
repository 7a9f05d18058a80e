// Package admin is the listener for operators: metrics and profiles.
//
// # Basics
//
// [New] makes a [Server], which answers GET /metrics in the Prometheus format and
// the paths of net/http/pprof under /debug/pprof/. It reads the statistics only
// when it is scraped, through the functions of its [Config], so that nothing is
// counted twice and an idle scraper costs nothing.
//
// # Caveats
//
// It authenticates nobody: it belongs on loopback or behind something that does.
package admin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tokenserver/internal/stats"
)

// Time limits of a connection. Profiles that take longer extend the time to write by their own.
const (
	readTimeout  = 10 * time.Second
	writeTimeout = 30 * time.Second
	idleTimeout  = 5 * time.Minute
)

// maxScrapes is how many scrapes are answered at a time: each of them takes all the store's locks.
const maxScrapes = 4

// Config describes a Server.
type Config struct {
	// Store returns the statistics of the store. Required.
	Store func() stats.Store
	// Requests returns the statistics of the server. Required.
	Requests func() stats.Server
	// Build is what the metric build_info tells.
	Build stats.Build
	// Logger receives what goes wrong. nil means [slog.Default].
	Logger *slog.Logger
}

// Server is the admin listener.
type Server struct {
	http   http.Server
	logger *slog.Logger
}

// New makes a server. Serve starts it.
func New(cfg Config) *Server {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	errorLog := slog.NewLogLogger(cfg.Logger.With("listener", "admin").Handler(), slog.LevelWarn)
	registry := newRegistry(cfg)
	metrics := promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:            errorLog,
		MaxRequestsInFlight: maxScrapes,
	})
	return &Server{
		logger: cfg.Logger,
		http: http.Server{
			Handler:           newMux(metrics),
			ReadHeaderTimeout: readTimeout,
			ReadTimeout:       readTimeout,
			WriteTimeout:      writeTimeout,
			IdleTimeout:       idleTimeout,
			ErrorLog:          errorLog,
		},
	}
}

func newRegistry(cfg Config) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collector{store: cfg.Store, requests: cfg.Requests, build: cfg.Build},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return registry
}

// newMux names the profiles itself: http.DefaultServeMux, where net/http/pprof
// puts them too, is served nowhere.
func newMux(metrics http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	return mux
}

// Serve answers requests on ln, which it closes, until Shutdown. It then
// returns nil, and otherwise the error that ended it, which is logged too.
func (s *Server) Serve(ln net.Listener) error {
	err := s.http.Serve(ln)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	s.logger.Error("admin listener failed", "error", err)
	return err
}

// Shutdown closes the listener and waits for requests that are being answered
// until ctx is done; then it cuts them off and returns the error of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	return err
}
