package valkey

import (
	"testing"

	"tokenserver/internal/enginetest"
	"tokenserver/token"
)

// TestEngineStats: what is told of the engine, and what it can't be asked.
func TestEngineStats(t *testing.T) {
	e := enginetest.Start(t)
	s := open(t, Config{Timeout: MaxTimeout}, e.Address())
	for range 10 {
		mustCreate(t, s, token.NewSession{Meta: []byte(`{"a":1}`)})
	}
	enginetest.Until(t, patience, "a sample", func() bool { return s.Stats().Engine.SessionBytes > 0 })
	got := s.Stats().Engine
	if got.Role != "primary" || got.Connections < 1 || got.Connections > 1+1<<maxMultiplex || got.SessionBytes < 50 || got.SessionBytes > 400 || !got.Up {
		t.Errorf("Stats = %+v", got)
	}
	e.Must("REPLICAOF 127.0.0.1 1")
	enginetest.Until(t, patience, "the role of a replica", func() bool { return s.Stats().Engine.Role == "replica" })
	e.Must("REPLICAOF NO ONE")
	enginetest.Until(t, patience, "the role of a primary", func() bool { return s.Stats().Engine.Role == "primary" })
	s.Close()
	enginetest.Until(t, patience, "no connections", func() bool { return s.Stats().Engine.Connections == 0 })
}

// TestSampleIsForbidden: an engine that tells nothing of its memory fails nobody.
func TestSampleIsForbidden(t *testing.T) {
	e := enginetest.Start(t)
	s := open(t, Config{Timeout: MaxTimeout}, e.Address())
	mustCreate(t, s, token.NewSession{Meta: []byte(`{}`)})
	e.Must("ACL SETUSER default -randomkey -memory")
	s.memory.bytes.Store(0)
	s.inspect(true, 0)
	if s.Ready() != nil || s.Stats().Engine.SessionBytes != 0 || len(s.Stats().Engine.Errors) > 0 {
		t.Errorf("Ready = %v, Stats = %+v", s.Ready(), s.Stats().Engine)
	}
}
