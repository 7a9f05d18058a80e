package main

import (
	"context"
	"time"

	"tokenserver/server"
)

// loader is a store that has to be loaded before it can be used. Until then its
// methods return a token.UnavailableError. Load ends early, with an error, if ctx does.
type loader interface {
	Load(ctx context.Context) error
}

// load is the loading of the store, which goes on while the server answers.
type load struct {
	stop  context.CancelFunc
	ended chan struct{} // closed when it is over
	err   error         // why it failed, before ended is closed
}

// startLoad loads the store in the background, if it has to be loaded.
func (m *Main) startLoad() {
	ctx, cancel := context.WithCancel(context.Background())
	m.load = load{stop: cancel, ended: make(chan struct{})}
	go func() {
		defer m.recoverPanic()
		defer close(m.load.ended)
		if m.load.err = loadStore(ctx, m.store); m.load.err == nil {
			m.logger.Info("ready")
		}
	}()
}

func loadStore(ctx context.Context, s server.Store) error {
	if l, ok := s.(loader); ok {
		return l.Load(ctx)
	}
	return nil
}

// abandonLoad ends a load that is under way, and says whether there was one. What
// does not end soon is left alone: the process is about to end.
func (m *Main) abandonLoad() (abandoned bool) {
	select {
	case <-m.load.ended:
		return false
	default:
	}
	m.load.stop()
	select {
	case <-m.load.ended:
	case <-time.After(loadStopTimeout):
	}
	return true
}

// loadFailed says whether the load is over, and the store was not loaded.
func (m *Main) loadFailed() bool {
	select {
	case <-m.load.ended:
		return m.load.err != nil
	default:
		return false
	}
}

// loaded says whether the store is loaded.
func (m *Main) loaded() bool {
	select {
	case <-m.load.ended:
		return m.load.err == nil
	default:
		return false
	}
}

// loadStopTimeout is how long a stop waits for a load to end.
const loadStopTimeout = 500 * time.Millisecond
