package storetest

import (
	"context"
	"iter"
	"runtime"
	"sync"
	"testing"
	"time"

	"tokenserver/token"
)

// naive is a store with one lock and one map. With a defect it does one thing wrong.
type naive struct {
	cfg    Config
	defect string

	mu       sync.Mutex
	sessions map[token.ID]*naiveSession
}

type naiveSession struct {
	nonce   token.Nonce
	meta    string
	expires time.Time
}

func openNaive(defect string) func(testing.TB, Config) Store {
	return func(_ testing.TB, cfg Config) Store {
		if cfg.Lifetime == 0 {
			cfg.Lifetime = time.Hour
		}
		if cfg.MaxMeta == 0 {
			cfg.MaxMeta = 64 << 10
		}
		return &naive{cfg: cfg, defect: defect, sessions: make(map[token.ID]*naiveSession)}
	}
}

func naiveCost(meta int) int64 { return 100 + int64(meta) }

func (n *naive) Create(_ context.Context, s token.New) (token.Token, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	meta := parseObject(string(s.Meta)).String()
	if n.defect == "duplicates stay" {
		meta = string(s.Meta)
	}
	if len(meta) > n.cfg.MaxMeta {
		return token.Token{}, token.ErrMetaTooLarge
	}
	if n.defect != "expired fill" {
		n.purgeLocked()
	}
	if n.fullLocked(1, naiveCost(len(meta))) {
		return token.Token{}, token.ErrFull
	}
	t := token.Generate()
	n.sessions[t.ID] = &naiveSession{t.Nonce, meta, time.Now().Add(n.cfg.Lifetime)}
	return t, nil
}

func (n *naive) Exchange(_ context.Context, t token.Token, patch, dst []byte) (token.Exchanged, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.findLocked(t)
	if s == nil {
		return token.Exchanged{}, token.ErrInvalid
	}
	if n.defect == "two winners" {
		n.mu.Unlock()
		runtime.Gosched()
		n.mu.Lock()
	}
	if n.defect == "spent before refused" {
		s.nonce = t.Next().Nonce
	}
	meta := s.meta
	if patch != nil {
		meta = parseObject(s.meta).merge(parseObject(string(patch))).String()
	}
	if len(meta) > n.cfg.MaxMeta {
		return token.Exchanged{}, token.ErrMetaTooLarge
	}
	if n.defect != "expired fill" {
		n.purgeLocked()
	}
	if growth := int64(len(meta) - len(s.meta)); growth > 0 && n.fullLocked(0, growth) {
		return token.Exchanged{}, token.ErrFull
	}
	next := t.Next()
	if n.defect != "replay" {
		s.nonce = next.Nonce
	}
	s.meta = meta
	if n.defect != "exchange renews nothing" {
		s.expires = time.Now().Add(n.cfg.Lifetime)
	}
	return token.Exchanged{Token: next, Meta: append(dst, meta...)}, nil
}

func (n *naive) Validate(_ context.Context, t token.Token, dst []byte) ([]byte, time.Time, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.findLocked(t)
	if s == nil {
		return dst, time.Time{}, token.ErrInvalid
	}
	if n.defect == "validate renews" {
		s.expires = time.Now().Add(n.cfg.Lifetime)
	}
	if n.defect == "buffer overwritten" {
		dst = dst[:0]
	}
	return append(dst, s.meta...), s.expires, nil
}

func (n *naive) Delete(_ context.Context, t token.Token) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.findLocked(t) != nil || n.defect == "spent token deletes" {
		delete(n.sessions, t.ID)
	}
	return nil
}

func (n *naive) Sessions(ctx context.Context) iter.Seq2[token.Session, error] {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []naiveSession
	for _, s := range n.sessions {
		if n.liveLocked(s) || n.defect == "expired are listed" {
			all = append(all, *s)
		}
	}
	return func(yield func(token.Session, error) bool) {
		for _, s := range all {
			if err := ctx.Err(); err != nil {
				yield(token.Session{}, err)
				return
			}
			if !yield(token.Session{Expires: s.expires, Meta: []byte(s.meta)}, nil) {
				return
			}
		}
	}
}

func (n *naive) findLocked(t token.Token) *naiveSession {
	s := n.sessions[t.ID]
	if s == nil || s.nonce != t.Nonce || !n.liveLocked(s) {
		return nil
	}
	return s
}

func (n *naive) liveLocked(s *naiveSession) bool {
	if n.defect == "lives a nanosecond longer" {
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
		bytes += naiveCost(len(s.meta))
	}
	return n.cfg.MaxSessions > 0 && sessions > n.cfg.MaxSessions || n.cfg.MaxBytes > 0 && bytes > n.cfg.MaxBytes
}
