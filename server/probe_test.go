package server

import (
	"slices"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"tokenserver/internal/stats"
	"tokenserver/shard"
)

func TestProbe(t *testing.T) {
	disk := make(chan struct{}) // it hangs, and the process must not be killed for that
	defer close(disk)
	s := New(Config{Store: newStore(t, shard.Config{}), Ready: func() error { <-disk; return nil }})
	s.Probe()
	s.Drain() // which ends nothing
	s.Probe()
	want := []stats.RequestCount{{Method: "GET", Code: 200, Count: 2}}
	if got := s.Stats().Requests; !slices.Equal(got, want) {
		t.Errorf("requests after two probes = %v, want %v", got, want)
	}
}

// A probe does not return while nothing is answered, or no connection accepted.
func TestProbeHangs(t *testing.T) {
	tests := map[string]func(s *Server) (goOn func()){
		"the handler": func(s *Server) func() {
			hang := make(chan struct{})
			s.paths["/healthz"].handlers[slices.Index(methods[:], "GET")] = func(*fasthttp.RequestCtx) { <-hang }
			return func() { close(hang) }
		},
		"new connections": func(s *Server) func() {
			s.reaper.mu.Lock()
			return s.reaper.mu.Unlock
		},
	}
	for name, hang := range tests {
		t.Run(name, func(t *testing.T) {
			s := New(Config{Store: newStore(t, shard.Config{})})
			goOn := hang(s)
			answered := make(chan struct{})
			go func() { s.Probe(); close(answered) }()
			select {
			case <-answered:
				t.Error("Probe has returned while it hangs")
			case <-time.After(10 * time.Millisecond): // it takes microseconds
			}
			goOn()
			<-answered
		})
	}
}
