// Package sessiontest has a stand-in for a token server, with which a web server's own
// tests need none.
//
// # Basics
//
// [New] makes a [Store], which takes the place of a client in [session.Manager]. It
// behaves as a token server does: [Run] is the suite that both pass. [Store.Advance]
// lets sessions expire, [Store.Fail] has calls fail, and [LogIn] gives a request the
// cookie of a new session.
//
// # Caveats
//
// It is for tests: it never forgets a session that has expired, and costs more the more
// sessions there are.
package sessiontest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"tokenserver/client"
	"tokenserver/client/session"
	"tokenserver/client/session/internal/object"
)

// Config has the settings of a token server that change what a web server sees. Its
// zero value is a server without flags.
type Config struct {
	// Lifetime is the idle lifetime of sessions without one of their own. 0 means two
	// hours.
	Lifetime time.Duration
	// Grace is how long a spent token stands for the newest one. 0 means not at all.
	Grace time.Duration
	// RevokeOnReuse ends a session when a token of it comes back after its grace.
	RevokeOnReuse bool
	// MaxMeta is the greatest size of metadata in bytes. 0 means 64 KiB.
	MaxMeta int
}

// What a server without flags does, and its limits.
const (
	defaultLifetime = 2 * time.Hour
	defaultMaxMeta  = 64 << 10
	minLifetime     = time.Minute
	maxLifetime     = 96 * time.Hour
	maxSubject      = 256
	maxListed       = 1000
	maxSpent        = 8 // tokens of a session that have a grace
)

const (
	idLen    = 8
	nonceLen = 16
	nameLen  = 12
)

// Store keeps sessions in memory. It implements [session.Client], and may be used by
// any number of goroutines.
type Store struct {
	cfg Config

	mu       sync.Mutex // guards what follows
	ahead    time.Duration
	fail     error
	sessions []*kept // the oldest first
}

// kept is a session.
type kept struct {
	id       [idLen]byte
	nonce    [nonceLen]byte
	spent    []spent // the newest last
	members  object.Object
	subject  string
	lifetime time.Duration
	created  time.Time
	expires  time.Time
}

// spent is a token that was exchanged.
type spent struct {
	nonce [nonceLen]byte
	at    time.Time
}

// New makes a store.
func New(cfg Config) *Store {
	cfg.Lifetime = cmp.Or(cfg.Lifetime, defaultLifetime)
	cfg.MaxMeta = cmp.Or(cfg.MaxMeta, defaultMaxMeta)
	return &Store{cfg: cfg}
}

// LogIn gives a request the cookie of a new session of the Manager's client, or ends the
// test.
func LogIn(t testing.TB, m *session.Manager, r *http.Request, begin client.NewSession) {
	t.Helper()
	if begin.Meta == nil {
		begin.Meta = json.RawMessage(`{}`)
	}
	if begin.Subject != "" {
		members, err := object.Parse(begin.Meta)
		if err != nil {
			t.Fatalf("log in: metadata: %v", err)
		}
		subject, _ := json.Marshal(begin.Subject) // of a string: no error
		begin.Meta = members.Set(session.SubjectMember, subject).Text()
	}
	token, err := m.Client.Create(t.Context(), begin)
	if err != nil {
		t.Fatalf("log in: %v", err)
	}
	m.Cookie.Add(r, token)
}

// Advance moves the time of the store on.
func (s *Store) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead += d
}

// Fail has all calls fail with an error, as [client.ErrUnavailable], until it is called
// with nil. Nothing is carried out meanwhile.
func (s *Store) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// Len returns how many sessions live.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, k := range s.sessions {
		if s.livesLocked(k) {
			n++
		}
	}
	return n
}

// Create implements [session.Client].
func (s *Store) Create(ctx context.Context, begin client.NewSession) (token string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failsLocked(ctx); err != nil {
		return "", err
	}
	members, err := parse(begin.Meta)
	switch {
	case err != nil:
		return "", err
	case len(begin.Subject) > maxSubject || !validText([]byte(begin.Subject)):
		return "", refused("subject")
	case begin.Lifetime != 0 && (begin.Lifetime < minLifetime || begin.Lifetime > maxLifetime):
		return "", refused("lifetime")
	case len(members.Text()) > s.cfg.MaxMeta:
		return "", &client.Error{Kind: client.ErrMetaTooLarge}
	}
	now := s.nowLocked()
	k := &kept{
		members: members, subject: begin.Subject, lifetime: cmp.Or(begin.Lifetime, s.cfg.Lifetime), created: now,
	}
	rand.Read(k.id[:])
	rand.Read(k.nonce[:])
	k.expires = now.Add(k.lifetime)
	s.sessions = append(s.sessions, k)
	return k.token(), nil
}

// Exchange implements [session.Client].
func (s *Store) Exchange(ctx context.Context, token string, patch client.Patch) (x client.Exchanged, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failsLocked(ctx); err != nil {
		return x, err
	}
	var set object.Object
	if patch.Meta != nil {
		if set, err = parse(patch.Meta); err != nil {
			return x, err
		}
	}
	k, reused := s.findLocked(token)
	if k == nil {
		s.revokeLocked(token)
		return x, client.ErrInvalidToken
	}
	members := slices.Clone(k.members).Merge(set)
	for _, name := range patch.Unset {
		members = members.Unset(name)
	}
	if len(members.Text()) > s.cfg.MaxMeta {
		return x, &client.Error{Kind: client.ErrMetaTooLarge}
	}
	k.members = members
	if !reused {
		s.spendLocked(k)
	}
	return client.Exchanged{Token: k.token(), Meta: members.Text(), Reused: reused}, nil
}

// Validate implements [session.Client].
func (s *Store) Validate(ctx context.Context, token string) (v client.Validated, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failsLocked(ctx); err != nil {
		return v, err
	}
	k, _ := s.findLocked(token)
	if k == nil {
		return v, client.ErrInvalidToken
	}
	left := k.expires.Sub(s.nowLocked())
	return client.Validated{Meta: k.members.Text(), ExpiresIn: (left + time.Second - 1).Truncate(time.Second)}, nil
}

// Delete implements [session.Client].
func (s *Store) Delete(ctx context.Context, token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failsLocked(ctx); err != nil {
		return err
	}
	if k, _ := s.findLocked(token); k != nil {
		s.endLocked(k)
		return nil
	}
	s.revokeLocked(token)
	return nil
}

// SubjectSessions implements [session.Client].
func (s *Store) SubjectSessions(ctx context.Context, subject string, l client.Listing) (list client.Sessions, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failsLocked(ctx); err != nil {
		return list, err
	}
	limit := cmp.Or(l.Limit, maxListed)
	all := s.ofLocked(subject)
	slices.Reverse(all)
	if l.After != "" {
		i := slices.IndexFunc(all, func(k *kept) bool { return k.name() == l.After })
		if i < 0 {
			return list, refused("after")
		}
		all = all[i+1:]
	}
	if limit < 1 || limit > maxListed || !validSubject(subject) {
		return list, refused("subject or limit")
	}
	list.More = len(all) > limit
	for _, k := range all[:min(limit, len(all))] {
		list.Sessions = append(list.Sessions, client.Session{
			Name: k.name(), Created: k.created.UTC().Truncate(time.Second), Expires: k.expires.UTC().Truncate(time.Second), Meta: k.members.Text(),
		})
	}
	return list, nil
}

// EndSubject implements [session.Client].
func (s *Store) EndSubject(ctx context.Context, subject string, e client.Ending) (ended int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failsLocked(ctx); err != nil {
		return 0, err
	}
	if e.Session != "" && e.Keep != "" || !validSubject(subject) {
		return 0, refused("subject, or session and keep")
	}
	var keep *kept
	if e.Keep != "" {
		if keep, _ = s.findLocked(e.Keep); keep == nil || keep.subject != subject {
			return 0, client.ErrInvalidToken
		}
	}
	for _, k := range s.ofLocked(subject) {
		if k != keep && (e.Session == "" || e.Session == k.name()) {
			s.endLocked(k)
			ended++
		}
	}
	return ended, nil
}

// failsLocked returns why a call is not carried out. It requires mu.
func (s *Store) failsLocked(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return &client.Error{Kind: client.ErrUnavailable, Cause: err}
	}
	return s.fail
}

// nowLocked returns the time of the store. It requires mu.
func (s *Store) nowLocked() time.Time { return time.Now().Add(s.ahead) }

// livesLocked says whether a session has not expired. It requires mu.
func (s *Store) livesLocked(k *kept) bool { return s.nowLocked().Before(k.expires) }

// findLocked returns the session of a token, or nil if it is not valid. reused says
// that it is in its grace. It requires mu.
func (s *Store) findLocked(token string) (k *kept, reused bool) {
	id, nonce, ok := split(token)
	if !ok {
		return nil, false
	}
	i := slices.IndexFunc(s.sessions, func(k *kept) bool { return k.id == id && s.livesLocked(k) })
	if i < 0 {
		return nil, false
	}
	k = s.sessions[i]
	if k.nonce == nonce {
		return k, false
	}
	for _, old := range k.spent {
		if old.nonce == nonce && s.nowLocked().Before(old.at.Add(s.cfg.Grace)) {
			return k, true
		}
	}
	return nil, false
}

// revokeLocked ends the session that a token is or could have been of, if that is the
// policy. It requires mu.
func (s *Store) revokeLocked(token string) {
	if id, _, ok := split(token); ok && s.cfg.RevokeOnReuse {
		s.sessions = slices.DeleteFunc(s.sessions, func(k *kept) bool { return k.id == id })
	}
}

// spendLocked gives a session its next token, and renews its lifetime. It requires mu.
func (s *Store) spendLocked(k *kept) {
	k.spent = append(k.spent, spent{k.nonce, s.nowLocked()})
	k.spent = k.spent[max(0, len(k.spent)-maxSpent):]
	rand.Read(k.nonce[:])
	k.expires = s.nowLocked().Add(k.lifetime)
}

// endLocked ends a session. It requires mu.
func (s *Store) endLocked(k *kept) {
	s.sessions = slices.DeleteFunc(s.sessions, func(other *kept) bool { return other == k })
}

// ofLocked returns the sessions of a subject, the oldest first. It requires mu.
func (s *Store) ofLocked(subject string) (all []*kept) {
	for _, k := range s.sessions {
		if k.subject == subject && s.livesLocked(k) {
			all = append(all, k)
		}
	}
	return all
}

func (k *kept) token() string {
	return base64.RawURLEncoding.EncodeToString(append(k.id[:], k.nonce[:]...))
}

func (k *kept) name() string {
	sum := sha256.Sum256(k.id[:])
	return base64.RawURLEncoding.EncodeToString(sum[:nameLen])
}

func split(token string) (id [idLen]byte, nonce [nonceLen]byte, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) != idLen+nonceLen {
		return id, nonce, false
	}
	copy(id[:], raw)
	copy(nonce[:], raw[idLen:])
	return id, nonce, true
}

// refused is the error of a call that no server takes.
func refused(what string) error {
	return &client.Error{Kind: client.ErrInvalidRequest, Cause: errors.New(what + " is not allowed")}
}

func validSubject(subject string) bool {
	return 0 < len(subject) && len(subject) <= maxSubject && validText([]byte(subject))
}

// parse takes metadata apart that a server would take.
func parse(meta json.RawMessage) (object.Object, error) {
	members, err := object.Parse(bytes.Clone(meta))
	if err != nil || !validText(meta) || depth(meta) > maxDepth || hasLoneSurrogate(meta) {
		return nil, refused("metadata")
	}
	return members, nil
}
