package session

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"tokenserver/client"
)

// Client keeps sessions. [*client.Client] does, and in tests that of sessiontest.
type Client interface {
	Create(ctx context.Context, s client.NewSession) (token string, err error)
	Exchange(ctx context.Context, token string, patch client.Patch) (client.Exchanged, error)
	Validate(ctx context.Context, token string) (client.Validated, error)
	Delete(ctx context.Context, token string) error
	SubjectSessions(ctx context.Context, subject string, l client.Listing) (client.Sessions, error)
	EndSubject(ctx context.Context, subject string, e client.Ending) (ended int, err error)
}

// Manager is the middleware. All fields but Client may be left out, and none may change
// once it is in use.
type Manager struct {
	// Client talks to the token server.
	Client Client
	// Mode says which requests exchange their token.
	Mode Mode
	// Interval is how old a token gets under EveryInterval, to the second. It must be
	// shorter than the lifetime of a session. 0 means DefaultInterval.
	Interval time.Duration
	// Cookie describes the cookie.
	Cookie Cookie
	// LoginPath is the path of the login page, which needs no session also under
	// Handler. Empty means /login.
	LoginPath string
	// Invalid answers a request that has no session and needs one. Nil means 303 to the
	// login page with the way back, or 401 for requests of scripts.
	Invalid func(w http.ResponseWriter, r *http.Request)
	// Unavailable answers a request whose session could not be looked up or kept. Nil
	// means 503 with Retry-After, or 500 where err says that the metadata is too large
	// or that the request was a wrong one.
	Unavailable func(w http.ResponseWriter, r *http.Request, err error)
	// CrossOrigin refuses requests of other sites with 403, before their token is spent.
	// Nil means one without exceptions.
	CrossOrigin *http.CrossOriginProtection
	// CSRFKey is what [CSRFToken] is made with, 32 random bytes or more: a secret, the same
	// in all web servers of a site. Nil means one that each process makes up, so that forms
	// from before its restart are refused.
	CSRFKey []byte
	// Logger gets what has failed. There is never a token in it. Nil means
	// slog.Default().
	Logger *slog.Logger
}

// DefaultInterval is that of [Manager].Interval.
const DefaultInterval = 5 * time.Minute

const defaultLoginPath = "/login"

// Handler returns a handler for which a request needs a session. It panics if the
// Manager has no Client, a cookie that no browser would take, or a short CSRFKey.
func (m *Manager) Handler(next http.Handler) http.Handler { return m.guard(next, true) }

// Optional is as Handler, for pages that anybody may see: a request whose token is
// missing or invalid has no session there, and may [Login].
func (m *Manager) Optional(next http.Handler) http.Handler { return m.guard(next, false) }

func (m *Manager) guard(next http.Handler, required bool) http.Handler {
	if m.Client == nil {
		panic("session: a Manager needs a Client")
	}
	if err := m.Cookie.check(); err != nil {
		panic(err)
	}
	if m.CSRFKey != nil && len(m.CSRFKey) < minCSRFKey {
		panic("session: the CSRFKey of a Manager is shorter than 32 bytes")
	}
	cfg := *m
	if cfg.Interval <= 0 {
		cfg.Interval = DefaultInterval
	}
	if cfg.LoginPath == "" {
		cfg.LoginPath = defaultLoginPath
	}
	if cfg.Invalid == nil {
		cfg.Invalid = cfg.invalid
	}
	if cfg.Unavailable == nil {
		cfg.Unavailable = unavailable
	}
	if cfg.CrossOrigin == nil {
		cfg.CrossOrigin = http.NewCrossOriginProtection()
	}
	if cfg.CSRFKey == nil {
		cfg.CSRFKey = processKey()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &guard{cfg: &cfg, owner: m, next: next, required: required}
}

// guard is a handler of a Manager.
type guard struct {
	cfg      *Manager // with its defaults
	owner    *Manager
	next     http.Handler
	required bool
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s, ok := r.Context().Value(key{}).(*session); ok && s.owner == g.owner {
		g.within(s, w, r)
		return
	}
	if err := g.cfg.CrossOrigin.Check(r); err != nil {
		refuse(w, http.StatusForbidden, "CrossOrigin", "The request comes from another site.")
		return
	}
	s := &session{cfg: g.cfg, owner: g.owner}
	s.r = r.WithContext(context.WithValue(r.Context(), key{}, s))
	switch err := s.begin(r); {
	case err == nil, errors.Is(err, client.ErrInvalidToken) && !g.needs(r):
		serve(s, g.next, w)
	default:
		s.mark(w.Header())
		s.fail(w, err)
	}
}

// within serves a request that another handler of the Manager has looked at.
func (g *guard) within(s *session, w http.ResponseWriter, r *http.Request) {
	if g.needs(r) && !s.active() {
		g.cfg.Invalid(w, r)
		return
	}
	g.next.ServeHTTP(w, r)
}

// needs says whether a request must have a session.
func (g *guard) needs(r *http.Request) bool {
	return g.required && r.URL.Path != pathOf(g.cfg.LoginPath)
}

// fail answers a request whose session could not be looked up or kept.
func (s *session) fail(w http.ResponseWriter, err error) {
	if errors.Is(err, client.ErrInvalidToken) {
		s.cfg.Invalid(w, s.r)
		return
	}
	if s.r.Context().Err() == nil { // else nobody waits for the answer
		s.cfg.Logger.Error("session", "error", err)
	}
	s.cfg.Unavailable(w, s.r, err)
}
