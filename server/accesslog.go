package server

import (
	"log/slog"
	"time"

	"github.com/valyala/fasthttp"
)

// observe counts and logs a request that has its answer, d after it was read.
func (s *Server) observe(ctx *fasthttp.RequestCtx, method int, d time.Duration) {
	s.stats.count(ctx, method)
	s.logRequest(ctx, method, d)
}

// logRequest writes the access log. A path that is none of ours might hold
// anything, a token too, so it is left out.
func (s *Server) logRequest(ctx *fasthttp.RequestCtx, method int, d time.Duration) {
	if !s.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	path := string(ctx.Request.URI().PathOriginal())
	if _, ours := s.paths[path]; !ours {
		path = "unknown"
	}
	attrs := []slog.Attr{
		slog.String("method", methods[method]),
		slog.String("path", path),
		slog.Int("status", ctx.Response.StatusCode()),
		slog.Duration("duration", d),
		slog.String("remote", ctx.RemoteAddr().String()),
	}
	if c, ok := ctx.Conn().(*conn); ok && c.caller.name != "" {
		attrs = append(attrs, slog.String("caller", c.caller.name))
	}
	s.log.LogAttrs(ctx, slog.LevelDebug, "request", attrs...)
}
