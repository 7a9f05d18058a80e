// Package console is the operator's page: what the server does, at a glance.
//
// # Basics
//
// [New] makes a [Console], whose routes [Console.Register] adds to those of the admin
// listener: the page at /, its scripts and style, /stats with the last sample as JSON,
// /stats/history, /stats/stream and one event of that at /stats/event, and what changes
// something under [ActionPath]. The page is made on the server, with all numbers in words; a
// script then takes the same words from the stream, once a second.
//
// # Caveats
//
// It asks nobody who they are: who serves it does, before, and above all for actions. It
// never shows metadata. All of a stream's viewers get the same bytes, made once.
package console

import (
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"html/template"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tokenserver/admin/sampler"
)

// Config describes a Console.
type Config struct {
	// Sampler has what is shown. Required.
	Sampler *sampler.Sampler
	// Actions are what can be changed. nil means nothing.
	Actions *Actions
	// MaxStreams is how many viewers there may be at a time. 0 means 16.
	MaxStreams int
	// Logger receives what was changed. nil means [slog.Default].
	Logger *slog.Logger
}

// Actions are what an operator can do.
type Actions struct {
	// LogLevel returns the level of the log, and SetLogLevel sets it.
	LogLevel    func() slog.Level
	SetLogLevel func(slog.Level)
	// EndSubject ends all sessions of a subject and returns how many lived.
	EndSubject func(ctx context.Context, subject []byte) (ended int, err error)
	// NoProfiles takes the profile away.
	NoProfiles bool
}

// Console is the operator's page.
type Console struct {
	cfg     Config
	frames  frames
	streams atomic.Int64
	closing chan struct{}
	close   sync.Once

	profileTime time.Duration // less in a test
}

// New makes a Console.
func New(cfg Config) *Console {
	cfg.MaxStreams = cmp.Or(cfg.MaxStreams, 16)
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	return &Console{cfg: cfg, closing: make(chan struct{}), profileTime: profileTime}
}

// EndStreams ends all streams, and profiles that are being made.
func (c *Console) EndStreams() { c.close.Do(func() { close(c.closing) }) }

// Register adds the routes to a mux.
func (c *Console) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", c.handlePage)
	for name, contentType := range assets {
		mux.HandleFunc("GET /"+name, handleAsset(name, contentType))
	}
	mux.HandleFunc("GET /stats", c.handleStats)
	mux.HandleFunc("GET /stats/history", c.handleHistory)
	mux.HandleFunc("GET /stats/stream", c.handleStream)
	mux.HandleFunc("GET /stats/event", c.handleEvent)
	if c.cfg.Actions != nil {
		c.registerActions(mux)
	}
}

//go:embed page.html action.html console.css console.js format.js icon.svg
var files embed.FS

// assets are the files that are served as they are, with their types.
var assets = map[string]string{
	"console.css": "text/css; charset=utf-8",
	"console.js":  "text/javascript; charset=utf-8",
	"format.js":   "text/javascript; charset=utf-8",
	"icon.svg":    "image/svg+xml",
}

var templates = template.Must(template.ParseFS(files, "*.html"))

// policy lets a page have what this listener serves, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func setHeaders(w http.ResponseWriter, contentType string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin") // with none a browser hides the origin of an action too
}

func handleAsset(name, contentType string) http.HandlerFunc {
	content, err := files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		setHeaders(w, contentType)
		w.Write(content)
	}
}

func (c *Console) handleStats(w http.ResponseWriter, _ *http.Request) {
	setHeaders(w, "application/json")
	json.NewEncoder(w).Encode(c.cfg.Sampler.Latest())
}

func (c *Console) handleHistory(w http.ResponseWriter, r *http.Request) {
	span, err := sampler.ParseSpan(r.URL.Query().Get("span"))
	if err != nil {
		http.Error(w, "span "+err.Error(), http.StatusBadRequest)
		return
	}
	setHeaders(w, "application/json")
	w.Write(c.cfg.Sampler.History(nil, span))
}

// frames has the last sample as the streams send it, made for the first of them.
type frames struct {
	mu     sync.Mutex
	number uint64
	bytes  []byte
}

// frame is what the script of the page gets once a second.
type frame struct {
	Text    map[string]string `json:"text"`
	Summary string            `json:"summary"`
	Stats   *sampler.Sample   `json:"stats"`
}

// A frame is sent between these.
const (
	eventStart = "data: "
	eventEnd   = "\n\n"
)

func (f *frames) of(s *sampler.Sample) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.number != s.Number {
		data, err := json.Marshal(frame{Texts(s), summary(s), s})
		if err != nil {
			panic(err) // a number that is none
		}
		f.number, f.bytes = s.Number, slices.Concat([]byte(eventStart), data, []byte(eventEnd))
	}
	return f.bytes
}

// handleEvent answers with what a stream would send now, as JSON: for a page that gets no
// stream.
func (c *Console) handleEvent(w http.ResponseWriter, _ *http.Request) {
	setHeaders(w, "application/json")
	event := c.frames.of(c.cfg.Sampler.Latest())
	w.Write(event[len(eventStart) : len(event)-len(eventEnd)])
}

// streamTimeout is how long a viewer may leave what was sent unread.
const streamTimeout = 10 * time.Second

// handleStream sends each sample as an event, until the viewer or the server ends.
func (c *Console) handleStream(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		setHeaders(w, "text/event-stream")
		return
	}
	defer c.streams.Add(-1)
	if c.streams.Add(1) > int64(c.cfg.MaxStreams) {
		w.Header().Set("Retry-After", "5")
		http.Error(w, "There are as many viewers as there may be.", http.StatusServiceUnavailable)
		return
	}
	setHeaders(w, "text/event-stream")
	conn := http.NewResponseController(w)
	for {
		sample, next := c.cfg.Sampler.Next()
		conn.SetWriteDeadline(time.Now().Add(streamTimeout))
		if _, err := w.Write(c.frames.of(sample)); err != nil {
			return
		}
		if err := conn.Flush(); err != nil {
			return
		}
		select {
		case <-next:
		case <-r.Context().Done():
			return
		case <-c.closing:
			return
		}
	}
}
