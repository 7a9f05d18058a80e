package main

import (
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"tokenserver/durable"
	"tokenserver/internal/flags"
	"tokenserver/server"
	"tokenserver/shard"
	"tokenserver/token"
	"tokenserver/valkey"
)

// Values of Config.OnReuse.
const (
	onReuseReject = "reject"
	onReuseRevoke = "revoke"
)

// Config is what flags and environment choose.
type Config struct {
	Addresses    []string // to listen on: a host, host:port, or unix:/path
	Port         int      // of an address that has none; 0 picks a free one
	AdminAddress string   // host:port, unix:/path, or adminOff

	Dump          bool
	TokenLifetime time.Duration
	PurgeInterval time.Duration
	DrainDelay    time.Duration

	MaxConnections int // 0 is as many as the limit of descriptors allows

	MaxBatch     int // items
	MaxBatchBody int // bytes

	Shards    int
	MaxBody   int   // bytes
	MaxMeta   int   // bytes
	MaxTokens int64 // 0 is no limit
	MaxMemory int64 // bytes; 0 is no limit

	Grace       time.Duration // 0 is none
	OnReuse     string        // reject or revoke
	MaxLifetime time.Duration // 0 is no limit
	SecretFiles []string      // the key's, and that of the previous one; none, one or two

	DataDir string // empty for memory mode
	Fsync   string // always or everysec

	Valkey        string // the URL of an engine, which may have a password; empty for no shared mode
	ValkeyTimeout time.Duration
	ValkeyWait    bool

	AuthFile    string   // empty for none
	TLSCert     string   // empty for no TLS, as TLSKey
	TLSKey      string   // of TLSCert
	TLSClientCA string   // empty if clients need no certificates
	TLSAdmins   []string // names of certificates
	// CallerSecretFile has the secret of the commands that ask a server; empty for none.
	CallerSecretFile string
	Insecure         bool // no warning of what is open

	SocketMode fs.FileMode // of unix sockets
	AdminHosts []string    // beside localhost
	Pprof      string      // on or off

	LogLevel  LogLevel
	LogFormat string // text or json
}

// Values of Config.Pprof.
const (
	pprofOn  = "on"
	pprofOff = "off"
)

// Greatest values of flags that no package has a bound for.
const (
	maxDrainDelay  = 5 * time.Minute
	maxConnections = 1_000_000
	maxSecretFiles = 2
)

func defaultConfig() Config {
	return Config{
		Addresses:     []string{"127.0.0.1"},
		Port:          3666,
		AdminAddress:  defaultAdminAddress,
		TokenLifetime: token.DefaultIdleLifetime,
		PurgeInterval: shard.DefaultPurgeInterval,
		Shards:        shard.DefaultShards(),
		MaxBody:       server.DefaultMaxBody,
		MaxMeta:       token.DefaultMetaLimit,
		MaxBatch:      server.DefaultMaxBatch,
		MaxBatchBody:  server.DefaultMaxBatchBody,
		MaxMemory:     halfOfMemory,
		OnReuse:       onReuseReject,
		Fsync:         durable.Always.String(),
		ValkeyTimeout: valkey.DefaultTimeout,
		SocketMode:    defaultSocketMode,
		Pprof:         pprofOn,
		LogLevel:      LogLevel{Level: slog.LevelInfo},
		LogFormat:     "text",
	}
}

// flagSet defines the flags over c, whose values are the defaults, and over
// version. variable returns the value of an environment variable.
func (c *Config) flagSet(variable func(string) string, version *bool) *flags.Set {
	s := flags.New("token-server", variable)
	s.Command(version, "version", "", "print version and commit")
	s.VarP(flags.Switch(&c.Dump), "dump", "d", "allow HEAD /dump, which writes all sessions into the log")
	s.VarP(flags.Number(&c.Port, 0, 65535), "port", "p", "port of an address without one, of which 0 picks a free one")
	s.VarP(flags.Duration(&c.PurgeInterval, shard.MinPurgeInterval, shard.MaxPurgeInterval), "purge-interval", "P", "time between two purges of expired sessions")
	s.VarP(flags.Duration(&c.TokenLifetime, token.MinIdleLifetime, token.MaxIdleLifetime), "token-lifetime", "t", "how long a session lives after its last exchange")
	s.Var(newAddresses(&c.Addresses), "address", "address to listen on")
	s.Var(newSocketMode(&c.SocketMode), "socket-mode", "mode of a unix socket")
	s.Var(flags.PowerOfTwo(&c.Shards, shard.MinShards, shard.MaxShards), "shards", "independent parts of the store")
	s.Var(flags.Size(&c.MaxBody, server.MinMaxBody, server.MaxMaxBody), "max-body", "greatest size of a request's body")
	s.Var(flags.Size(&c.MaxMeta, token.MinMetaLimit, token.MaxMetaLimit), "max-meta", "greatest size of a session's metadata")
	s.Var(flags.Number(&c.MaxBatch, server.MinMaxBatch, server.MaxMaxBatch), "max-batch", "greatest number of items in a batch")
	s.Var(flags.Size(&c.MaxBatchBody, server.MinMaxBatchBody, server.MaxMaxBatchBody), "max-batch-body", "greatest size of a batch's body, unless max-body is more")
	s.Var(flags.Limit(&c.MaxTokens), "max-tokens", "greatest number of sessions")
	s.Var(newMemory(&c.MaxMemory), "max-memory", "greatest memory of all sessions")
	s.Var(flags.Number(&c.MaxConnections, 0, maxConnections), "max-connections", "greatest number of connections, of which 0 is from the limit of descriptors")
	s.Var(flags.Duration(&c.DrainDelay, 0, maxDrainDelay), "drain-delay", "how long /readyz says 503 before the listener closes at a stop")
	s.Var(flags.Duration(&c.Grace, 0, token.MaxGrace), "grace", "how long a spent token still gets its session's current one")
	s.Var(flags.Choice(&c.OnReuse, onReuseReject, onReuseRevoke), "on-reuse", "what becomes of a session whose spent token comes back after its grace")
	s.Var(flags.OptionalDuration(&c.MaxLifetime, token.MinAbsoluteLifetime, token.MaxAbsoluteLifetime), "max-lifetime", "how long a session lives at most, whatever is exchanged")
	s.Var(&flags.Repeated[string]{Target: &c.SecretFiles, Each: flags.Path(new(string))}, "secret-file", "file with the key from which tokens are derived under a grace, the second one has the previous key")
	s.Var(flags.Path(&c.DataDir), "data-dir", "data directory in which sessions are kept over restarts and crashes")
	s.Var(flags.Choice(&c.Fsync, durable.Always.String(), durable.EverySecond.String()), "fsync", "when a change is on disk: before its answer, or within a second")
	s.Var(newEngine(&c.Valkey), "valkey", "engine, Valkey or Redis, in which any number of servers keep sessions together")
	s.Var(flags.Duration(&c.ValkeyTimeout, valkey.MinTimeout, valkey.MaxTimeout), "valkey-timeout", "how long a request waits for the engine")
	s.Var(flags.Switch(&c.ValkeyWait), "valkey-wait", "start without the engine, and wait for it")
	s.Var(flags.Path(&c.AuthFile), "auth-file", "file with the callers, of which token-server secret makes a line")
	s.Var(flags.Path(&c.TLSCert), "tls-cert", "certificate of the server, for TLS")
	s.Var(flags.Path(&c.TLSKey), "tls-key", "key of the certificate")
	s.Var(flags.Path(&c.TLSClientCA), "tls-client-ca", "authorities whose certificates callers need")
	s.Var(newNames(&c.TLSAdmins), "tls-admin", "name of a caller's certificate that makes an admin")
	s.Var(flags.Path(&c.CallerSecretFile), "caller-secret-file", "file with the secret of an admin, for token-server backup and top")
	s.Var(flags.Switch(&c.Insecure), "insecure", "don't warn of addresses that anybody may use")
	s.Var(newLogLevel(&c.LogLevel), "log-level", "least level of what is logged")
	s.Var(flags.Choice(&c.LogFormat, "text", "json"), "log-format", "format of the log")
	s.Var(newAdminAddress(&c.AdminAddress), "admin-address", "address of the listener for the console, metrics and profiles")
	s.Var(newHosts(&c.AdminHosts), "admin-host", "name beside localhost by which a loopback admin listener is called")
	s.Var(flags.Choice(&c.Pprof, pprofOn, pprofOff), "pprof", "profiles of the admin listener")
	return s
}

// check checks what no flag can check alone. Its errors are all that is wrong.
func (c *Config) check() (errs []error) {
	errs = c.checkCallers()
	for _, err := range []error{c.checkPolicies(), c.checkSecretFiles()} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return append(append(errs, c.checkEngine()...), c.checkAddresses()...)
}

func (c *Config) checkPolicies() error {
	if c.OnReuse == onReuseRevoke && c.Grace == 0 {
		return fmt.Errorf("--on-reuse %q: needs a --grace, or two requests at once with one token would end their session", c.OnReuse)
	}
	return nil
}

func (c *Config) checkSecretFiles() error {
	if len(c.SecretFiles) > maxSecretFiles {
		return fmt.Errorf("--secret-file %q: given too often: must be the key, and at most one previous key", c.SecretFiles[maxSecretFiles])
	}
	return nil
}

// unused says which flags have no effect beside the others.
func (c *Config) unused() (texts []string) {
	if len(c.SecretFiles) > 0 && c.Grace == 0 {
		texts = append(texts, "secret-file is not used: there is no grace")
	}
	if c.Valkey != "" {
		texts = append(texts, c.unusedBesideEngine()...)
	} else if c.DataDir == "" && c.Fsync != durable.Always.String() {
		texts = append(texts, "fsync is not used: there is no data-dir")
	}
	if c.Valkey == "" && (c.ValkeyWait || c.ValkeyTimeout != valkey.DefaultTimeout) {
		texts = append(texts, "valkey-timeout and valkey-wait are not used: there is no valkey")
	}
	if c.MaxLifetime != 0 && c.MaxLifetime < c.TokenLifetime {
		texts = append(texts, "max-lifetime is shorter than token-lifetime, which has no effect then")
	}
	return texts
}
