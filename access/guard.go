package access

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"net"
	"sync/atomic"
)

// Guard finds out who calls. It must not be copied after its first use.
type Guard struct {
	secrets     atomic.Pointer[Secrets]
	authorities atomic.Pointer[Authorities]
	failures    failures
}

// NewGuard returns a guard that knows the callers of both. Either may be nil.
func NewGuard(s *Secrets, a *Authorities) *Guard {
	g := new(Guard)
	g.failures.init()
	g.SetSecrets(s)
	g.SetAuthorities(a)
	return g
}

// SetSecrets replaces the secrets. Requests that come later are held to it.
func (g *Guard) SetSecrets(s *Secrets) { g.secrets.Store(s) }

// SetAuthorities replaces the authorities. Requests that come later are held to it, also
// on connections that there are.
func (g *Guard) SetAuthorities(a *Authorities) { g.authorities.Store(a) }

// Authorities returns those in force, or nil.
func (g *Guard) Authorities() *Authorities { return g.authorities.Load() }

// ByBearer returns the caller whose secret the value of an Authorization header has, as
// "Bearer SECRET", or nobody.
func (g *Guard) ByBearer(authorization []byte) Caller {
	secret, ok := credentials(authorization, "bearer")
	if !ok {
		return Caller{}
	}
	return g.bySecret(secret)
}

// ByBasic is ByBearer for "Basic", where the secret is the password, of any user.
func (g *Guard) ByBasic(authorization []byte) Caller {
	encoded, ok := credentials(authorization, "basic")
	if !ok {
		return Caller{}
	}
	pair, err := base64.StdEncoding.AppendDecode(nil, encoded)
	_, password, ok := bytes.Cut(pair, []byte{':'})
	if err != nil || !ok {
		return Caller{}
	}
	return g.bySecret(password)
}

// Presented says whether the value of an Authorization header is to be looked at: where
// there are no secrets, none can be a bad one.
func (g *Guard) Presented(authorization []byte) bool {
	return len(authorization) > 0 && g.secrets.Load() != nil
}

func (g *Guard) bySecret(secret []byte) Caller {
	secrets := g.secrets.Load()
	if secrets == nil {
		return Caller{}
	}
	return secrets.Find(secret)
}

// ByCertificate returns the caller whose certificate a connection has, or nobody.
func (g *Guard) ByCertificate(state *tls.ConnectionState) Caller {
	a := g.Authorities()
	if a == nil {
		return Caller{}
	}
	return a.Find(state)
}

// credentials returns what stands after the scheme, which is in lower case, if the value
// of an Authorization header is of that.
func credentials(authorization []byte, scheme string) (rest []byte, ok bool) {
	if len(authorization) <= len(scheme) || authorization[len(scheme)] != ' ' ||
		!bytes.EqualFold(authorization[:len(scheme)], []byte(scheme)) {
		return nil, false
	}
	rest = bytes.TrimSpace(authorization[len(scheme):])
	return rest, len(rest) > 0
}

// Refuse counts a caller who was not found, and waits before they are told. It ends
// early when done is closed. Who was found must not wait, whatever others of their
// address do. If as many of the listener wait as may, it returns false at once: then the
// connection has to be closed after the answer, which slows the caller down too.
func (g *Guard) Refuse(remote net.Addr, delayed *Delayed, done <-chan struct{}) (waited bool) {
	return g.failures.refuse(remote, delayed, done)
}

// Refused returns how many callers were not found.
func (g *Guard) Refused() uint64 { return g.failures.total.Load() }
