package main

import (
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"

	"tokenserver/admin/console"
	"tokenserver/admin/sampler"
)

// Modes of a server.
const (
	modeMemory  = "memory"
	modeDurable = "durable"
	modeShared  = "shared"
)

func (c *Config) mode() string {
	switch {
	case c.Valkey != "":
		return modeShared
	case c.DataDir == "":
		return modeMemory
	}
	return modeDurable
}

// streamsShare is which part of the admin listener's connections may be viewers: one in so
// many. The others are for scrapes and pages.
const streamsShare = 2

// startSampler starts what keeps the history that consoles show.
func (m *Main) startSampler() {
	m.sampler = sampler.New(sampler.Config{
		Store:      storeDetail(m.store),
		Requests:   m.server.Stats,
		Durations:  m.server.Durations,
		Ready:      m.server.Ready,
		LogLevel:   func() string { return strings.ToLower(m.level.Level().String()) },
		Mode:       m.Config.mode(),
		Build:      currentBuild(),
		Warnings:   m.warnings(),
		Processors: runtime.GOMAXPROCS(0),
		Logger:     m.logger,
	})
}

// console returns the page of an admin listener. Nothing can be changed by whoever comes
// from the network where nobody is asked who they are.
func (m *Main) console(local bool, maxConnections int) *console.Console {
	cfg := console.Config{Sampler: m.sampler, MaxStreams: max(maxConnections/streamsShare, 1), Logger: m.logger}
	if local || m.guard != nil {
		cfg.Actions = &console.Actions{
			LogLevel:    m.level.Level,
			SetLogLevel: func(level slog.Level) { m.level.Set(level) },
			EndSubject:  m.store.EndSubject,
			NoProfiles:  m.Config.Pprof == pprofOff,
		}
	}
	return console.New(cfg)
}

// warnings returns what the log has warned of at the start, for the console.
func (m *Main) warnings() []string {
	texts := slices.Clone(m.unused)
	attrs := m.open()
	for i := 0; i+1 < len(attrs); i += 2 {
		texts = append(texts, fmt.Sprintf("Open to the network without callers: %v (%v).", attrs[i+1], attrs[i]))
	}
	return texts
}
