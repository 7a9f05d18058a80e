package bench

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"runtime"
	"sync"
	"testing"
	"time"

	"tokenserver/shard"
	"tokenserver/token"
)

// engine does the job that is measured: each of its sessions, named by number,
// has a token that an exchange replaces. Two goroutines never use one session.
type engine interface {
	create(i int)
	exchange(i int, dst []byte) []byte
	close()
}

const lifetime = 2 * time.Hour

// ours is the store of this server.
type ours struct {
	store  *shard.Store
	tokens []token.Token
}

func newOurs(n, shards int) *ours {
	return newOursOf(n, shard.Config{Shards: shards, Lifetime: lifetime})
}

// newOursWith leaves the purge to the benchmark.
func newOursWith(n int, lifetime time.Duration) *ours {
	return newOursOf(n, shard.Config{Lifetime: lifetime, PurgeInterval: time.Hour})
}

func newOursOf(n int, config shard.Config) *ours {
	return &ours{shard.New(config), make([]token.Token, n)}
}

func (o *ours) close() { o.store.Close() }

func (o *ours) create(i int) {
	t, err := o.store.Create(context.Background(), token.NewSession{Meta: meta})
	must(err)
	o.tokens[i] = t
}

func (o *ours) exchange(i int, dst []byte) []byte { return o.exchangePatch(i, nil, dst) }

func (o *ours) exchangePatch(i int, patch, dst []byte) []byte {
	x, err := o.store.Exchange(context.Background(), o.tokens[i], token.Patch{Meta: patch}, dst[:0])
	must(err)
	o.tokens[i] = x.Token
	return x.Meta
}

// mapStore is what one would write in an afternoon: plain string tokens in a
// map behind one lock. An exchange moves the session to its new token.
type mapStore struct {
	mu       sync.RWMutex
	sessions map[string]*mapEntry
	tokens   []string
}

type mapEntry struct {
	meta     []byte
	deadline time.Time
}

func newMapStore(n int) *mapStore {
	return &mapStore{sessions: make(map[string]*mapEntry, n), tokens: make([]string, n)}
}

func (m *mapStore) close() {}

func (m *mapStore) create(i int) {
	t := newStringToken()
	e := &mapEntry{meta: append([]byte(nil), meta...), deadline: time.Now().Add(lifetime)}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions[t] = e
	m.tokens[i] = t
}

func (m *mapStore) exchange(i int, dst []byte) []byte {
	next := newStringToken()
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.sessions[m.tokens[i]]
	if !ok || !now.Before(e.deadline) {
		panic("bench: session lost")
	}
	delete(m.sessions, m.tokens[i])
	e.deadline = now.Add(lifetime)
	m.sessions[next] = e
	m.tokens[i] = next
	return append(dst[:0], e.meta...)
}

// newStringToken makes a token of the same strength as ours.
func newStringToken() string {
	var b [token.Size]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// filled returns an engine with n sessions. It keeps the last one made, since a
// benchmark is run several times with rising b.N.
func filled(b *testing.B, name string, n int, make func() engine) engine {
	b.Helper()
	if lastFilled.name != name || lastFilled.n != n {
		dropFilled()
		lastFilled.engine = make()
		lastFilled.name, lastFilled.n = name, n
		fill(n, lastFilled.engine.create)
	}
	return lastFilled.engine
}

var lastFilled struct {
	name   string
	n      int
	engine engine
}

// dropFilled lets go of the engine that filled keeps.
func dropFilled() {
	if lastFilled.engine != nil {
		lastFilled.engine.close()
	}
	lastFilled.name, lastFilled.engine = "", nil
	runtime.GC()
}
