package admin

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"tokenserver/access"
	"tokenserver/admin/console"
)

// guarded asks who calls, but for the probes of health. Whoever is on this machine may look.
func guarded(h http.Handler, guard *access.Guard, delayed *access.Delayed, local bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		needs := access.Admin
		switch path := r.URL.Path; {
		case path == "/healthz", path == "/readyz":
			needs = 0
		case local && !strings.HasPrefix(path, console.ActionPath):
			needs = 0
		case path == "/metrics":
			needs = access.Metrics
		}
		if needs == 0 || authorize(w, r, guard, delayed, needs) {
			h.ServeHTTP(w, r)
		}
	})
}

// authorize answers a caller who may not call, and returns whether they may.
func authorize(w http.ResponseWriter, r *http.Request, guard *access.Guard, delayed *access.Delayed, needs access.Role) bool {
	authorization := []byte(r.Header.Get("Authorization"))
	known := false
	for _, who := range []func() access.Caller{
		func() access.Caller { return byCertificate(r, guard) },
		func() access.Caller { return guard.ByBearer(authorization) },
		func() access.Caller { return guard.ByBasic(authorization) },
	} {
		caller := who()
		if caller.May(needs) {
			*r = *r.WithContext(console.WithCaller(r.Context(), caller.Name))
			return true
		}
		known = known || caller.Known()
	}
	if known {
		refuse(w, http.StatusForbidden, "Forbidden", "The caller may not do this.")
		return false
	}
	if !guard.Refuse(remoteOf(r), delayed, r.Context().Done()) {
		w.Header().Set("Connection", "close")
	}
	w.Header()["WWW-Authenticate"] = []string{"Bearer", `Basic realm="token-server", charset="UTF-8"`}
	refuse(w, http.StatusUnauthorized, "Unauthorized", "The caller is not known: it needs a secret (Authorization: Bearer, or as the password of Basic) or a certificate.")
	return false
}

// remoteOf returns the address of a client, as far as it has one.
func remoteOf(r *http.Request) net.Addr {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return nil
	}
	return net.TCPAddrFromAddrPort(remote)
}

func byCertificate(r *http.Request, guard *access.Guard) access.Caller {
	if r.TLS == nil {
		return access.Caller{}
	}
	return guard.ByCertificate(r.TLS)
}

// local refuses what a page of another site might send by the browser of somebody on this
// machine: a name that leads here, although it is none of ours (DNS rebinding).
func local(h http.Handler, hosts []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLocal(r.Host, hosts) {
			refuse(w, http.StatusForbidden, "Forbidden", "This listener is called by an IP address, as localhost, or by an --admin-host.")
			return
		}
		h.ServeHTTP(w, r)
	})
}

// isLocal says whether the value of a Host header is an IP address, localhost or one of
// some names.
func isLocal(host string, names []string) bool {
	if name, ok := cutPort(host); ok {
		host = name
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	return strings.EqualFold(host, "localhost") ||
		slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(host, name) })
}

// cutPort returns a host without its port, if it has one.
func cutPort(host string) (name string, ok bool) {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.HasSuffix(host, "]") || strings.Count(host, ":") > 1 && !strings.HasPrefix(host, "[") {
		return host, false
	}
	return host[:i], true
}

// sameOrigin refuses a request that changes something and comes from a page of another
// origin.
func sameOrigin(h http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusForbidden, "Forbidden", "The request comes from a page of another origin.")
	}))
	return protection.Handler(h)
}
