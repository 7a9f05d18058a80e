package main

import (
	"io"
	"log/slog"
	"net"

	"tokenserver/internal/duration"
	"tokenserver/internal/flags"
)

func newLogger(w io.Writer, c Config) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// warnOfVariables tells which environment variables were not taken, before anything
// fails because of that.
func (m *Main) warnOfVariables() {
	for _, name := range m.ignored {
		m.logger.Warn("environment variable ignored: its value is a service link, no port", "name", name)
	}
	for _, v := range m.misspelt {
		m.logger.Warn("environment variable ignored: it stands for no flag", "name", v.Name, "nearest", v.Nearest)
	}
}

// warn tells of what the operator may not have meant.
func (m *Main) warn() {
	for _, text := range m.Config.unused() {
		m.logger.Warn(text)
	}
	for i, address := range m.Config.listenAddresses() {
		if host, _, _ := net.SplitHostPort(address); !isLoopback(host) {
			m.logger.Warn("address is not loopback and callers are not authenticated: anybody who reaches it may use the server",
				"address", m.listeners[i].Addr().String())
		}
	}
	if m.adminListener == nil {
		return
	}
	if host, _, _ := net.SplitHostPort(m.Config.AdminAddress); !isLoopback(host) {
		m.logger.Warn("admin-address is not loopback: anybody who reaches it may read metrics and profiles",
			"address", m.adminListener.Addr().String())
	}
}

// logConfig tells what the server works with.
func (m *Main) logConfig() {
	c, b := m.Config, currentBuild()
	m.logger.Info("starting",
		"version", b.Version,
		"commit", b.Commit,
		"shards", c.Shards,
		"token_lifetime", duration.Format(c.TokenLifetime),
		"purge_interval", duration.Format(c.PurgeInterval),
		"max_body", flags.FormatSize(int64(c.MaxBody)),
		"max_meta", flags.FormatSize(int64(c.MaxMeta)),
		"max_batch", c.MaxBatch,
		"max_batch_body", flags.FormatSize(int64(c.MaxBatchBody)),
		"max_tokens", c.MaxTokens,
		"max_memory", flags.FormatSize(c.MaxMemory),
		"max_connections", c.MaxConnections,
		"drain_delay", duration.Format(c.DrainDelay),
		"dump", c.Dump,
		"grace", duration.Format(c.Grace),
		"on_reuse", c.OnReuse,
		"max_lifetime", duration.Format(c.MaxLifetime),
	)
	switch {
	case c.Valkey != "":
		m.logger.Info("shared mode: an engine keeps the sessions", "timeout", duration.Format(c.ValkeyTimeout), "wait", c.ValkeyWait)
	case c.DataDir == "":
		m.logger.Info("memory mode: all sessions are forgotten when this process ends")
	default:
		m.logger.Info("durable mode: sessions outlive this process", "data_dir", c.DataDir, "fsync", c.Fsync)
	}
}
