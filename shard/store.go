// Package shard is the embedded store: sessions in memory, spread over shards.
//
// # Basics
//
// New makes a Store. A session's id is hashed to one of its shards, each with
// its own map, lock and min-heap of deadlines, so that an exchange is one look-up
// and an update in place under one lock. A deadline is checked at every use; the
// purge in the background only takes back memory.
//
// # Caveats
//
// Nothing outlives the Store. No method waits for anything but a shard's lock,
// so contexts are not looked at.
package shard

import (
	"context"
	"encoding/binary"
	"math/bits"
	"runtime"
	"sync"
	"time"

	"tokenserver/token"
)

// Limits of Config.Shards.
const (
	MinShards = 1
	MaxShards = 65536
)

// Config describes a Store. Its zero value is a store with the documented defaults.
type Config struct {
	// Shards is how many shards there are: a power of two, MinShards …
	// MaxShards. 0 means DefaultShards.
	Shards int
	// Lifetime is how long a session lives without an exchange. 0 means 2 hours.
	Lifetime time.Duration
	// PurgeInterval is the time between two purges. 0 means a minute.
	PurgeInterval time.Duration
	// MaxSessions is how many sessions there may be. 0 means no limit.
	MaxSessions int64
	// MaxBytes is how much memory all sessions may take, as Stats.Bytes counts
	// it. 0 means no limit.
	MaxBytes int64
	// MaxMeta is the greatest size of a session's metadata in bytes. 0 means 64 KiB.
	MaxMeta int
}

// Defaults of Config.
const (
	DefaultLifetime      = 2 * time.Hour
	DefaultPurgeInterval = time.Minute
	DefaultMaxMeta       = 64 << 10
)

// DefaultShards returns the number of shards that suits this machine: the power
// of two from 16 a processor on, so that two requests seldom want the same one.
func DefaultShards() int {
	n := 16 * runtime.GOMAXPROCS(0)
	return min(1<<bits.Len(uint(n-1)), MaxShards)
}

// Store is a store of sessions in memory. It implements server.Store.
type Store struct {
	shards   []shard
	shift    uint // turns a hash into a shard's number
	start    time.Time
	lifetime time.Duration
	maxMeta  int
	frames   frames
	budget   budget
	purge    purgeState

	members sync.Pool // of *token.Members

	closing chan struct{}
	closed  sync.WaitGroup
}

// New makes a store and starts its purge. It must be closed.
func New(cfg Config) *Store {
	cfg = cfg.withDefaults()
	s := &Store{
		shards:   make([]shard, cfg.Shards),
		shift:    uint(64 - bits.Len(uint(cfg.Shards-1))),
		start:    time.Now(),
		lifetime: cfg.Lifetime,
		maxMeta:  cfg.MaxMeta,
		members:  sync.Pool{New: func() any { return new(token.Members) }},
		closing:  make(chan struct{}),
	}
	s.budget.sessions.limit = cfg.MaxSessions
	s.budget.bytes.limit = cfg.MaxBytes
	for i := range s.shards {
		s.shards[i].init(&s.frames, &s.budget, cfg.MaxMeta)
	}
	s.closed.Go(func() { s.purgeLoop(cfg.PurgeInterval) })
	return s
}

func (cfg Config) withDefaults() Config {
	if cfg.Shards == 0 {
		cfg.Shards = DefaultShards()
	}
	if cfg.Shards < MinShards || cfg.Shards > MaxShards || cfg.Shards&(cfg.Shards-1) != 0 {
		panic("shard: Config.Shards is no power of two from 1 to 65536")
	}
	if cfg.Lifetime == 0 {
		cfg.Lifetime = DefaultLifetime
	}
	if cfg.PurgeInterval == 0 {
		cfg.PurgeInterval = DefaultPurgeInterval
	}
	if cfg.MaxMeta == 0 {
		cfg.MaxMeta = DefaultMaxMeta
	}
	return cfg
}

// Close ends the purge. Calls that are under way may finish.
func (s *Store) Close() error {
	close(s.closing)
	s.closed.Wait()
	return nil
}

// Create stores a session and returns its first token. Its errors are
// token.ErrFull and token.ErrMetaTooLarge.
func (s *Store) Create(_ context.Context, n token.New) (token.Token, error) {
	meta := s.split(n.Meta)
	defer s.members.Put(meta)
	size := meta.Len()
	if size > s.maxMeta {
		return token.Token{}, token.ErrMetaTooLarge
	}
	now := s.now()
	if !s.takeSession(size, now) {
		return token.Token{}, token.ErrFull
	}
	d := now + int64(s.lifetime)
	for {
		t := token.Generate()
		switch created, err := s.shard(t.ID).create(t.ID, t.Digest(), meta, size, d); {
		case err != nil:
			s.budget.giveSession(size)
			return token.Token{}, err
		case created:
			s.purge.expect(d)
			return t, nil
		}
	}
}

// takeSession takes the room of a session from the budget, expired ones making room first.
func (s *Store) takeSession(size int, now deadline) bool {
	if s.budget.takeSession(size) {
		return true
	}
	s.makeRoom(now)
	return s.budget.takeSession(size)
}

// Exchange spends t and returns the session's next token, with the metadata,
// into which patch is merged if it is not nil, appended to dst: of concurrent
// calls exactly one wins. Its errors are token.ErrInvalid, and, with t still
// valid, token.ErrMetaTooLarge and token.ErrFull.
func (s *Store) Exchange(_ context.Context, t token.Token, patch, dst []byte) (token.Exchanged, error) {
	next := t.Next()
	now := s.now()
	x := exchange{id: t.ID, now: now, deadline: now + int64(s.lifetime)}
	x.old, x.new = token.Digests(t, next)
	if patch != nil {
		x.patch = s.split(patch)
		defer s.members.Put(x.patch)
	}
	sh := s.shard(t.ID)
	meta, err := sh.exchange(&x, dst)
	if err == token.ErrFull {
		s.makeRoom(now)
		meta, err = sh.exchange(&x, dst)
	}
	if err != nil {
		return token.Exchanged{Meta: dst}, err
	}
	return token.Exchanged{Token: next, Meta: meta}, nil
}

// Validate appends the metadata of the session whose current token is t to dst
// and returns when it expires. It changes nothing. Its error is token.ErrInvalid.
func (s *Store) Validate(_ context.Context, t token.Token, dst []byte) ([]byte, time.Time, error) {
	meta, d, err := s.shard(t.ID).validate(t.ID, t.Digest(), s.now(), dst)
	return meta, s.time(d), err
}

// Delete ends the session whose current token is t, if there is one. It never fails.
func (s *Store) Delete(_ context.Context, t token.Token) error {
	s.shard(t.ID).delete(t.ID, t.Digest(), s.now())
	return nil
}

// shard returns the shard of a session. The multiplier, 2^64 divided by the
// golden ratio, spreads ids over the upper bits.
func (s *Store) shard(id token.ID) *shard {
	hash := binary.LittleEndian.Uint64(id[:]) * 0x9E3779B97F4A7C15
	return &s.shards[hash>>s.shift]
}

func (s *Store) split(object []byte) *token.Members {
	m := s.members.Get().(*token.Members)
	m.Split(object)
	return m
}

// now returns the time on the clock of deadlines.
func (s *Store) now() deadline { return int64(time.Since(s.start)) }

func (s *Store) time(d deadline) time.Time { return s.start.Add(time.Duration(d)) }
