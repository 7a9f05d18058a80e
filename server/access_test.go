package server

import (
	"bufio"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tokenserver/access"
	"tokenserver/internal/testcert"
)

func bearer(secret string) string { return "Authorization: Bearer " + secret }

// TestCallers: what each caller may do. A row is a request that a caller of the role needed
// gets done.
func TestCallers(t *testing.T) {
	callers := newCallers(t)
	s := serve(t, Config{Guard: callers.guard, Dump: true})
	tok := s.do(t, "POST", "/token", `{"meta":{}}`, bearer(callers.secrets["tokens"])).body
	requests := []struct {
		method, path, body string
		needs              access.Role
		status             int
	}{
		{"POST", "/token", `{"meta":{}}`, access.Tokens, 200},
		{"PUT", "/token", tokenBody(somewhere), access.Tokens, 200},
		{"DELETE", "/token", tokenBody(somewhere), access.Tokens, 202},
		{"POST", "/token/validate", tokenBody(tok), access.Tokens, 200},
		{"POST", "/token/batch", batchText(`{"create":{"meta":{}}}`), access.Tokens, 200},
		{"POST", "/subject/sessions", subjectBody("ann"), access.Tokens, 200},
		{"DELETE", "/subject", subjectBody("ann"), access.Tokens, 200},
		{"HEAD", "/dump", "", access.Admin, 202},
		{"GET", "/healthz", "", 0, 200},
		{"HEAD", "/healthz", "", 0, 200},
		{"GET", "/readyz", "", 0, 200},
		{"HEAD", "/readyz", "", 0, 200},
		{"GET", "/nowhere", "", 0, 404},
		{"HEAD", "/nowhere", "", 0, 404},
		{"GET", "/token", "", 0, 405},
		{"GET", "/dump", "", 0, 405},
		{"OPTIONS", "/token", "", 0, 405},
	}
	by := []struct {
		name, header string
		roles        access.Role
	}{
		{"nobody", "X-Nothing: 1", 0},
		{"a wrong secret", bearer(callers.secrets["tokens"] + "x"), 0},
		{"a secret without its scheme", "Authorization: " + callers.secrets["tokens"], 0},
		{"a password", "Authorization: Basic dTpw", 0},
		{"tokens", bearer(callers.secrets["tokens"]), access.Tokens},
		{"metrics", bearer(callers.secrets["metrics"]), access.Metrics},
		{"admin", bearer(callers.secrets["admin"]), access.Admin},
	}
	for _, who := range by {
		for _, r := range requests {
			got := s.do(t, r.method, r.path, r.body, who.header)
			what := who.name + ": " + r.method + " " + r.path
			switch caller := (access.Caller{Roles: who.roles}); {
			case r.needs == 0 || caller.May(r.needs):
				if got.status != r.status {
					t.Errorf("%s: %v, want %d", what, got, r.status)
				}
			case caller.Known():
				got.wantDenied(t, what, 403, "Forbidden", r.method)
			default:
				got.wantDenied(t, what, 401, "Unauthorized", r.method)
			}
		}
	}
}

// wantDenied checks the answer to a caller who may not call. HEAD has no body.
func (r reply) wantDenied(t *testing.T, what string, status int, code, method string) {
	t.Helper()
	challenge := map[int]string{401: "Bearer"}[status]
	if r.status != status || r.header.Get("WWW-Authenticate") != challenge || method != "HEAD" && r.code() != code {
		t.Errorf("%s: %v, want %d %s, and the challenge %q", what, r, status, code, challenge)
	}
}

// TestOrderOfCallerCheck: path and method come before the caller, and the body after.
func TestOrderOfCallerCheck(t *testing.T) {
	callers := newCallers(t)
	s := serve(t, Config{Guard: callers.guard, MaxBody: 2000})
	plain := "Content-Type: text/plain"
	tests := []struct {
		name, method, path, body, header string
		status                           int
		code                             string
	}{
		{"syntax before caller", "PUT", "/token", "{}", "Transfer-Encoding: chunked", 400, "BadRequest"},
		{"size before caller", "PUT", "/token", strings.Repeat(marker, 1000), "X: 1", 413, "BodyTooLarge"},
		{"path before caller", "PUT", "/" + marker, "{}", "X: 1", 404, "NotFound"},
		{"dump is no path", "HEAD", "/dump", "", "X: 1", 404, ""},
		{"method before caller", "GET", "/token", "{}", "X: 1", 405, "MethodNotAllowed"},
		{"caller before content type", "PUT", "/token", "{}", plain, 401, "Unauthorized"},
		{"caller before JSON", "PUT", "/token", "{", "X: 1", 401, "Unauthorized"},
		{"role before content type", "PUT", "/token", "{}", plain + "\r\n" + bearer(callers.secrets["metrics"]), 403, "Forbidden"},
		{"then the content type", "PUT", "/token", "{}", plain + "\r\n" + bearer(callers.secrets["tokens"]), 415, "UnsupportedMediaType"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := s.do(t, test.method, test.path, test.body, test.header)
			if r.status != test.status || test.code != "" && r.code() != test.code {
				t.Errorf("%v, want %d %s", r, test.status, test.code)
			}
		})
	}
}

// TestGoodSecretIsNotDelayed: bad secrets wait, and a good one from the same address is
// answered meanwhile.
func TestGoodSecretIsNotDelayed(t *testing.T) {
	callers := newCallers(t)
	s := serve(t, Config{Guard: callers.guard})
	const many = 20
	start := time.Now()
	var bad [many]*client
	for i := range bad {
		bad[i] = s.dial(t)
		bad[i].send(requestText("POST", "/token", `{"meta":{}}`, bearer("bad")))
	}
	eventually(t, "all are refused", func() bool { return s.Stats().Refused == many })
	s.do(t, "PUT", "/token", tokenBody(somewhere), bearer(callers.secrets["tokens"])).wantInvalidToken(t)
	good := time.Since(start)
	for _, c := range bad {
		c.receive("POST").wantError(t, 401, "Unauthorized")
	}
	if took := time.Since(start); took < 900*time.Millisecond || good >= took {
		t.Errorf("the last of many bad secrets waited %v, and a good one %v, want about 1s and nothing", took, good)
	}
}

// TestDelayedLeaveRoom: bad secrets that wait don't hold all connections, and there is room
// for a good one.
func TestDelayedLeaveRoom(t *testing.T) {
	const limit = 8
	callers := newCallers(t)
	s := serve(t, Config{Guard: callers.guard, MaxConnections: limit})
	var bad [limit]*client
	for i := range bad {
		bad[i] = s.letIn(t)
	}
	over := make(chan struct{})
	close(over)
	for range 10 { // the next failures of this address wait for longest
		callers.guard.Refuse(bad[0].conn.LocalAddr(), access.NewDelayed(0), over)
	}
	for _, c := range bad {
		c.send(requestText("POST", "/token", `{"meta":{}}`, bearer("bad")))
	}
	eventually(t, "all are refused", func() bool { return s.Stats().Refused == limit+10 })
	start, closed := time.Now(), 0
	for s.Stats().Connections > limit/4 && time.Since(start) < time.Second/2 {
		time.Sleep(time.Millisecond)
	}
	s.do(t, "PUT", "/token", tokenBody(somewhere), bearer(callers.secrets["tokens"])).wantInvalidToken(t)
	for _, c := range bad {
		r := c.receive("POST")
		if r.wantError(t, 401, "Unauthorized"); r.closes {
			closed++
		}
	}
	if want := limit - limit/4; closed != want {
		t.Errorf("%d connections of bad secrets were closed, want %d", closed, want)
	}
}

// TestFloodOfBadSecrets: on new connections, more than there may be, it crowds nobody out
// who has a good secret, on a new connection or on one that is kept.
func TestFloodOfBadSecrets(t *testing.T) {
	const limit, flood = 32, 48
	callers := newCallers(t)
	s := serve(t, Config{Guard: callers.guard, MaxConnections: limit})
	kept := s.letIn(t)
	good := requestText("PUT", "/token", tokenBody(somewhere), bearer(callers.secrets["tokens"]))
	kept.send(good)
	kept.receive("PUT").wantInvalidToken(t)
	var refused atomic.Int64
	var flooding sync.WaitGroup
	done := make(chan struct{})
	for range flood {
		flooding.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				sendBad(s.addr, &refused)
			}
		})
	}
	defer flooding.Wait()
	defer close(done)
	eventually(t, "the flood is there", func() bool { return refused.Load() > limit })
	for range 50 {
		c := s.dial(t)
		c.send(good)
		c.receive("PUT").wantInvalidToken(t)
		c.conn.Close()
		kept.send(good)
		kept.receive("PUT").wantInvalidToken(t)
	}
}

// TestNewConnectionsWait for requests that are in our hands, and for nothing that clients
// have yet to send: that could hold up all who come.
func TestNewConnectionsWait(t *testing.T) {
	const soon = 5 * unknownTick
	tests := []struct {
		name   string
		others []phase       // the oldest first; those that are handled are exposed soon, if at all
		at     time.Duration // when they are exposed; 0 for never
		victim int           // or absent
		waited time.Duration
	}{
		{"all silent", []phase{fresh, fresh, fresh}, 0, 0, 0},
		{"all in their handshakes", []phase{handshaking, handshaking, handshaking}, 0, 0, 0},
		{"half a request each", []phase{reading, reading, reading}, 0, absent, 0},
		{"no answer is taken", []phase{writing, writing, writing}, 0, absent, 0},
		{"silent and half a request", []phase{reading, fresh, reading}, 0, 1, 0},
		{"all about to be known", []phase{handling, handling, handling}, soon, 0, soon},
		{"a silent one is spared", []phase{fresh, handling, reading}, soon, 1, soon},
		{"but not for long", []phase{fresh, handling, reading}, 0, 0, youngTime},
		{"nor is anybody waited for", []phase{reading, handling, reading}, 0, absent, unknownWait},
		{"who is exposed goes at once", []phase{fresh, idleUnknown, handling}, 0, 1, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newReaper(Config{MaxConnections: len(test.others)}.withDefaults())
				conns := make([]*conn, len(test.others))
				for i, p := range test.others {
					conns[i] = newStranger(r)
					r.add(conns[i])
					if conns[i].enter(p, r.request); p == idleUnknown {
						r.exposeIdle(conns[i])
					}
				}
				if test.at > 0 {
					time.AfterFunc(test.at-1, func() { exposeHandled(r, conns) })
				}
				begun := time.Now()
				got, ok := r.letIn(newStranger(r))
				if at := slices.Index(conns, got); at != test.victim || ok != (got != nil) {
					t.Errorf("let in %v, for connection %d, want %d", ok, at, test.victim)
				}
				if waited := time.Since(begun); waited != test.waited {
					t.Errorf("it waited %v, want %v", waited, test.waited)
				}
				synctest.Wait()
			})
		})
	}
}

// newStranger returns a new connection where there are callers.
func newStranger(r *reaper) *conn {
	c := &conn{Conn: nothingConn{}, reaper: r, born: r.clock()}
	c.stranger.Store(true)
	return c
}

// exposeHandled lets the callers of requests that are handled wait to be told that they are
// not known.
func exposeHandled(r *reaper, conns []*conn) {
	for _, c := range conns {
		if c.load().phase() == handling {
			r.delay(c)
		}
	}
}

// TestNobodyWaitsAtTheEnd: a server that has stopped lets nobody wait.
func TestNobodyWaitsAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReaper(Config{MaxConnections: 1}.withDefaults())
		c := newStranger(r)
		r.add(c)
		c.enter(handling, r.request)
		begun := time.Now()
		time.AfterFunc(10*unknownTick-1, r.cutAll)
		if _, ok := r.letIn(newStranger(r)); ok || time.Since(begun) != 10*unknownTick {
			t.Errorf("let in %v after %v, want refused with the end after %v", ok, time.Since(begun), 10*unknownTick)
		}
	})
}

// sendBad sends a bad secret on a new connection, which it leaves open for a while.
func sendBad(addr string, refused *atomic.Int64) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	conn.SetDeadline(time.Now().Add(2 * time.Second))
	io.WriteString(conn, requestText("POST", "/token", `{"meta":{}}`, bearer("bad")))
	defer conn.Close()
	if text, _ := bufio.NewReader(conn).ReadString('\n'); strings.Contains(text, "401") {
		refused.Add(1)
		io.Copy(io.Discard, conn) // until the server closes it
	}
}

// TestUnknownGoFirst: for a new connection one is closed whose caller is not known, while
// it waits to be told so, and also when it was told and is idle.
func TestUnknownGoFirst(t *testing.T) {
	const limit = 4
	callers := newCallers(t)
	s := serve(t, Config{Guard: callers.guard, MaxConnections: limit})
	bad := requestText("POST", "/token", `{"meta":{}}`, bearer("bad"))
	idle := s.letIn(t)
	idle.send(bad)
	idle.receive("POST").wantError(t, 401, "Unauthorized")
	fresh := s.letIn(t)
	known := s.letIn(t)
	known.do("PUT", "/token", tokenBody(somewhere), bearer(callers.secrets["tokens"])).wantInvalidToken(t)
	over := make(chan struct{})
	close(over)
	for range 10 { // the next failure of this address waits for longest
		callers.guard.Refuse(fresh.conn.LocalAddr(), access.NewDelayed(0), over)
	}
	waiting := s.letIn(t)
	waiting.send(bad)
	eventually(t, "a bad secret waits", func() bool { return s.reaper.doing(delayed) == 1 })
	s.letIn(t)
	idle.wantClosed()
	begun := time.Now()
	s.letIn(t)
	if waiting.receive("POST").wantError(t, 401, "Unauthorized"); time.Since(begun) > maxRefusalDelay/2 {
		t.Errorf("a connection that was shed while its caller waited got its answer after %v, want at once", time.Since(begun))
	}
	waiting.wantClosed()
	for _, c := range []*client{fresh, known} {
		c.do("PUT", "/token", tokenBody(somewhere), bearer(callers.secrets["tokens"])).wantInvalidToken(t)
	}
}

// maxRefusalDelay is how long a bad secret waits at most.
const maxRefusalDelay = time.Second

// TestCallersAreReplaced: a secret that is gone is refused with the next request, also on
// connections that there are.
func TestCallersAreReplaced(t *testing.T) {
	callers := newCallers(t)
	s := serve(t, Config{Guard: callers.guard})
	c := s.dial(t)
	c.do("PUT", "/token", tokenBody(somewhere), bearer(callers.secrets["tokens"])).wantInvalidToken(t)
	next, line, err := access.NewSecret("tokens")
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := access.ParseSecrets([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	callers.guard.SetSecrets(secrets)
	c.do("PUT", "/token", tokenBody(somewhere), bearer(callers.secrets["tokens"])).wantError(t, 401, "Unauthorized")
	c.do("PUT", "/token", tokenBody(somewhere), bearer(next)).wantInvalidToken(t)
}

// TestAccessLogNamesTheCaller, and not one who called on the connection before.
func TestAccessLogNamesTheCaller(t *testing.T) {
	callers := newCallers(t)
	s, log := debugLog(t, Config{Guard: callers.guard})
	c := s.dial(t)
	for i, test := range []struct{ method, path, caller, want string }{
		{"POST", "/subject/sessions", "tokens", `"caller":"tokens"`},
		{"GET", "/healthz", "tokens", ""},
		{"POST", "/subject/sessions", "metrics", `"caller":"metrics"`},
		{"POST", "/subject/sessions", "nobody", ""},
	} {
		c.do(test.method, test.path, subjectBody("ann"), bearer(callers.secrets[test.caller]))
		log.await(t, `"msg":"request"`, i+1)
		line := log.lines()[i]
		if test.want == "" && strings.Contains(line, `"caller"`) || !strings.Contains(line, test.want) {
			t.Errorf("record of %s by %s = %s, want %q", test.path, test.caller, line, test.want)
		}
	}
	for _, secret := range callers.secrets {
		if strings.Contains(log.String(), secret[:10]) {
			t.Error("the log has a secret")
		}
	}
}

// TestEitherAdmits: a certificate or a secret, whichever may.
func TestEitherAdmits(t *testing.T) {
	callers, certs := newCallers(t), newCertificates(t)
	callers.guard.SetAuthorities(certs.clients)
	s := serveTLS(t, Config{Guard: callers.guard, Dump: true}, certs.optional())
	tests := []struct {
		name, certificate, secret string
		create, dump              int
	}{
		{"neither", "", "", 401, 401},
		{"a certificate", "web", "", 200, 403},
		{"a secret", "", "tokens", 200, 403},
		{"both", "web", "tokens", 200, 403},
		{"an admin's certificate", "ops", "", 200, 202},
		{"an admin's secret", "web", "admin", 200, 202},
		{"an admin's certificate, and a secret that may nothing of it", "ops", "metrics", 200, 202},
		{"a certificate, and a secret for metrics", "web", "metrics", 200, 403},
		{"a secret for metrics", "", "metrics", 403, 403},
		{"a certificate and a bad secret", "web", "bad", 200, 401},
		{"an admin's certificate and a bad secret", "ops", "bad", 200, 202},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg := certs.client("", 0)
			cfg.Certificates = nil
			if test.certificate != "" {
				cfg = certs.client(test.certificate, 0)
			}
			header := "X: 1"
			if test.secret != "" {
				header = bearer(callers.secrets[test.secret])
			}
			if got := s.dialTLS(t, cfg).do("POST", "/token", `{"meta":{}}`, header).status; got != test.create {
				t.Errorf("POST /token = %d, want %d", got, test.create)
			}
			if got := s.dialTLS(t, cfg).do("HEAD", "/dump", "", header).status; got != test.dump {
				t.Errorf("HEAD /dump = %d, want %d", got, test.dump)
			}
		})
	}
}

// TestAuthoritiesAreReplaced: a certificate of an authority that is gone is refused on the
// connection that it has, which is closed for another one.
func TestAuthoritiesAreReplaced(t *testing.T) {
	certs, other := newCertificates(t), testcert.NewAuthority(t)
	s := serveTLS(t, Config{Guard: certs.guard}, certs.server)
	c := s.dialTLS(t, certs.client("web", 0))
	c.create(`{}`)
	both, err := access.ParseAuthorities(append(other.PEM, certs.authority.PEM...), nil)
	if err != nil {
		t.Fatal(err)
	}
	certs.guard.SetAuthorities(both)
	c.create(`{}`)
	certs.guard.SetAuthorities(certs.trust(other))
	if r := c.do("POST", "/token", `{"meta":{}}`); r.status != 401 || !r.closes {
		t.Errorf("a certificate of an authority that is gone: %v, closes %v, want 401 and the connection closed", r, r.closes)
	}
	c.wantClosed()
}
