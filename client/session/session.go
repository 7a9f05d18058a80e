package session

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tokenserver/client"
	"tokenserver/client/session/internal/object"
)

// Errors of the functions of this package, to be matched with [errors.Is]. Others are
// those of package client.
var (
	// ErrNoSession says that the request has no session, or none any more.
	ErrNoSession = errors.New("session: there is none")
	// ErrNoSubject says that a session was not begun with a subject.
	ErrNoSubject = errors.New("session: it has no subject")
	// ErrTooLate says that the answer has begun, or has ended.
	ErrTooLate = errors.New("session: the answer has begun")
	// ErrReserved says that a member of the metadata is not for handlers.
	ErrReserved = errors.New("session: the name of the member is reserved")
	// ErrReplaced is what a handler's writes return if an error was sent in place of its
	// answer, because what it had set could not be kept.
	ErrReplaced = errors.New("session: its changes could not be kept, and the answer was replaced")
)

// key is that of the session in a request's context.
type key struct{}

// session is what is known of a request's session.
type session struct {
	cfg   *Manager
	owner *Manager
	r     *http.Request

	mu        sync.Mutex // guards what follows
	presented string     // the browser's token, or what could be one
	token     string     // the newest that is known; empty if there is no session
	exchanged time.Time  // when token was the answer to an exchange of this request; zero if never
	meta      json.RawMessage
	members   object.Object // of meta with what was changed, once it is parsed
	parsed    bool
	patch     object.Object // what was set
	unset     []string
	over      bool  // the browser's cookie is to be taken away
	behind    bool  // somebody else has a newer token: the cookie stays as it is
	begun     bool  // the answer has
	err       error // why it was replaced
}

// of returns the session of a context, which is that of a request behind a Manager.
func of(ctx context.Context) *session {
	s, ok := ctx.Value(key{}).(*session)
	if !ok {
		panic("session: the context is not that of a request behind Manager.Handler or Manager.Optional")
	}
	return s
}

// begin looks at the token of a request.
func (s *session) begin(r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.presented = s.cfg.Cookie.token(r)
	if s.presented == "" {
		return client.ErrInvalidToken
	}
	ctx := r.Context()
	switch {
	case s.cfg.Mode == Navigations && !navigates(r):
		return s.lookLocked(ctx)
	case s.cfg.Mode == EveryInterval:
		return s.beginIntervalLocked(ctx)
	}
	return s.exchangeLocked(ctx, s.presented)
}

// beginIntervalLocked looks at the token, and exchanges it if it is old. If another
// request was faster with that, it was good all the same. It requires mu.
func (s *session) beginIntervalLocked(ctx context.Context) error {
	if err := s.lookLocked(ctx); err != nil || !s.oldLocked() {
		return err
	}
	if err := s.exchangeLocked(ctx, s.presented); !errors.Is(err, client.ErrInvalidToken) {
		return err
	}
	return nil
}

// oldLocked says whether the token is as old as the interval. It requires mu.
func (s *session) oldLocked() bool {
	renewed, ok := getLocked[int64](s, RenewedMember)
	return !ok || time.Since(time.Unix(renewed, 0)) >= s.cfg.Interval
}

// lookLocked has the metadata of the token that was presented. It requires mu.
func (s *session) lookLocked(ctx context.Context) error {
	v, err := s.cfg.Client.Validate(ctx, s.presented)
	if err == nil {
		s.token, s.meta = s.presented, v.Meta
	}
	return err
}

// exchangeLocked exchanges a token, with what was changed. It requires mu.
func (s *session) exchangeLocked(ctx context.Context, token string) error {
	patch := s.patch
	if s.cfg.Mode == EveryInterval {
		patch = slices.Clone(patch).Set(RenewedMember, now())
	}
	p := client.Patch{Unset: s.unset}
	if len(patch) > 0 {
		p.Meta = patch.Text()
	}
	x, err := s.cfg.Client.Exchange(ctx, token, p)
	if err != nil {
		return err
	}
	s.token, s.exchanged = x.Token, time.Now()
	s.meta, s.parsed, s.patch, s.unset = x.Meta, false, nil, nil
	return nil
}

// now returns the value of RenewedMember.
func now() json.RawMessage { return strconv.AppendInt(nil, time.Now().Unix(), 10) }

// membersLocked returns the metadata as the handler has changed it. It requires mu.
func (s *session) membersLocked() object.Object {
	if !s.parsed {
		s.members, _ = object.Split(s.meta) // an error leaves none: it is no object
		s.parsed = true
	}
	return s.members
}

// getLocked returns a member as a value of type T. It requires mu.
func getLocked[T any](s *session, name string) (value T, ok bool) {
	raw, ok := s.membersLocked().Get(name)
	if !ok || json.Unmarshal(raw, &value) != nil {
		var zero T
		return zero, false
	}
	return value, true
}

// dirtyLocked says whether the handler has changed something. It requires mu.
func (s *session) dirtyLocked() bool { return len(s.patch)+len(s.unset) > 0 }

func (s *session) active() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token != ""
}

// staleAfter is the age at which a token may no longer be the newest, as that of a
// parallel request within its grace.
const staleAfter = time.Second

// commit keeps what was changed, and settles which cookie the answer has. Its error is
// why there is to be another answer.
func (s *session) commit() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun {
		return s.err
	}
	s.begun = true
	dirty := s.dirtyLocked()
	stale := !s.exchanged.IsZero() && time.Since(s.exchanged) > staleAfter
	if s.token == "" || !dirty && !stale {
		return nil
	}
	// What was changed is kept also if the client has gone.
	err := s.exchangeLocked(context.WithoutCancel(s.r.Context()), s.token)
	if errors.Is(err, client.ErrInvalidToken) {
		s.behind = true
	}
	if dirty {
		s.err = err
	}
	return s.err
}

// discard forgets what was changed and not kept.
func (s *session) discard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.patch, s.unset, s.parsed = nil, nil, false
}

// pendingLocked says whether the answer must have a cookie. It requires mu.
func (s *session) pendingLocked() bool {
	return !s.behind && (s.over || s.token != "" && s.token != s.presented)
}

func (s *session) pending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pendingLocked()
}

// mark gives an answer its cookie, and keeps it from being cached.
func (s *session) mark(h http.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.ContainsFunc(h["Vary"], func(v string) bool { return strings.Contains(v, "Cookie") }) {
		h["Vary"] = append(h["Vary"], "Cookie")
	}
	private := h.Get("Cache-Control")
	switch {
	case s.pendingLocked():
		h["Cache-Control"] = []string{"no-store"}
		h["Set-Cookie"] = append(h["Set-Cookie"], s.cfg.Cookie.header(s.r, s.token))
	case s.presented != "" && !strings.Contains(private, "private") && !strings.Contains(private, "no-store"):
		h["Cache-Control"] = []string{"no-store"}
	}
}
