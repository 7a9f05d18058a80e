package main

import (
	"context"
	"fmt"
	"strings"

	"tokenserver/internal/flags"
	"tokenserver/valkey"
)

// passwordVariable is the environment variable with the engine's password, which is seen in
// no list of processes.
const passwordVariable = "TOKEN_SERVER_VALKEY_PASSWORD"

// newEngine makes a flag for the URL of an engine. It takes any text, so that no error of the
// flag set repeats a password: check reads it.
func newEngine(target *string) flags.Value {
	v := flags.Path(target)
	v.Kind = "URL"
	v.Range = "valkey://[user:password@]host[:port][,host…][/db][?prefix=…&sentinel=…], redis:// is the same, valkeys:// and rediss:// are over TLS"
	return v
}

// checkEngine checks what concerns shared mode.
func (c *Config) checkEngine() (errs []error) {
	if c.Valkey == "" {
		return nil
	}
	if _, err := valkey.ParseURL(c.Valkey); err != nil {
		errs = append(errs, fmt.Errorf("--valkey %q: %w", withoutPassword(c.Valkey), err))
	}
	if c.DataDir != "" {
		errs = append(errs, fmt.Errorf("--valkey %q: can't be together with --data-dir: the engine keeps the sessions", withoutPassword(c.Valkey)))
	}
	if c.Grace != 0 && len(c.SecretFiles) == 0 {
		errs = append(errs, fmt.Errorf("--grace %q: needs a --secret-file with --valkey, the same for all servers", c.Grace))
	}
	return errs
}

// withoutPassword returns a URL, which may be a bad one, without what may be a password.
func withoutPassword(text string) string {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		scheme, rest = "", text
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		rest = "…" + rest[at:]
	}
	if !ok {
		return rest
	}
	return scheme + "://" + rest
}

// unusedBesideEngine says which flags mean nothing where an engine keeps the sessions.
func (c *Config) unusedBesideEngine() (texts []string) {
	byDefault := defaultConfig()
	for _, each := range []struct {
		name  string
		given bool
	}{
		{"shards", c.Shards != byDefault.Shards},
		{"max-memory", c.MaxMemory != byDefault.MaxMemory},
		{"max-tokens", c.MaxTokens != byDefault.MaxTokens},
		{"fsync", c.Fsync != byDefault.Fsync},
	} {
		if each.given {
			texts = append(texts, each.name+" is not used: the engine keeps the sessions")
		}
	}
	return texts
}

// openShared opens the shared store.
func (m *Main) openShared() error {
	engine, err := valkey.ParseURL(m.Config.Valkey)
	if err != nil {
		return err
	}
	if engine.Password == "" {
		engine.Password = m.getenv(passwordVariable)
	}
	s, err := valkey.Open(context.Background(), valkey.Config{
		Engine: engine, Timeout: m.Config.ValkeyTimeout, Wait: m.Config.ValkeyWait,
		Lifetime: m.Config.TokenLifetime, MaxMeta: m.Config.MaxMeta,
		Grace: m.Config.Grace, RevokeOnReuse: m.Config.OnReuse == onReuseRevoke, MaxLifetime: m.Config.MaxLifetime,
		Secret: m.secret, Logger: m.logger,
	})
	if err == nil {
		m.store = s
	}
	return err
}
