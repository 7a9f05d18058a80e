// Package admin is the listener for operators: metrics, profiles and the console.
//
// # Basics
//
// [New] makes a [Server], which answers GET /metrics in the Prometheus format, the
// paths of net/http/pprof under /debug/pprof/, /healthz and /readyz, and POST /backup. It reads the
// statistics only when it is scraped, through the functions of its [Config], so that
// nothing is counted twice and an idle scraper costs nothing. The operator's page is that
// of package console.
//
// # Caveats
//
// Without a Guard it asks nobody who they are: it then belongs on loopback, where Hosts
// keep pages of other sites out.
package admin

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	profiles "runtime/pprof"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"tokenserver/access"
	"tokenserver/admin/console"
	"tokenserver/internal/stack"
	"tokenserver/internal/stats"
)

// Time limits of a connection. Profiles that take longer extend the time to write by their own.
const (
	readTimeout  = 10 * time.Second
	writeTimeout = 30 * time.Second
	idleTimeout  = time.Minute
)

// maxScrapes is how many scrapes are answered at a time: each of them takes all the store's locks.
const maxScrapes = 4

// MaxConnections is how many connections are open at a time where [Config] does not
// say. Others wait until one of them is closed; those without a request give way.
const MaxConnections = 64

// Config describes a Server.
type Config struct {
	// Store returns the statistics of the store. Required.
	Store func() stats.Store
	// Requests returns the statistics of the server. Required.
	Requests func() stats.Server
	// Build is what the metric build_info tells.
	Build stats.Build
	// Ready says why the server can't be relied on, for /readyz. nil means that it
	// always can.
	Ready func() error
	// Backup writes a backup of the store, as an archive. Its error may match ErrNoBackup or
	// ErrBackupRunning. nil means that there is none to be had.
	Backup func(ctx context.Context, w io.Writer) error
	// BackupGuard knows who may have a backup, an admin, and is asked on any listener; nil
	// is as Guard. Without either, BackupOpen says that anybody may.
	BackupGuard *access.Guard
	BackupOpen  bool
	// NoProfiles takes /debug/pprof/ away.
	NoProfiles bool
	// Guard knows who may call. nil means that everybody may. /healthz and /readyz need
	// no caller, /metrics a role for metrics, and all else an admin.
	Guard *access.Guard
	// Local says that the listener is reached from this machine alone: then with a Guard
	// only actions of the console need an admin, and without one they are there too.
	Local bool
	// Console is the operator's page. nil means that there is none.
	Console *console.Console
	// CheckHost refuses requests whose Host is no IP address, not localhost and none of
	// Hosts.
	CheckHost bool
	Hosts     []string
	// TLS has the settings of TLS, or nil for plain HTTP.
	TLS *tls.Config
	// MaxConnections is how many connections are open at a time. 0 means the constant
	// of that name.
	MaxConnections int
	// Logger receives what goes wrong. nil means [slog.Default].
	Logger *slog.Logger
}

// Server is the admin listener.
type Server struct {
	http           http.Server
	tls            *tls.Config
	maxConnections int
	logger         *slog.Logger
}

// New makes a server. Serve starts it.
func New(cfg Config) *Server {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	cfg.MaxConnections = cmp.Or(cfg.MaxConnections, MaxConnections)
	errorLog := slog.NewLogLogger(cfg.Logger.With("listener", "admin").Handler(), slog.LevelWarn)
	registry := newRegistry(cfg)
	metrics := promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:            errorLog,
		MaxRequestsInFlight: maxScrapes,
	})
	s := &Server{
		tls:            cfg.TLS,
		maxConnections: cfg.MaxConnections,
		logger:         cfg.Logger,
		http: http.Server{
			Handler:           recovering(cfg.protect(newMux(cfg, metrics)), cfg.Logger),
			ReadHeaderTimeout: readTimeout,
			ReadTimeout:       readTimeout,
			WriteTimeout:      writeTimeout,
			IdleTimeout:       idleTimeout,
			ErrorLog:          errorLog,
			ConnState:         newIdleLimit(cfg.MaxConnections).changed,
		},
	}
	if cfg.Console != nil {
		s.http.RegisterOnShutdown(cfg.Console.EndStreams)
	}
	return s
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

// protect lets only those get to mux who may.
func (cfg *Config) protect(mux *http.ServeMux) http.Handler {
	h := sameOrigin(mux)
	if cfg.Guard != nil {
		h = guarded(mux, h, cfg.Guard, access.NewDelayed(cfg.MaxConnections), cfg.Local)
	}
	if cfg.CheckHost {
		h = local(h, cfg.Hosts)
	}
	return h
}

// newMux names the profiles itself: http.DefaultServeMux, where net/http/pprof
// puts them too, is served nowhere.
func newMux(cfg Config, metrics http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /healthz", handleHealth)
	mux.HandleFunc("GET /readyz", cfg.handleReady)
	if cfg.Console != nil {
		cfg.Console.Register(mux)
	}
	mux.Handle("POST /backup", cfg.backup())
	if cfg.NoProfiles {
		return mux
	}
	mux.HandleFunc("GET /debug/pprof/{$}", index)
	for _, p := range profiles.Profiles() {
		mux.HandleFunc("GET /debug/pprof/"+p.Name(), index)
	}
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	return mux
}

func handleHealth(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	fmt.Fprintln(w, "ok")
}

func (cfg *Config) handleReady(w http.ResponseWriter, r *http.Request) {
	if cfg.Ready != nil {
		if err := cfg.Ready(); err != nil {
			refuse(w, http.StatusServiceUnavailable, "StoreUnavailable", err.Error())
			return
		}
	}
	handleHealth(w, r)
}

// refuse answers with an error, as the server does.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(struct {
		Err     string
		Message string `json:"message"`
	}{code, message})
}

// index is pprof.Index without the arguments of functions, which a profile has
// with debug=2: ids and parts of nonces are among them.
func index(w http.ResponseWriter, r *http.Request) {
	if debug, _ := strconv.Atoi(r.FormValue("debug")); debug < 2 {
		pprof.Index(w, r)
		return
	}
	text := &buffer{ResponseWriter: w}
	pprof.Index(text, r)
	w.Write(stack.Strip(text.Bytes()))
}

// buffer keeps the body of a response back.
type buffer struct {
	http.ResponseWriter
	bytes.Buffer
}

// Write implements io.Writer.
func (b *buffer) Write(p []byte) (int, error) { return b.Buffer.Write(p) }

// recovering answers 500 after a panic of h. The report of net/http has the
// arguments of functions in it.
func recovering(h http.Handler, logger *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == http.ErrAbortHandler {
				panic(p) // net/http cuts the connection off
			}
			if p != nil {
				logger.Error("recovered panic", "listener", "admin", "panic", fmt.Sprint(p), "stack", string(stack.Current()))
				http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
			}
		}()
		h.ServeHTTP(w, r)
	})
}

// Serve answers requests on ln, which it closes, until Shutdown. It then
// returns nil, and otherwise the error that ended it, which is logged too.
func (s *Server) Serve(ln net.Listener) error {
	ln = netutil.LimitListener(ln, s.maxConnections)
	if s.tls != nil {
		ln = tls.NewListener(ln, s.tls) // outermost: net/http has to see it
	}
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
