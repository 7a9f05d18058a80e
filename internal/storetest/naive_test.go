package storetest

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenserver/token"
)

// naive is a store with one lock and one map. With a fault it does one thing wrong.
type naive struct {
	cfg   Config
	fault string

	mu       sync.Mutex
	sessions map[token.ID]*naiveSession
	n        int // sessions created
}

type naiveSession struct {
	nonce            token.Nonce
	spent            []naiveSpent // the last one first
	meta             string
	subject          string
	lifetime         time.Duration
	number           int // in the order of creation
	name             token.SessionName
	created          time.Time
	expires          time.Time
	absoluteDeadline time.Time // zero for none
}

type naiveSpent struct {
	nonce token.Nonce
	at    time.Time
}

func openNaive(fault string) func(testing.TB, Config) Store {
	return func(_ testing.TB, cfg Config) Store {
		if cfg.Lifetime == 0 {
			cfg.Lifetime = time.Hour
		}
		if cfg.MaxMeta == 0 {
			cfg.MaxMeta = 64 << 10
		}
		return &naive{cfg: cfg, fault: fault, sessions: make(map[token.ID]*naiveSession)}
	}
}

func naiveCost(meta int, hasPolicy bool) int64 {
	if hasPolicy {
		return 150 + int64(meta)
	}
	return 100 + int64(meta)
}

func (n *naive) costOf(s *naiveSession) int64 {
	return naiveCost(len(s.meta), s.subject != "" || s.lifetime != n.cfg.Lifetime || n.cfg.Grace != 0 || n.cfg.MaxLifetime != 0)
}

func (n *naive) Create(_ context.Context, s token.NewSession) (token.Token, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	session := n.newSession(s)
	if len(session.meta) > n.cfg.MaxMeta {
		return token.Token{}, token.ErrMetaTooLarge
	}
	if n.fault != "expired fill" {
		n.purgeLocked()
	}
	if n.fullLocked(1, n.costOf(session)) {
		return token.Token{}, token.ErrFull
	}
	t := token.Generate()
	session.nonce = t.Nonce
	n.sessions[t.ID] = session
	n.n++
	session.number = n.n
	return t, nil
}

func (n *naive) newSession(s token.NewSession) *naiveSession {
	meta := parseObject(string(s.Meta)).String()
	if n.fault == "duplicates stay" {
		meta = string(s.Meta)
	}
	session := &naiveSession{meta: meta, subject: string(s.Subject), lifetime: s.Lifetime, created: time.Now()}
	if s.Lifetime == 0 {
		session.lifetime = n.cfg.Lifetime
	}
	if n.cfg.MaxLifetime != 0 {
		session.absoluteDeadline = session.created.Add(n.cfg.MaxLifetime)
	}
	n.renew(session)
	if n.fault == "own lifetime forgotten" {
		session.lifetime = n.cfg.Lifetime
	}
	if n.fault == "absolute deadline forgotten" {
		session.absoluteDeadline = time.Time{}
	}
	return session
}

func (n *naive) renew(s *naiveSession) {
	s.expires = time.Now().Add(s.lifetime)
	if !s.absoluteDeadline.IsZero() && s.absoluteDeadline.Before(s.expires) {
		s.expires = s.absoluteDeadline
	}
	if n.fault == "absolute deadline moves" && !s.absoluteDeadline.IsZero() {
		s.absoluteDeadline = time.Now().Add(n.cfg.MaxLifetime)
	}
}

func (n *naive) Exchange(_ context.Context, t token.Token, patch token.Patch, dst []byte) (token.ExchangeResult, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s, worth := n.presentLocked(t)
	if worth == late {
		n.reusedLocked(t)
	}
	if worth == unknown || worth == late {
		return token.ExchangeResult{}, token.ErrInvalid
	}
	if n.fault == "two winners" {
		n.mu.Unlock()
		runtime.Gosched()
		n.mu.Lock()
	}
	if n.fault == "spent before refused" {
		s.nonce = t.Next().Nonce
	}
	meta := s.meta
	if worth == inGrace && n.fault == "replay drops patch" {
		patch = token.Patch{}
	}
	if worth == inGrace && n.fault == "replay drops unset" {
		patch.Unset = nil
	}
	if !patch.IsZero() {
		meta = n.apply(s.meta, patch)
	}
	size := len(meta)
	if n.fault == "unset after the limit" {
		size = len(parseObject(s.meta).apply(token.Patch{Meta: patch.Meta}).String())
	}
	if size > n.cfg.MaxMeta {
		return token.ExchangeResult{}, token.ErrMetaTooLarge
	}
	if n.fault != "expired fill" {
		n.purgeLocked()
	}
	growth := int64(len(meta) - len(s.meta))
	if growth > 0 && n.fullLocked(0, growth) && !(worth == inGrace && n.fault == "replay overfills") {
		return token.ExchangeResult{}, token.ErrFull
	}
	s.meta = meta
	x := token.ExchangeResult{Meta: append(dst, meta...), Reused: worth == inGrace}
	if worth == inGrace {
		n.replay(s, t)
		x.Token = token.Token{ID: t.ID, Nonce: s.nonce}
		return x, nil
	}
	x.Token = t.Next()
	if n.fault != "replay" {
		s.spent = append([]naiveSpent{{t.Nonce, time.Now()}}, s.spent...)
		s.nonce = x.Token.Nonce
	}
	if n.fault != "exchange renews nothing" {
		n.renew(s)
	}
	return x, nil
}

// apply returns the metadata that results from a patch.
func (n *naive) apply(meta string, patch token.Patch) string {
	o := parseObject(meta)
	switch n.fault {
	case "unset ignored":
		patch.Unset = nil
	case "unset before the merge":
		o = o.apply(token.Patch{Unset: patch.Unset})
		patch.Unset = nil
	case "unset as it is spelled":
		if patch.Unset != nil {
			o = slices.DeleteFunc(o.apply(token.Patch{Meta: patch.Meta}), func(m member) bool {
				return strings.Contains(string(patch.Unset), m.spelling)
			})
			return o.String()
		}
	}
	return o.apply(patch).String()
}

// replay does to a session what a replay does wrong.
func (n *naive) replay(s *naiveSession, t token.Token) {
	switch n.fault {
	case "replay mints":
		s.spent = append([]naiveSpent{{s.nonce, time.Now()}}, s.spent...)
		s.nonce = t.Next().Nonce
	case "replay renews deadline":
		n.renew(s)
	case "replay renews window":
		for i := range s.spent {
			if s.spent[i].nonce == t.Nonce {
				s.spent[i].at = time.Now()
			}
		}
	}
}

func (n *naive) Validate(_ context.Context, t token.Token, dst []byte) ([]byte, time.Time, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s, worth := n.presentLocked(t)
	if worth == late && n.fault == "validate revokes" {
		n.reusedLocked(t)
	}
	if worth == unknown || worth == late || worth == inGrace && n.fault == "validate has no grace" {
		return dst, time.Time{}, token.ErrInvalid
	}
	if n.fault == "validate renews" {
		n.renew(s)
	}
	if n.fault == "validate spends grace" && worth == inGrace {
		s.spent = nil
	}
	if n.fault == "buffer overwritten" {
		dst = dst[:0]
	}
	return append(dst, s.meta...), s.expires, nil
}

func (n *naive) Delete(_ context.Context, t token.Token) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch _, worth := n.presentLocked(t); {
	case worth == inGrace && n.fault == "delete has no grace":
	case worth == current, worth == inGrace, n.fault == "spent token deletes":
		delete(n.sessions, t.ID)
	case worth == late && n.fault != "delete never revokes":
		n.reusedLocked(t)
	}
	return nil
}

// presentLocked says what a token is worth.
func (n *naive) presentLocked(t token.Token) (*naiveSession, standing) {
	s := n.sessions[t.ID]
	switch {
	case s == nil || !n.liveLocked(s):
		return nil, unknown
	case s.nonce == t.Nonce:
		return s, current
	case n.inGrace(s, t.Nonce):
		return s, inGrace
	}
	return s, late
}

func (n *naive) inGrace(s *naiveSession, nonce token.Nonce) bool {
	depth, grace := token.GraceDepth, n.cfg.Grace
	switch n.fault {
	case "nine exchanges":
		depth++
	case "seven exchanges":
		depth--
	case "window a nanosecond longer":
		grace++
	case "window a nanosecond shorter":
		grace--
	}
	for i, spent := range s.spent[:min(depth, len(s.spent))] {
		if n.fault == "one window for all" {
			spent.at = s.spent[0].at
		}
		if n.fault == "only the last has a grace" && i > 0 {
			break
		}
		if spent.nonce == nonce && n.cfg.Grace > 0 && time.Now().Before(spent.at.Add(grace)) {
			return true
		}
	}
	return false
}

// reusedLocked ends the session of a token that is presented too late.
func (n *naive) reusedLocked(t token.Token) {
	s := n.sessions[t.ID]
	switch {
	case !n.cfg.RevokeOnReuse && n.fault != "reject revokes",
		n.fault == "only ancestors revoke" && !s.hasSpent(t.Nonce, len(s.spent)),
		n.fault == "only near ancestors revoke" && !s.hasSpent(t.Nonce, token.GraceDepth):
		return
	}
	if n.fault == "reuse revokes the subject" && s.subject != "" {
		n.endSubjectLocked(s.subject, token.ID{})
	}
	delete(n.sessions, t.ID)
}

// hasSpent says whether a nonce is one of the last that were spent.
func (s *naiveSession) hasSpent(nonce token.Nonce, last int) bool {
	spent := s.spent[:min(last, len(s.spent))]
	return slices.ContainsFunc(spent, func(spent naiveSpent) bool { return spent.nonce == nonce })
}

func (n *naive) Batch(ctx context.Context, b *token.Batch) error {
	OneByOne(ctx, n, b)
	return nil
}

func (n *naive) EndSubject(_ context.Context, name []byte) (ended int, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(name) == 0 && n.fault != "nobody is a subject" {
		return 0, nil
	}
	if n.fault == "exchanged escape the end" {
		return n.endUnchangedLocked(string(name)), nil
	}
	return n.endSubjectLocked(string(name), token.ID{}), nil
}

func (n *naive) EndOthers(_ context.Context, name []byte, keep token.Token) (ended int, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s, worth := n.presentLocked(keep)
	if worth == late && n.fault == "keep revokes" {
		n.reusedLocked(keep)
	}
	valid := worth == current || worth == inGrace && n.fault != "keep has no grace" ||
		worth == late && n.fault == "keep may be spent"
	switch {
	case !valid,
		s.subject != string(name) && n.fault != "keep of another subject",
		len(name) == 0 && n.fault != "nobody keeps":
		return 0, token.ErrInvalid
	case n.fault == "keep ends itself":
		return n.endSubjectLocked(string(name), token.ID{}), nil
	case n.fault == "kept while it is not exchanged":
		n.mu.Unlock()
		time.Sleep(time.Microsecond)
		n.mu.Lock()
		if s.nonce != keep.Nonce {
			keep.ID = token.ID{}
		}
	}
	return n.endSubjectLocked(string(name), keep.ID), nil
}

func (n *naive) EndSession(_ context.Context, name []byte, session token.SessionName) (ended int, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, s := range n.sessions {
		if id.Name() != session || s.subject != string(name) && n.fault != "session of another subject" {
			continue
		}
		if len(name) > 0 {
			delete(n.sessions, id)
		}
		if len(name) > 0 && (n.liveLocked(s) || n.fault == "expired are ended") {
			return 1, nil
		}
	}
	return 0, nil
}

func (n *naive) endSubjectLocked(name string, keep token.ID) (ended int) {
	for id, s := range n.sessions {
		if s.subject != name || id == keep || n.fault == "one of a subject stays" && ended > 0 && s.number%2 == 0 {
			continue
		}
		if n.liveLocked(s) || n.fault == "expired are ended" {
			ended++
		}
		delete(n.sessions, id)
	}
	return ended
}

// endUnchangedLocked ends those sessions of a subject that are not exchanged
// between a look and the deed.
func (n *naive) endUnchangedLocked(name string) (ended int) {
	seen := make(map[token.ID]token.Nonce)
	for id, s := range n.sessions {
		if s.subject == name && n.liveLocked(s) {
			seen[id] = s.nonce
		}
	}
	n.mu.Unlock()
	time.Sleep(time.Microsecond)
	n.mu.Lock()
	for id, nonce := range seen {
		if s := n.sessions[id]; s != nil && s.nonce == nonce {
			delete(n.sessions, id)
			ended++
		}
	}
	return ended
}

func (n *naive) liveLocked(s *naiveSession) bool {
	if n.fault == "lives a nanosecond longer" {
		return !time.Now().After(s.expires)
	}
	return time.Now().Before(s.expires)
}

func (n *naive) purgeLocked() {
	for id, s := range n.sessions {
		if !n.liveLocked(s) {
			delete(n.sessions, id)
		}
	}
}

func (n *naive) fullLocked(sessions, bytes int64) bool {
	for _, s := range n.sessions {
		sessions++
		bytes += n.costOf(s)
	}
	return n.cfg.MaxSessions > 0 && sessions > n.cfg.MaxSessions || n.cfg.MaxBytes > 0 && bytes > n.cfg.MaxBytes
}
