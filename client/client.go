package client

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Config describes a Client. All but Addresses may be left out.
type Config struct {
	// Addresses are those of the servers: http://host:port, https://host:port,
	// host:port, which is http, or unix:/path. Several servers must share a store.
	Addresses []string

	// Timeout is how long a call may take whose context has no earlier deadline. 0
	// means DefaultTimeout.
	Timeout time.Duration
	// MaxBatch is how many calls travel together at most, and MaxBatchBytes how large
	// that request may be. 0 means DefaultMaxBatch and DefaultMaxBatchBytes, which are
	// the defaults of the server's --max-batch and --max-batch-body: lower them with
	// those.
	MaxBatch, MaxBatchBytes int
	// MaxInFlight is how many requests of calls that can travel together are under way
	// at a time, to each address. A server that hangs keeps no more than these from
	// the others. 0 means DefaultMaxInFlight.
	MaxInFlight int
	// RetryUnknown presents the same token again when the outcome of an exchange is
	// unknown. The servers must have a --grace, and one that is longer than Timeout.
	RetryUnknown bool

	// Secret returns the bearer secret. It is asked before each request, and so should
	// keep it. Nil means SecretFile.
	Secret func(ctx context.Context) (string, error)
	// SecretFile has the bearer secret in its first line. It is read again when it has
	// changed. Empty means that none is sent.
	SecretFile string

	// TLS is for addresses with https. Nil means the system's certificate authorities.
	TLS *tls.Config
	// CertFile and KeyFile have the client's certificate and its key as PEM. They are
	// read again when they have changed, for the connections that are made from then on.
	CertFile, KeyFile string
	// Proxy returns the proxy for a request. Nil means none.
	Proxy func(*http.Request) (*url.URL, error)

	dial func(ctx context.Context, network, address string) (net.Conn, error) // of tests
}

// Defaults of [Config].
const (
	DefaultTimeout       = 5 * time.Second
	DefaultMaxBatch      = 1024
	DefaultMaxBatchBytes = 1 << 20
	DefaultMaxInFlight   = 2
)

func (cfg Config) withDefaults() Config {
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.MaxBatch <= 0 {
		cfg.MaxBatch = DefaultMaxBatch
	}
	if cfg.MaxBatchBytes <= 0 {
		cfg.MaxBatchBytes = DefaultMaxBatchBytes
	}
	if cfg.MaxInFlight <= 0 {
		cfg.MaxInFlight = DefaultMaxInFlight
	}
	if cfg.dial == nil {
		cfg.dial = new(net.Dialer).DialContext
	}
	return cfg
}

// Client calls token servers. It is made by [New] and may be used by any number of
// goroutines at once.
type Client struct {
	cfg     Config
	servers *servers
	queue   queue
	calls   sync.Pool // of *call: not for all clients, since a channel belongs to its test's bubble

	ctx    context.Context // until Close
	cancel context.CancelCauseFunc
	start  sync.Once
	wg     sync.WaitGroup // of what goes on in the background
	mu     sync.Mutex     // guards closed, and wg against a Wait while it grows from 0
	closed bool
}

// New makes a client. It connects with the first call. Its errors are about cfg.
func New(cfg Config) (*Client, error) {
	cfg = cfg.withDefaults()
	servers, err := newServers(&cfg)
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, servers: servers}
	c.calls.New = func() any { return &call{done: make(chan struct{}, 1)} }
	c.queue.init(cfg.MaxBatch, cfg.MaxBatchBytes, cfg.MaxInFlight*len(cfg.Addresses))
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	return c, nil
}

// Close ends what the client does in the background, and its idle connections. Calls
// under way may fail, calls that come later fail with [ErrClosed].
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel(ErrClosed)
	c.wg.Wait()
	c.servers.closeIdle()
}

// goBackground runs f, for which Close waits. It returns false if the client is closed.
func (c *Client) goBackground(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.wg.Go(f)
	return true
}

// begin starts what goes on in the background, with the first call.
func (c *Client) begin(now time.Time) {
	c.servers.use(now)
	c.start.Do(func() {
		for _, e := range c.servers.all {
			c.goBackground(func() { c.servers.watch(c.ctx, e) })
		}
	})
}
