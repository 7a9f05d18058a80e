package valkey

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"tokenserver/internal/metadata"
	"tokenserver/token"
)

// Bounds and default of [Config].Timeout. Flags are held to the bounds.
const (
	MinTimeout     = 50 * time.Millisecond
	MaxTimeout     = 10 * time.Second
	DefaultTimeout = 500 * time.Millisecond
)

// How connections are set.
const (
	// ioTimeout bounds the dialling of a connection, and how long one may be silent.
	ioTimeout = 500 * time.Millisecond
	// flushDelay is how long a connection gathers commands while others are under way.
	flushDelay = 20 * time.Microsecond
	// maxMultiplex bounds the connections to an engine: its power of two.
	maxMultiplex = 4
	// refreshInterval is the time between two looks at which nodes there are.
	refreshInterval = 5 * time.Second
	// startTimeout is how long Open waits for an engine.
	startTimeout = 5 * time.Second
)

// Config describes a Store. But for Engine its zero value is a store with the documented
// defaults.
type Config struct {
	// Engine is where the sessions are.
	Engine Engine
	// Timeout is how long a call waits for the engine, MinTimeout … MaxTimeout. 0 means
	// DefaultTimeout.
	Timeout time.Duration
	// Wait has Open return at once, and leave it to Load to wait for the engine. Until it is
	// there, every call returns a [token.UnavailableError].
	Wait bool

	// Lifetime is the idle lifetime: how long a session lives without an exchange. 0
	// means [token.DefaultIdleLifetime].
	Lifetime time.Duration
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
	// Secret derives the tokens of a store with a grace, and is needed by no other. All
	// stores on one engine must have the same.
	Secret *token.Secret

	// Logger gets changes of the engine's state. Nil means slog.Default().
	Logger *slog.Logger
}

// Store keeps sessions in an engine. It implements [tokenserver/server.Store].
type Store struct {
	config        Config
	keys          keys
	timeout       time.Duration
	lifetime      time.Duration
	maxMeta       int
	grace         time.Duration
	revokeOnReuse bool
	maxLifetime   time.Duration
	secret        *token.Secret // nil without a grace
	args          arguments
	log           *slog.Logger

	connected atomic.Pointer[rueidis.Client]
	id        atomic.Pointer[string]
	found     atomic.Pointer[string]
	clock     engineClock
	deadlines deadlines
	health    health
	bulkheads bulkheads
	counters  counters
	durations durations
	metaSize  meanSize
	memory    meanSize // what sessions take in the engine
	usage     atomic.Pointer[engineUsage]
	// connections is how many there are to the engine.
	connections atomic.Int64
	members     sync.Pool // of *metadata.Object

	closing context.Context
	close   context.CancelFunc
	closed  sync.WaitGroup
}

// arguments are arguments of scripts that are always the same.
type arguments struct{ lifetime, maxMeta, absolute string }

// Open connects to an engine. The store must be closed. Its errors are ErrRefused and
// ErrAddress; any other says that the engine can't be reached.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	s, err := newStore(cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Wait {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := s.Load(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Load waits for the engine, as long as ctx says, and connects to it. It is called once, by
// whoever has opened the store with Wait. Its errors are those of Open.
func (s *Store) Load(ctx context.Context) error {
	if s.client() != nil {
		return nil
	}
	if err := s.connect(ctx); err != nil {
		return err
	}
	s.log.Info("connected to the engine", "engine", s.config.Engine.String(), "version", s.version(), "mode", string(s.client().Mode()))
	s.closed.Go(s.watch)
	return nil
}

func newStore(cfg Config) (*Store, error) {
	if len(cfg.Engine.Hosts) == 0 {
		return nil, fmt.Errorf("%w: no host", ErrAddress)
	}
	if cfg.Grace != 0 && cfg.Secret == nil {
		return nil, fmt.Errorf("%w: a grace needs a secret that all servers share", ErrRefused)
	}
	s := &Store{
		config: cfg,
		keys:   keys{cmp.Or(cfg.Engine.Prefix, DefaultPrefix)}, timeout: cmp.Or(cfg.Timeout, DefaultTimeout),
		lifetime: cmp.Or(cfg.Lifetime, token.DefaultIdleLifetime), maxMeta: cmp.Or(cfg.MaxMeta, token.DefaultMetaLimit),
		grace: cfg.Grace, revokeOnReuse: cfg.RevokeOnReuse, maxLifetime: cfg.MaxLifetime,
		log:     cmp.Or(cfg.Logger, slog.Default()),
		members: sync.Pool{New: func() any { return new(metadata.Object) }},
	}
	if cfg.Grace != 0 {
		s.secret = cfg.Secret
	}
	s.args = arguments{lifetime: milliseconds(s.lifetime), maxMeta: strconv.Itoa(s.maxMeta)}
	if s.secret != nil || s.maxLifetime != 0 {
		s.args.absolute = milliseconds(s.maxLifetime)
	}
	s.closing, s.close = context.WithCancel(context.Background())
	s.clock.init()
	s.deadlines.init(s.closing, s.timeout)
	s.health.init(s.log)
	return s, nil
}

// client returns what sends commands, or nil while there was no engine yet.
func (s *Store) client() rueidis.Client {
	if c := s.connected.Load(); c != nil {
		return *c
	}
	return nil
}

// connect connects, and tries again until ctx ends.
func (s *Store) connect(ctx context.Context) error {
	waiting, level := false, slog.LevelDebug
	if s.config.Wait {
		level = slog.LevelWarn
	}
	for {
		err := s.connectOnce(ctx)
		if err == nil || errors.Is(err, ErrRefused) || errors.Is(err, ErrAddress) {
			return err
		}
		f := classify(err)
		s.health.failure.Store(&f)
		if !waiting {
			waiting = true
			s.log.Log(ctx, level, "waiting for the engine", "reason", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no engine at %v: %w", s.config.Engine, err)
		case <-time.After(connectPause):
		}
	}
}

// connectPause is the time between two tries to connect.
const connectPause = 200 * time.Millisecond

func (s *Store) connectOnce(ctx context.Context) error {
	client, err := rueidis.NewClient(s.options(runtime.GOMAXPROCS(0)))
	if err != nil {
		return refusal(err, &s.config.Engine)
	}
	s.connected.Store(&client)
	if err = s.check(ctx, &s.config.Engine); err != nil {
		s.connected.Store(nil)
		client.Close()
	}
	return err
}

// next returns the token after t: a random one, unless its successors may be asked for.
func (s *Store) next(t token.Token) token.Token {
	if s.secret == nil {
		return t.Next()
	}
	return s.secret.Next(t)
}

// version returns the engine's name and version, as it was found at the start.
func (s *Store) version() string {
	if v := s.found.Load(); v != nil {
		return *v
	}
	return "unknown"
}

// Close ends the connections. Calls that are under way fail.
func (s *Store) Close() error {
	s.close()
	s.closed.Wait()
	if c := s.client(); c != nil {
		c.Close()
	}
	return nil
}
