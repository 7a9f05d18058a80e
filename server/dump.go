package server

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/goccy/go-json"
	"github.com/valyala/fasthttp"
)

// dump is the state of the listing of all sessions into the log.
type dump struct {
	running atomic.Bool
	ctx     context.Context // of the dumps; ends with the server
	cancel  context.CancelFunc

	mu      sync.Mutex    // guards what follows
	stopped bool          // no dump starts any more
	ended   chan struct{} // closed when the last dump has ended; nil before the first
}

func (d *dump) init() { d.ctx, d.cancel = context.WithCancel(context.Background()) }

// start runs f in the background unless a dump runs or the server stops.
func (d *dump) start(f func(context.Context)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped || !d.running.CompareAndSwap(false, true) {
		return
	}
	ended := make(chan struct{})
	d.ended = ended
	go func() {
		defer close(ended)
		defer d.running.Store(false)
		f(d.ctx)
	}()
}

// stop tells a dump that runs to end, and lets no other start.
func (d *dump) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = true
	d.cancel()
}

// wait waits until a dump that was stopped has ended.
func (d *dump) wait(ctx context.Context) error {
	d.mu.Lock()
	ended := d.ended
	d.mu.Unlock()
	if ended == nil {
		return nil
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Server) handleDump(ctx *fasthttp.RequestCtx) error {
	s.dump.start(s.writeDump)
	ctx.SetStatusCode(fasthttp.StatusAccepted)
	return nil
}

// writeDump writes a record for each session, and one that closes the list.
func (s *Server) writeDump(ctx context.Context) {
	defer recovering(s.log)
	n := 0
	for session, err := range s.store.Sessions(ctx) {
		if err != nil {
			s.log.Error("dump failed", "error", err, "sessions", n)
			return
		}
		n++
		s.log.LogAttrs(ctx, slog.LevelInfo, "dump",
			slog.String("expires", session.Expires.UTC().Format("2006-01-02 15:04:05")),
			slog.Any("meta", json.RawMessage(session.Meta)))
	}
	s.log.Info("dump complete", "sessions", n)
}
