package shard

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"math/bits"
	"runtime"
	"sync"
	"time"

	"tokenserver/internal/clock"
	"tokenserver/internal/metadata"
	"tokenserver/token"
)

// Bounds of [Config].Shards, which is a power of two.
const (
	MinShards = 1
	MaxShards = 65536
)

// Bounds and default of [Config].PurgeInterval. Flags are held to the bounds; a
// Store takes what it is given.
const (
	MinPurgeInterval     = time.Second
	MaxPurgeInterval     = 90 * time.Minute
	DefaultPurgeInterval = time.Minute
)

// Config describes a Store. Its zero value is a store with the documented defaults.
type Config struct {
	// Shards is how many shards there are: a power of two, MinShards …
	// MaxShards. 0 means DefaultShards.
	Shards int
	// Lifetime is the idle lifetime: how long a session lives without an exchange. 0
	// means [token.DefaultIdleLifetime].
	Lifetime time.Duration
	// PurgeInterval is the time between two purges. 0 means DefaultPurgeInterval.
	PurgeInterval time.Duration
	// MaxSessions is how many sessions there may be. 0 means no limit.
	MaxSessions int64
	// MaxBytes is how much memory may be reserved for all sessions, as Reserved of
	// Stats counts it. 0 means no limit.
	MaxBytes int64
	// MaxMeta is the greatest size of a session's metadata in bytes. 0 means
	// [token.DefaultMetaLimit].
	MaxMeta int

	// Grace is how long a spent token still stands for its session's current one:
	// see Exchange. 0 means not at all.
	Grace time.Duration
	// RevokeOnReuse ends a session when a token of it is presented that is neither
	// the current one nor in its grace.
	RevokeOnReuse bool
	// MaxLifetime is how long a session lives from its creation on, whatever is
	// exchanged. 0 means no limit.
	MaxLifetime time.Duration
	// Secret derives the tokens of a store with a grace, and is needed by no
	// other. Nil means a random one, that ends with the Store.
	Secret *token.Secret

	// Logger gets a panic of the purge, which goes on. Nil means slog.Default().
	Logger *slog.Logger
	// Journal makes the sessions last. Nil means that they don't.
	Journal Journal
	// Clock tells the time, and is closed by whoever has made it. Nil means the
	// real one.
	Clock *clock.Clock
}

// DefaultShards returns the number of shards that suits this machine: the power
// of two from 16 a processor on, so that two requests seldom want the same one.
func DefaultShards() int {
	n := 16 * runtime.GOMAXPROCS(0)
	return min(1<<bits.Len(uint(n-1)), MaxShards)
}

// Store is a store of sessions in memory. It implements [tokenserver/server.Store].
type Store struct {
	shards []shard
	shift  uint // turns a hash into a shard's number
	rules  rules
	secret *token.Secret // nil without a grace
	pool   pagePool
	budget budget
	purge  purgeState
	log    *slog.Logger

	members sync.Pool // of *metadata.Object
	runs    sync.Pool // of *batchRun

	ownClock *clock.Clock // nil if it is somebody else's

	closing chan struct{}
	closed  sync.WaitGroup
}

// New makes a store and starts its purge. It must be closed.
func New(cfg Config) *Store {
	cfg = cfg.withDefaults()
	var own *clock.Clock
	if cfg.Clock == nil {
		own = clock.New(nil)
		cfg.Clock = own
	}
	s := &Store{
		ownClock: own,
		shards:   make([]shard, cfg.Shards),
		shift:    uint(64 - bits.Len(uint(cfg.Shards-1))),
		rules:    cfg.rules(),
		members:  sync.Pool{New: func() any { return new(metadata.Object) }},
		runs:     sync.Pool{New: func() any { return new(batchRun) }},
		closing:  make(chan struct{}),
		log:      cmp.Or(cfg.Logger, slog.Default()),
	}
	if cfg.Grace != 0 {
		s.secret = cfg.Secret
	}
	s.budget.sessions.limit = cfg.MaxSessions
	s.budget.bytes.limit = cfg.MaxBytes
	s.purge.unsqueezed.Store(true)
	for i := range s.shards {
		s.shards[i].init(&s.rules, &s.pool, &s.budget, &s.purge)
	}
	s.closed.Go(func() { s.purgeLoop(cfg.PurgeInterval) })
	return s
}

func (cfg Config) withDefaults() Config {
	if cfg.Shards == 0 {
		cfg.Shards = DefaultShards()
	}
	if cfg.Shards < MinShards || cfg.Shards > MaxShards || cfg.Shards&(cfg.Shards-1) != 0 {
		panic(fmt.Sprintf("shard: Config.Shards is no power of two from %d to %d", MinShards, MaxShards))
	}
	if cfg.Lifetime == 0 {
		cfg.Lifetime = token.DefaultIdleLifetime
	}
	if cfg.PurgeInterval == 0 {
		cfg.PurgeInterval = DefaultPurgeInterval
	}
	if cfg.MaxMeta == 0 {
		cfg.MaxMeta = token.DefaultMetaLimit
	}
	if cfg.Grace != 0 && cfg.Secret == nil {
		key := make([]byte, token.MinSecret)
		rand.Read(key)
		cfg.Secret = token.NewSecret(key)
	}
	return cfg
}

func (cfg Config) rules() rules {
	return rules{
		lifetime:      cfg.Lifetime,
		grace:         cfg.Grace,
		revokeOnReuse: cfg.RevokeOnReuse,
		maxLifetime:   cfg.MaxLifetime,
		maxMeta:       cfg.MaxMeta,
		journal:       cfg.Journal,
		clock:         cfg.Clock,
	}
}

// Close ends the purge. Calls that are under way may finish.
func (s *Store) Close() error {
	close(s.closing)
	s.closed.Wait()
	if s.ownClock != nil {
		s.ownClock.Close()
	}
	return nil
}

// Create stores a session and returns its first token. Its errors are
// [token.ErrFull] and [token.ErrMetaTooLarge].
func (s *Store) Create(_ context.Context, n token.NewSession) (token.Token, error) {
	t, w, err := s.create(n)
	if failed := wait(w); failed != nil {
		return token.Token{}, failed
	}
	return t, err
}

// create is Create without the wait.
func (s *Store) create(n token.NewSession) (token.Token, Write, error) {
	meta := s.split(n.Meta)
	defer s.release(meta)
	session := newSession{meta: meta, size: meta.Len()}
	if session.size > s.rules.maxMeta {
		return token.Token{}, nil, token.ErrMetaTooLarge
	}
	now := s.now()
	session.deadline = now.Add(s.rules.lifetime)
	if n.Lifetime != 0 || len(n.Subject) > 0 || s.rules.grace != 0 || s.rules.maxLifetime != 0 {
		s.addPolicyState(&session, n, now)
	}
	if !s.takeSession(now) {
		return token.Token{}, nil, token.ErrFull
	}
	t, w, err := s.add(&session)
	if err == token.ErrFull {
		s.makeMemory(now)
		t, w, err = s.addSomewhere(&session)
	}
	if err != nil {
		s.budget.sessions.give(1)
		return token.Token{}, nil, err
	}
	s.purge.expect(session.deadline)
	return t, w, nil
}

// addPolicyState gives a new session what only some have.
func (s *Store) addPolicyState(n *newSession, wanted token.NewSession, now timestamp) {
	n.hasPolicy = true
	n.policy = policyState{subject: NewSubject(wanted.Subject), lifetime: wanted.Lifetime, created: now}
	if s.rules.maxLifetime != 0 {
		n.policy.absoluteDeadline = now.Add(s.rules.maxLifetime)
	}
	n.deadline = n.policy.renewed(now, s.rules.lifetime)
}

// add stores a session under a new token.
func (s *Store) add(n *newSession) (token.Token, Write, error) {
	for {
		t := token.Generate()
		if n.policy.subject != (Subject{}) {
			t.ID = idFor(n.policy.subject, t.ID)
		}
		n.id, n.digest = t.ID, t.Digest()
		created, w, err := s.shard(t.ID).create(n)
		if err != nil || created {
			return t, w, err
		}
	}
}

// addTries is how many shards, picked at random, are asked for room.
const addTries = 4

// addSomewhere is add for a store that is nearly full. Where a shard has no room,
// another may have some, unless the session's subject has its own.
func (s *Store) addSomewhere(n *newSession) (t token.Token, w Write, err error) {
	for range addTries {
		if t, w, err = s.add(n); err != token.ErrFull || n.policy.subject != (Subject{}) {
			break
		}
	}
	return t, w, err
}

// takeSession takes the room of a session from the budget, expired ones making room first.
func (s *Store) takeSession(now timestamp) bool {
	if s.budget.sessions.take(1) {
		return true
	}
	s.makeRoom(now)
	return s.budget.sessions.take(1)
}

// Exchange spends t and returns the session's next token, with the metadata,
// into which patch is merged, appended to dst: of concurrent calls exactly one
// wins. Its errors are [token.ErrInvalid], and, with t still valid,
// [token.ErrMetaTooLarge] and [token.ErrFull].
//
// In a store with a grace, a token that was spent less than the grace ago, and
// no more than [token.GraceDepth] exchanges, gets the session's current token: nothing is
// spent or renewed, but a patch is merged all the same.
func (s *Store) Exchange(_ context.Context, t token.Token, patch token.Patch, dst []byte) (token.ExchangeResult, error) {
	x, w, err := s.exchange(t, patch, dst)
	if failed := wait(w); failed != nil {
		return token.ExchangeResult{Meta: dst}, failed
	}
	return x, err
}

// exchange is Exchange without the wait.
func (s *Store) exchange(t token.Token, patch token.Patch, dst []byte) (token.ExchangeResult, Write, error) {
	var x exchangeArgs
	x.id, x.now = t.ID, s.now()
	next := s.next(t)
	x.digest, x.new = token.Digests(t, next)
	if !patch.IsZero() {
		x.patch = s.splitPatch(patch)
		defer s.release(x.patch)
	}
	meta, age, w, err := s.exchangeIn(s.shard(t.ID), t, &x, dst)
	if err == token.ErrFull {
		s.makeMemory(x.now)
		if x.successors == nil {
			x.now = s.now() // a grace begins when the token is spent, not before the purge
		}
		meta, age, w, err = s.exchangeIn(s.shard(t.ID), t, &x, dst)
	}
	if err != nil {
		return token.ExchangeResult{Meta: dst}, w, err
	}
	if age > 0 {
		next = x.successors.tokens[age-1]
	}
	return token.ExchangeResult{Token: next, Meta: meta, Reused: age > 0}, w, nil
}

// exchangeIn makes an exchange in its shard, with the token's successors if it
// takes that.
func (s *Store) exchangeIn(sh *shard, t token.Token, x *exchangeArgs, dst []byte) (meta []byte, age int, w Write, err error) {
	meta, age, w, err = sh.exchange(x, dst)
	for err == errUnproven {
		s.derive(&x.credential, t)
		meta, age, w, err = sh.exchange(x, dst)
	}
	return meta, age, w, err
}

// next returns the token after t: a random one, unless its successors may be asked for.
func (s *Store) next(t token.Token) token.Token {
	if s.secret == nil {
		return t.Next()
	}
	return s.secret.Next(t)
}

// Validate appends the metadata of the session whose current token is t, or was
// so less than the grace ago, to dst and returns when it expires. It changes
// nothing. Its error is [token.ErrInvalid].
func (s *Store) Validate(_ context.Context, t token.Token, dst []byte) ([]byte, time.Time, error) {
	meta, expires, w, err := s.validate(t, dst)
	if failed := wait(w); failed != nil {
		return dst, time.Time{}, failed
	}
	return meta, expires, err
}

// validate is Validate without the wait.
func (s *Store) validate(t token.Token, dst []byte) ([]byte, time.Time, Write, error) {
	c := credential{id: t.ID, digest: t.Digest(), now: s.now()}
	sh := s.shard(t.ID)
	meta, d, w, err := sh.validate(&c, dst)
	for err == errUnproven {
		s.derive(&c, t)
		meta, d, w, err = sh.validate(&c, dst)
	}
	if err != nil {
		return dst, time.Time{}, w, err
	}
	return meta, s.rules.clock.Last().Time(d), w, nil
}

// Delete ends the session whose current token is t, or was so less than the
// grace ago, if there is one.
func (s *Store) Delete(_ context.Context, t token.Token) error { return wait(s.delete(t)) }

// delete is Delete without the wait.
func (s *Store) delete(t token.Token) Write {
	c := credential{id: t.ID, digest: t.Digest(), now: s.now()}
	sh := s.shard(t.ID)
	w, err := sh.delete(&c)
	for err == errUnproven {
		s.derive(&c, t)
		w, err = sh.delete(&c)
	}
	return w
}

// Holds says whether there is a session with an id. It may have expired.
func (s *Store) Holds(id token.ID) bool {
	sh := s.shard(id)
	sh.rlock()
	defer sh.mu.RUnlock()
	_, ok := sh.sessions.get(id)
	return ok
}

// shard returns the shard of a session.
func (s *Store) shard(id token.ID) *shard { return &s.shards[s.shardNumber(id)] }

func (s *Store) shardNumber(id token.ID) int { return int(hashOf(id) >> s.shift) }

func (s *Store) split(object []byte) *metadata.Object {
	return s.splitPatch(token.Patch{Meta: object})
}

// release lets another call have m, which refers to nothing of this one any more.
func (s *Store) release(m *metadata.Object) {
	m.Reset()
	s.members.Put(m)
}

func (s *Store) splitPatch(p token.Patch) *metadata.Object {
	m := s.members.Get().(*metadata.Object)
	m.SplitPatch(p.Meta, p.Unset)
	return m
}

func (s *Store) now() timestamp { return s.rules.clock.Now() }
