package clienttest

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenserver/access"
	"tokenserver/client"
	"tokenserver/internal/testcert"
	"tokenserver/server"
	"tokenserver/shard"
)

// guardedNode is a server with callers, over TLS.
type guardedNode struct {
	t       *testing.T
	address string
	guard   *access.Guard
	tls     *access.TLS
	roots   *testcert.Authority // of the server's certificate
}

// startGuarded starts a server that takes what a guard takes.
func startGuarded(t *testing.T, secrets *access.Secrets, clients *access.Authorities) *guardedNode {
	t.Helper()
	n := &guardedNode{t: t, guard: access.NewGuard(secrets, clients), roots: testcert.NewAuthority(t)}
	n.tls = access.NewTLS(access.Identity{Certificate: n.roots.Issue("server").TLS(t), Clients: clients})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.address = "https://" + ln.Addr().String()
	store := shard.New(shard.Config{Shards: 4})
	s := server.New(server.Config{Store: store, Guard: n.guard, Logger: slog.New(slog.DiscardHandler)})
	auth := tls.RequireAndVerifyClientCert
	if secrets != nil {
		auth = tls.VerifyClientCertIfGiven
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(tls.NewListener(ln, n.tls.Config(auth))) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := errors.Join(s.Shutdown(ctx), <-served, store.Close()); err != nil {
			t.Error(err)
		}
	})
	return n
}

// setClients replaces the authorities of clients, as a SIGHUP does.
func (n *guardedNode) setClients(a *access.Authorities) {
	n.guard.SetAuthorities(a)
	n.tls.Set(access.Identity{Certificate: n.roots.Issue("server").TLS(n.t), Clients: a})
}

func parseSecrets(t *testing.T, lines ...string) *access.Secrets {
	t.Helper()
	text := ""
	for _, line := range lines {
		text += line + "\n"
	}
	s, err := access.ParseSecrets([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func parseAuthorities(t *testing.T, authorities ...*testcert.Authority) *access.Authorities {
	t.Helper()
	var text []byte
	for _, a := range authorities {
		text = append(text, a.PEM...)
	}
	parsed, err := access.ParseAuthorities(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// load exchanges tokens until it is ended, and no call may fail.
type load struct {
	t         *testing.T
	stopped   atomic.Bool
	exchanges atomic.Int64
	running   sync.WaitGroup
}

func startLoad(t *testing.T, c *client.Client, workers int) *load {
	l := &load{t: t}
	for i := range workers {
		l.running.Go(func() {
			s := ledger{t: t, client: c, number: i}
			for s.begin(); !l.stopped.Load() && !t.Failed(); l.exchanges.Add(1) {
				s.exchange()
			}
			s.check()
		})
	}
	return l
}

// await waits until the load has gone on for a while.
func (l *load) await() {
	for before := l.exchanges.Load(); l.exchanges.Load() < before+200 && !l.t.Failed(); {
		time.Sleep(time.Millisecond)
	}
}

func (l *load) end() { l.stopped.Store(true); l.running.Wait() }

// TestSecretsRotate: while secrets are changed as the manual says, no call fails.
func TestSecretsRotate(t *testing.T) {
	secret, line, err := access.NewSecret("web")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "secret")
	testcert.WriteFile(t, file, []byte(secret+"\n"))
	n := startGuarded(t, parseSecrets(t, line), nil)
	c := newClient(t, client.Config{Addresses: []string{n.address}, SecretFile: file, TLS: &tls.Config{RootCAs: n.roots.Pool()}})
	l := startLoad(t, c, 16)
	for range 5 {
		l.await()
		next, nextLine, err := access.NewSecret("web")
		if err != nil {
			t.Fatal(err)
		}
		n.guard.SetSecrets(parseSecrets(t, line, nextLine))
		l.await()
		testcert.WriteFile(t, file, []byte(next+"\n"))
		l.await()
		n.guard.SetSecrets(parseSecrets(t, nextLine)) // of which the client learns by a 401, at the latest
		line = nextLine
	}
	l.await()
	l.end()
	testcert.WriteFile(t, file, []byte("wrong\n"))
	other := newClient(t, client.Config{Addresses: []string{n.address}, SecretFile: file, TLS: &tls.Config{RootCAs: n.roots.Pool()}})
	if _, err := other.Create(t.Context(), client.NewSession{Meta: []byte(`{}`)}); !errors.Is(err, client.ErrUnauthorized) {
		t.Errorf("a wrong secret: %v, want ErrUnauthorized", err)
	}
}

// TestCertificatesRotate: while certificates and their authority are changed as the manual
// says, no call fails.
func TestCertificatesRotate(t *testing.T) {
	authority, dir := testcert.NewAuthority(t), t.TempDir()
	certFile, keyFile := authority.Issue("web").Write(t, dir)
	n := startGuarded(t, nil, parseAuthorities(t, authority))
	c := newClient(t, client.Config{
		Addresses: []string{n.address}, CertFile: certFile, KeyFile: keyFile, TLS: &tls.Config{RootCAs: n.roots.Pool()},
	})
	l := startLoad(t, c, 16)
	for range 5 {
		l.await()
		next := testcert.NewAuthority(t)
		n.setClients(parseAuthorities(t, authority, next))
		l.await()
		next.Issue("web").Write(t, dir)
		l.await()
		n.setClients(parseAuthorities(t, next)) // which ends the connections that the client has
		authority = next
	}
	l.await()
	l.end()
	stranger := newClient(t, client.Config{Addresses: []string{n.address}, Timeout: time.Second, TLS: &tls.Config{RootCAs: n.roots.Pool()}})
	if _, err := stranger.Create(t.Context(), client.NewSession{Meta: []byte(`{}`)}); err == nil {
		t.Error("a client without a certificate has created a session")
	}
}
