package main

import (
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"tokenserver/durable"
	"tokenserver/shard"
)

// halfOfMemory is the value of Config.MaxMemory that means half of the memory
// that the process may use.
const halfOfMemory = -1

// Values of Config.OnReuse.
const (
	onReuseReject = "reject"
	onReuseRevoke = "revoke"
)

const defaultAdminAddress = "127.0.0.1:3667"

// Config is what flags and environment choose.
type Config struct {
	Address      string // host name or IP address to bind
	Port         int    // 0 picks a free one
	AdminAddress string // host:port, or adminOff

	Dump          bool
	TokenLifetime time.Duration
	PurgeInterval time.Duration
	DrainDelay    time.Duration

	Shards    int
	MaxBody   int   // bytes
	MaxMeta   int   // bytes
	MaxTokens int64 // 0 is no limit
	MaxMemory int64 // bytes; 0 is no limit

	Grace       time.Duration // 0 is none
	OnReuse     string        // reject or revoke
	MaxLifetime time.Duration // 0 is no limit
	SecretFile  string        // empty for none

	DataDir string // empty for memory mode
	Fsync   string // always or everysec

	LogLevel  slog.Level
	LogFormat string // text or json
}

func defaultConfig() Config {
	return Config{
		Address:       "127.0.0.1",
		Port:          3666,
		AdminAddress:  defaultAdminAddress,
		TokenLifetime: 2 * time.Hour,
		PurgeInterval: time.Minute,
		Shards:        shard.DefaultShards(),
		MaxBody:       64 * kib,
		MaxMeta:       64 * kib,
		MaxMemory:     halfOfMemory,
		OnReuse:       onReuseReject,
		Fsync:         durable.Always.String(),
		LogLevel:      slog.LevelInfo,
		LogFormat:     "text",
	}
}

// commands are the flags that do something other than to run the server. They
// are given on the command line alone: TOKEN_SERVER_VERSION is what others call
// the version that they install, and no environment should stop a server from starting.
type commands struct{ help, version bool }

func isCommand(f *pflag.Flag) bool { return f.Name == "help" || f.Name == "version" }

// flagSet defines the flags over c, whose values are the defaults.
func (c *Config) flagSet(cmd *commands) *pflag.FlagSet {
	f := pflag.NewFlagSet("token-server", pflag.ContinueOnError)
	f.SortFlags = false
	f.SetOutput(io.Discard)
	f.VarP(newSwitch(&cmd.help), "help", "h", "print this help")
	f.Var(newSwitch(&cmd.version), "version", "print version and commit")
	f.VarP(newSwitch(&c.Dump), "dump", "d", "allow HEAD /dump, which writes all sessions into the log")
	f.VarP(newNumber(&c.Port, 0, 65535), "port", "p", "port to listen on, of which 0 picks a free one")
	f.VarP(newDuration(&c.PurgeInterval, time.Second, 90*time.Minute), "purge-interval", "P", "time between two purges of expired sessions")
	f.VarP(newDuration(&c.TokenLifetime, 30*time.Minute, 96*time.Hour), "token-lifetime", "t", "how long a session lives after its last exchange")
	f.Var(newHost(&c.Address), "address", "address to listen on, which anybody who reaches it may use")
	f.Var(newPowerOfTwo(&c.Shards, shard.MinShards, shard.MaxShards), "shards", "independent parts of the store")
	f.Var(newSize(&c.MaxBody, kib, 16*mib), "max-body", "greatest size of a request's body")
	f.Var(newSize(&c.MaxMeta, kib, 16*mib), "max-meta", "greatest size of a session's metadata")
	f.Var(newCount(&c.MaxTokens), "max-tokens", "greatest number of sessions")
	f.Var(newMemory(&c.MaxMemory), "max-memory", "greatest memory of all sessions")
	f.Var(newDuration(&c.DrainDelay, 0, 5*time.Minute), "drain-delay", "how long /readyz says 503 before the listener closes at a stop")
	f.Var(newDuration(&c.Grace, 0, time.Minute), "grace", "how long a spent token still gets its session's current one")
	f.Var(newChoice(&c.OnReuse, onReuseReject, onReuseRevoke), "on-reuse", "what becomes of a session whose spent token comes back after its grace")
	f.Var(newOptionalDuration(&c.MaxLifetime, 30*time.Minute, 365*24*time.Hour), "max-lifetime", "how long a session lives at most, whatever is exchanged")
	f.Var(newPath(&c.SecretFile), "secret-file", "file with the key from which tokens are derived under a grace")
	f.Var(newPath(&c.DataDir), "data-dir", "folder in which sessions are kept over restarts and crashes")
	f.Var(newChoice(&c.Fsync, durable.Always.String(), durable.EverySecond.String()), "fsync", "when a change is on disk: before its answer, or within a second")
	f.Var(newLevel(&c.LogLevel), "log-level", "least level of what is logged")
	f.Var(newChoice(&c.LogFormat, "text", "json"), "log-format", "format of the log")
	f.Var(newAdminAddress(&c.AdminAddress), "admin-address", "address of the listener for metrics and profiles")
	f.VisitAll(completeUsage)
	return f
}

// completeUsage adds to a flag's help what it takes and where else it comes from.
func completeUsage(f *pflag.Flag) {
	if f.Value.Type() == "bool" {
		f.NoOptDefVal = "true"
	} else {
		f.Usage += "; " + f.Value.(flagValue).Allowed()
	}
	if !isCommand(f) {
		f.Usage += " [" + envName(f) + "]"
	}
}

// flagValue is what all our flags have.
type flagValue interface {
	pflag.Value
	Allowed() string
	Needs() string
}

// envName returns the environment variable that stands for f.
func envName(f *pflag.Flag) string {
	return "TOKEN_SERVER_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
}
