package main

import (
	"io"
	"log/slog"
	"net"
	"strings"

	"tokenserver/internal/duration"
	"tokenserver/internal/flags"
)

func newLogger(w io.Writer, level slog.Leveler, format string) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
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
	for _, text := range m.unused {
		m.logger.Warn(text)
	}
	if attrs := m.open(); len(attrs) > 0 {
		m.logger.Warn("anybody who reaches these addresses may use the server: --auth-file or --tls-client-ca say who may call, and --insecure that this is meant", attrs...)
	}
}

// open says where the server is open to anybody, unless that is meant.
func (m *Main) open() (attrs []any) {
	if m.Config.Insecure || m.Config.hasCallers() {
		return nil
	}
	if open := beyondLoopback(m.listeners); open != "" {
		attrs = append(attrs, "address", open)
	}
	if open := beyondLoopback(m.adminListeners); open != "" {
		attrs = append(attrs, "admin_address", open)
	}
	return attrs
}

// beyondLoopback returns the addresses that can be reached from other machines, with
// commas between.
func beyondLoopback(listeners []net.Listener) string {
	var open []string
	for _, ln := range listeners {
		if !isLoopback(ln) {
			open = append(open, addressOf(ln))
		}
	}
	return strings.Join(open, ",")
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
		"callers", c.callersText(),
		"tls", c.TLSCert != "",
	)
	switch c.mode() {
	case modeShared:
		m.logger.Info("shared mode: an engine keeps the sessions", "timeout", duration.Format(c.ValkeyTimeout), "wait", c.ValkeyWait)
	case modeMemory:
		m.logger.Info("memory mode: all sessions are forgotten when this process ends")
	default:
		m.logger.Info("durable mode: sessions outlive this process", "data_dir", c.DataDir, "fsync", c.Fsync)
	}
}

// callersText says who may call.
func (c *Config) callersText() string {
	switch {
	case c.AuthFile != "" && c.TLSClientCA != "":
		return "secrets or certificates"
	case c.AuthFile != "":
		return "secrets"
	case c.TLSClientCA != "":
		return "certificates"
	}
	return "anybody"
}
