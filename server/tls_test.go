package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"tokenserver/access"
	"tokenserver/internal/testcert"
)

// serveTLS is serve over TLS.
func serveTLS(t testing.TB, cfg Config, with *tls.Config) *served {
	t.Helper()
	before := setting
	defer func() { setting = before }()
	setting.server = with
	return serve(t, cfg)
}

// dialTLS is dial over TLS.
func (s *served) dialTLS(t testing.TB, with *tls.Config) *client {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return newClient(t, tls.Client(conn, with))
}

// optional asks for a certificate, and requires none.
func (c *certificates) optional() *tls.Config { return c.tls.Config(tls.VerifyClientCertIfGiven) }

// TestHandshakesThatFail: nobody without a good certificate gets as far as a request.
func TestHandshakesThatFail(t *testing.T) {
	certs, other := newCertificates(t), testcert.NewAuthority(t)
	var log logBuffer
	s := serveTLS(t, Config{Guard: certs.guard, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}, certs.server)
	with := func(pair testcert.Pair) *tls.Config {
		cfg, cert := certs.client("", 0), pair.TLS(t)
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
		return cfg
	}
	none := certs.client("", 0)
	none.Certificates = nil
	old := certs.client("web", tls.VersionTLS11)
	old.MinVersion = tls.VersionTLS10
	tests := []struct {
		name   string
		client *tls.Config
	}{
		{"no certificate", none},
		{"another authority", with(other.Issue("web"))},
		{"expired", with(certs.authority.Issue("web", testcert.Expired))},
		{"not valid yet", with(certs.authority.Issue("web", testcert.NotYet))},
		{"for servers", with(certs.authority.Issue("web", testcert.For(x509.ExtKeyUsageServerAuth)))},
		{"an old protocol", old},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := s.dialTLS(t, test.client)
			io.WriteString(c.conn, requestText("POST", "/token", `{"meta":{}}`)) // whose failure shows below, too
			r, err := c.tryReceive("POST")
			if refused := new(net.OpError); !errors.As(err, &refused) || !strings.Contains(err.Error(), "remote error: tls:") {
				t.Errorf("answer %v, error %v, want an alert of TLS", r, err)
			}
			eventually(t, "it is counted", func() bool { return s.Stats().BadHandshakes == uint64(i+1) })
		})
	}
	s.dialTLS(t, certs.client("web", 0)).create(`{}`)
	if got := s.Stats(); len(got.Requests) != 1 || got.BadHandshakes != uint64(len(tests)) {
		t.Errorf("Stats() = %+v, want one request and %d handshakes that failed", got, len(tests))
	}
	s.shutdown(t)
	if got := strings.Count(log.String(), `level=DEBUG msg="TLS handshake failed" error=`); got != len(tests) {
		t.Errorf("log has %d records of handshakes, want %d:\n%s", got, len(tests), log.String())
	}
}

// TestPlainHTTP: a client that does not speak TLS learns why it gets nowhere.
func TestPlainHTTP(t *testing.T) {
	certs := newCertificates(t)
	s := serveTLS(t, Config{}, certs.server)
	for _, text := range []string{
		requestText("PUT", "/token", tokenBody(marker)), requestText("GET", "/healthz", ""), requestText("OPTIONS", "*", ""),
		requestText("POST", "/token", strings.Repeat(marker, 100000)), "QUERY",
	} {
		c := s.dial(t)
		go io.WriteString(c.conn, text)
		r := c.receive("PUT")
		if r.status != 400 || r.code() != "BadRequest" || !strings.Contains(r.body, "https") || !r.closes {
			t.Errorf("plain %.20q: %v, closes %v, want 400 that says so", text, r, r.closes)
		}
		c.wantClosed()
	}
	for _, text := range []string{marker + " is no request\r\n\r\n", "\x00\x00\x00\x00\x00\x00", "get / http\r\n\r\n"} {
		c := s.dial(t)
		c.send(text)
		if answer, _ := io.ReadAll(c.in); bytes.Contains(answer, []byte("HTTP")) {
			t.Errorf("what is neither TLS nor HTTP was answered with %q", answer)
		}
	}
	s.dialTLS(t, certs.client("web", 0)).wantOpen()
}

// TestHalfAHandshake: whoever does not end it in time is closed.
func TestHalfAHandshake(t *testing.T) {
	certs := newCertificates(t)
	s := serveTLS(t, Config{RequestTimeout: hurry}, certs.server)
	hello := recordHello(t, certs.client("web", 0))
	for name, text := range map[string][]byte{
		"nothing": nil, "one byte": hello[:1], "half": hello[:len(hello)/2], "all of the hello": hello,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			c := s.dial(t)
			c.send(string(text))
			if _, err := io.Copy(io.Discard, c.in); err != nil && !isBroken(err) {
				t.Errorf("the connection ended with %v, want it closed", err)
			}
			if waited := time.Since(start); waited < hurry/2 || waited > 10*hurry {
				t.Errorf("closed after %v, want %v", waited, hurry)
			}
		})
	}
}

// TestHandshakeThatTakesNothing: a pipe buffers nothing, so that the server's first write
// waits for ever.
func TestHandshakeThatTakesNothing(t *testing.T) {
	certs := newCertificates(t)
	s := serveTLS(t, Config{RequestTimeout: hurry}, certs.server)
	hello := recordHello(t, certs.client("web", 0))
	c := s.servePipesOver(t, certs.server).dial(t)
	c.send(string(hello))
	eventually(t, "it is let go", c.isClosed)
}

// TestShedInAHandshake: a connection that is closed for a new one is let go, also if it
// takes nothing of what the server writes.
func TestShedInAHandshake(t *testing.T) {
	certs := newCertificates(t)
	s := serve(t, Config{MaxConnections: 1})
	pipes := s.servePipesOver(t, certs.server)
	first := pipes.dial(t)
	first.send(string(recordHello(t, certs.client("web", 0))))
	pipes.dial(t)
	eventually(t, "it is let go", first.isClosed)
}

// isClosed says whether the server has closed a pipe that it has not read from.
func (c *client) isClosed() bool {
	c.conn.SetWriteDeadline(time.Now().Add(time.Millisecond))
	_, err := c.conn.Write([]byte{0})
	return errors.Is(err, io.ErrClosedPipe)
}

// recordHello returns what a client begins a handshake with.
func recordHello(t *testing.T, cfg *tls.Config) []byte {
	t.Helper()
	ours, theirs := net.Pipe()
	go func() {
		tls.Client(theirs, cfg).Handshake()
		theirs.Close()
	}()
	hello := make([]byte, 5)
	if _, err := io.ReadFull(ours, hello); err != nil {
		t.Fatal(err)
	}
	rest := make([]byte, int(hello[3])<<8|int(hello[4]))
	if _, err := io.ReadFull(ours, rest); err != nil {
		t.Fatal(err)
	}
	ours.Close()
	return append(hello, rest...)
}

// TestSlowRequestsOverTLS: the time-out of a request is answered, as without TLS.
func TestSlowRequestsOverTLS(t *testing.T) {
	certs := newCertificates(t)
	s := serveTLS(t, Config{RequestTimeout: hurry}, certs.server)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c := s.dialTLS(t, certs.client("web", version))
		c.send(head + "Content-Length: 100\r\n\r\n{")
		c.wantRefused("body", 408, "RequestTimeout")
		c = s.dialTLS(t, certs.client("web", version))
		if err := c.conn.(*tls.Conn).Handshake(); err != nil {
			t.Fatal(err)
		}
		c.wantClosed() // it has sent no request, so that there is none to answer
	}
}

// TestLimitOverTLS: connections that have yet to agree on TLS, or have and sent nothing,
// make room for others.
func TestLimitOverTLS(t *testing.T) {
	certs := newCertificates(t)
	s := serveTLS(t, Config{MaxConnections: 3}, certs.server)
	waiting := func(n int) {
		t.Helper()
		eventually(t, "the connection is let in", func() bool { return s.Stats().Connections >= n })
	}
	served := s.dialTLS(t, certs.client("web", 0))
	served.wantOpen()
	silent := s.dial(t)
	waiting(2)
	agreed := s.dialTLS(t, certs.client("web", 0))
	if err := agreed.conn.(*tls.Conn).Handshake(); err != nil {
		t.Fatal(err)
	}
	s.dialTLS(t, certs.client("web", 0)).wantOpen() // in the place of the silent one
	if _, err := silent.in.ReadByte(); err == nil {
		t.Error("the connection that had sent nothing is open")
	}
	s.dialTLS(t, certs.client("web", 0)).wantOpen() // in that of the one without a request
	if _, err := agreed.in.ReadByte(); err == nil {
		t.Error("the connection without a request is open")
	}
	served.wantOpen()
	crowded := s.dial(t)
	if _, err := crowded.in.ReadByte(); err != io.EOF && !isBroken(err) {
		t.Errorf("one too many: %v, want it closed", err)
	}
	served.wantOpen()
}

// TestCertificatesAreReplaced: handshakes that come later see the new certificate, and
// connections that there are go on.
func TestCertificatesAreReplaced(t *testing.T) {
	certs, next := newCertificates(t), testcert.NewAuthority(t)
	s := serveTLS(t, Config{}, certs.server)
	before := s.dialTLS(t, certs.client("web", 0))
	before.wantOpen()
	certs.tls.Set(access.Identity{Certificate: next.Issue("server").TLS(t), Clients: certs.clients})
	before.wantOpen()
	cfg := certs.client("web", 0)
	if err := s.dialTLS(t, cfg).conn.(*tls.Conn).Handshake(); err == nil {
		t.Error("the old certificate is served still")
	}
	cfg.RootCAs = next.Pool()
	s.dialTLS(t, cfg).wantOpen()
}
