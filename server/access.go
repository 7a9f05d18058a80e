package server

import (
	"crypto/tls"

	"github.com/valyala/fasthttp"

	"tokenserver/access"
)

// caller is who calls on a connection. It belongs to the goroutine that serves it.
type caller struct {
	name string // of the present request's, for the log
	// Whose certificate the connection has, by the authorities that it was looked at
	// with last.
	certified   access.Caller
	authorities *access.Authorities
}

// guarded is the handler of a route for callers of its role. It is the handler itself
// where everybody may call.
func (s *Server) guarded(r route) handler {
	if s.guard == nil || r.needs == 0 {
		return r.handle
	}
	return func(ctx *fasthttp.RequestCtx) error {
		err := s.authorize(ctx, r.needs)
		switch {
		case err == nil:
			return r.handle(ctx)
		case r.path == authPath:
			return errForbidden // 401 is about the browser's token
		}
		return err
	}
}

var headerAuthorization = []byte(fasthttp.HeaderAuthorization)

// authorize returns why a caller is refused, or nil. Who has a certificate that may needs
// no secret. Else the secret counts, if there is one: a bad one is no known caller's,
// whatever certificate is beside it, so that nobody can try secrets out uncounted.
func (s *Server) authorize(ctx *fasthttp.RequestCtx, needs access.Role) error {
	c, ours := ctx.Conn().(*conn)
	if !ours {
		c = &conn{reaper: s.reaper, index: absent}
	}
	who := c.byCertificate(s.guard)
	authorization := ctx.Request.Header.PeekCanonical(headerAuthorization)
	if !who.May(needs) && s.guard.Presented(authorization) {
		who = s.guard.ByBearer(authorization)
	}
	c.caller.name = who.Name
	c.stranger.Store(!who.Known())
	switch {
	case who.May(needs):
		return nil
	case who.Known():
		return errForbidden
	case c.tls != nil && c.caller.authorities != nil:
		ctx.SetConnectionClose() // another connection may have another certificate
	}
	s.reaper.delay(c)
	waited := s.guard.Refuse(ctx.RemoteAddr(), s.delayed, c.wake)
	if c.set(newStep(handling, never)) == shed || !waited {
		ctx.SetConnectionClose() // without lingering, which would hold it too
	}
	return errUnauthorized
}

// byCertificate returns the caller whose certificate a connection has, or nobody.
func (c *conn) byCertificate(g *access.Guard) access.Caller {
	authorities := g.Authorities()
	if c.tls == nil || c.caller.authorities == authorities {
		return c.caller.certified
	}
	c.caller.authorities, c.caller.certified = authorities, access.Caller{}
	if authorities != nil {
		c.caller.certified = authorities.Find(stateOf(c.tls))
	}
	return c.caller.certified
}

func stateOf(c *tls.Conn) *tls.ConnectionState {
	state := c.ConnectionState()
	return &state
}
