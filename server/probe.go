package server

import "github.com/valyala/fasthttp"

// Probe has a request for /healthz answered in memory, and returns once that is done,
// whatever the answer is. If it does not return, no request is answered any more, nor is a
// connection accepted.
func (s *Server) Probe() {
	var ctx fasthttp.RequestCtx
	var req fasthttp.Request
	req.SetRequestURI("/healthz")
	req.Header.SetHost("localhost")
	ctx.Init(&req, nil, httpLogger{s.log})
	s.handle(&ctx)
	s.reaper.open() // takes the lock that new connections need
}
