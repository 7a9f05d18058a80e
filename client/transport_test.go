package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func mustClient(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func mustCreate(t *testing.T, c *Client) {
	t.Helper()
	if _, err := c.Create(t.Context(), NewSession{Meta: []byte(`{}`)}); err != nil {
		t.Error(err)
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: newFake("1")}
	go s.Serve(ln)
	t.Cleanup(func() { s.Close() })
	mustCreate(t, mustClient(t, Config{Addresses: []string{"unix:" + path}}))
}

// TestProxy: the way leads through it, and the look at /readyz too.
func TestProxy(t *testing.T) {
	f := newFake("1")
	var hosts []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hosts = append(hosts, r.Host)
		f.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := mustClient(t, Config{Addresses: []string{"tokens.example:1"}, Proxy: http.ProxyURL(u)})
	mustCreate(t, c)
	c.Close()
	for _, host := range hosts {
		if host != "tokens.example:1" {
			t.Errorf("Host = %q, want tokens.example:1", host)
		}
	}
}

// TestClientCertificate: it is read again when its files have changed.
func TestClientCertificate(t *testing.T) {
	var names []string
	f := newFake("1")
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			names = append(names, r.TLS.PeerCertificates[0].Subject.CommonName)
		}
		f.ServeHTTP(w, r)
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	dir := t.TempDir()
	cfg := Config{Addresses: []string{s.URL}, TLS: &tls.Config{RootCAs: roots}, CertFile: filepath.Join(dir, "cert"), KeyFile: filepath.Join(dir, "key")}
	if _, err := New(cfg); err == nil {
		t.Error("files that are not there are accepted")
	}
	writeCertificate(t, cfg, "one")
	c := mustClient(t, cfg)
	mustCreate(t, c)
	writeCertificate(t, cfg, "two")
	c.servers.closeIdle()
	mustCreate(t, c)
	if err := os.WriteFile(cfg.KeyFile, []byte("half written"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.servers.closeIdle()
	mustCreate(t, c)
	if got, want := strings.Join(names, " "), "one two two"; got != want {
		t.Errorf("certificates = %q, want %q", got, want)
	}
}

func writeCertificate(t *testing.T, cfg Config, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{cfg.CertFile: {Type: "CERTIFICATE", Bytes: der}, cfg.KeyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSecretFile: a secret that has rotated is found with the first refusal.
func TestSecretFile(t *testing.T) {
	f := newFake("1")
	valid := "old"
	f.before = func(r *http.Request) error {
		if r.Header.Get("Authorization") != "Bearer "+valid {
			return &answerWith{401, `{"Err":"Unauthorized","message":"m"}`}
		}
		return nil
	}
	file := filepath.Join(t.TempDir(), "secret")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old\nsecond line\n")
	inBubble(t, Config{SecretFile: file}, func(b *bubble) {
		b.create()
		valid = "newer"
		write("newer")
		b.create()
		os.Remove(file)
		time.Sleep(time.Minute)
		b.create() // it is still known
	}, f)
	inBubble(t, Config{SecretFile: file}, func(b *bubble) {
		if _, err := b.client.Validate(b.Context(), someToken); !errors.Is(err, ErrUnauthorized) || !errors.Is(err, os.ErrNotExist) {
			b.Errorf("without a file, error = %v, want ErrUnauthorized that names it", err)
		}
	}, newFake("1"))
}

// TestTheTransportNeverRepeats: a request that a kept connection breaks under is not
// sent again by net/http, which does so if it takes it for idempotent.
func TestTheTransportNeverRepeats(t *testing.T) {
	for _, o := range operations {
		f := newFake("1")
		inBubble(t, Config{}, func(b *bubble) {
			b.create()
			f.mu.Lock()
			f.requests = nil
			f.before = func(*http.Request) error { return errors.New("close the connection") }
			f.mu.Unlock()
			ctx, cancel := context.WithTimeout(b.Context(), minPause)
			defer cancel()
			s := b.client.servers.all[0]
			k := map[bool]kind{true: exchange, false: create}[strings.HasPrefix(o.request, "PUT")]
			rep := s.roundTrip(ctx, requests[k].method, requests[k].path, []byte(`{}`), new([]byte))
			if rep.err == nil || !rep.sent || len(f.requests) != 1 {
				b.Errorf("%s: error %v, sent %v, %d requests, want an error, sent once", o.name, rep.err, rep.sent, len(f.requests))
			}
		}, f)
	}
}

// TestAnotherStoreGetsNoCallWithTLS either.
func TestAnotherStoreGetsNoCallWithTLS(t *testing.T) {
	known := httptest.NewUnstartedServer(nil)
	known.StartTLS()
	t.Cleanup(known.Close)
	roots := x509.NewCertPool()
	roots.AddCert(known.Certificate())
	one, other := newFake("1"), newFake("2")
	cfg := Config{
		Addresses: []string{"https://a:1", "https://b:1"},
		TLS:       &tls.Config{RootCAs: roots, ServerName: known.Certificate().DNSNames[0]},
	}
	inBubble(t, cfg, func(b *bubble) {
		serve := func(f *fake, address string) (stop func()) {
			return serveOn(tls.NewListener(b.network.listen(address), &tls.Config{Certificates: known.TLS.Certificates}), f)
		}
		stopOne, stopTwo := serve(one, "a:1"), serve(one, "b:1")
		for range 4 {
			b.create()
		}
		stopTwo()
		stopTwo = serve(other, "b:1")
		for range 20 {
			b.create()
		}
		if got := len(other.requests); got > 0 {
			b.Errorf("it got %d requests", got)
		}
		stopOne()
		stopTwo()
	})
}

// writesConn counts the writes.
type writesConn struct {
	net.Conn
	n *atomic.Int32
}

func (c writesConn) Write(b []byte) (int, error) {
	c.n.Add(1)
	return c.Conn.Write(b)
}

// TestOneWriteARequest: head and body of a request travel in one packet.
func TestOneWriteARequest(t *testing.T) {
	inBubble(t, Config{}, func(b *bubble) {
		var writes atomic.Int32
		b.network.wrap = func(nc net.Conn) net.Conn { return writesConn{nc, &writes} }
		tok := b.create() // after a look at /readyz
		before := writes.Load()
		if _, err := b.client.Exchange(b.Context(), tok, Patch{}); err != nil {
			b.Fatal(err)
		}
		if got := writes.Load() - before; got != 1 {
			b.Errorf("an exchange took %d writes, want 1", got)
		}
	}, newFake("1"))
}
