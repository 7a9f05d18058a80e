package access

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"strings"
	"testing"
	"time"

	"tokenserver/internal/testcert"
)

func authoritiesOf(t *testing.T, pem []byte, admins ...string) *Authorities {
	t.Helper()
	a, err := ParseAuthorities(pem, admins)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// shakeHands returns what a server knows after a handshake.
func shakeHands(t *testing.T, server, client *tls.Config) (state tls.ConnectionState, err error) {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	failed := make(chan error, 1)
	go func() {
		there, err := tls.Dial("tcp", ln.Addr().String(), client)
		if err == nil {
			_, err = io.ReadFull(there, make([]byte, 1)) // also what comes after a handshake of TLS 1.3
			there.Close()
		}
		failed <- err
	}()
	here, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	here.SetDeadline(time.Now().Add(10 * time.Second))
	_, err = here.Write([]byte{1})
	state = here.(*tls.Conn).ConnectionState()
	here.Close()
	if clientErr := <-failed; err == nil {
		err = clientErr
	}
	return state, err
}

func TestTLSConfig(t *testing.T) {
	ca, other := testcert.NewAuthority(t), testcert.NewAuthority(t)
	served := NewTLS(Identity{Certificate: ca.Issue("server").TLS(t), Clients: authoritiesOf(t, ca.PEM)})
	good := ca.Issue("web").TLS(t)
	tests := []struct {
		name   string
		auth   tls.ClientAuthType
		client *tls.Config
		want   string // part of the error; empty for none
	}{
		{"TLS 1.3", tls.RequireAndVerifyClientCert, &tls.Config{Certificates: []tls.Certificate{good}}, ""},
		{"TLS 1.2", tls.RequireAndVerifyClientCert, &tls.Config{Certificates: []tls.Certificate{good}, MaxVersion: tls.VersionTLS12}, ""},
		{"TLS 1.1", tls.RequireAndVerifyClientCert, &tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, "version"},
		{"no certificate", tls.RequireAndVerifyClientCert, &tls.Config{}, "certificate"},
		{"no certificate where none is needed", tls.VerifyClientCertIfGiven, &tls.Config{}, ""},
		{"of another authority", tls.VerifyClientCertIfGiven, &tls.Config{Certificates: []tls.Certificate{other.Issue("web").TLS(t)}}, "unknown authority"},
		{"expired", tls.RequireAndVerifyClientCert, &tls.Config{Certificates: []tls.Certificate{ca.Issue("web", testcert.Expired).TLS(t)}}, "expired"},
		{"for servers alone", tls.RequireAndVerifyClientCert, &tls.Config{Certificates: []tls.Certificate{ca.Issue("web", testcert.For(x509.ExtKeyUsageServerAuth)).TLS(t)}}, "usage"},
		{"another protocol", tls.VerifyClientCertIfGiven, &tls.Config{NextProtos: []string{"h2"}}, "application protocol"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.client.RootCAs, tt.client.ServerName = ca.Pool(), "127.0.0.1"
			if tt.client.NextProtos == nil {
				tt.client.NextProtos = []string{"h2", "http/1.1"}
			}
			// A client that has no certificate of the authorities asked for sends none.
			if certs := tt.client.Certificates; len(certs) > 0 {
				tt.client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certs[0], nil }
			}
			state, err := shakeHands(t, served.Config(tt.auth), tt.client)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("handshake: %v", err)
			case tt.want == "" && state.NegotiatedProtocol != "http/1.1":
				t.Errorf("protocol = %q, want http/1.1", state.NegotiatedProtocol)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("handshake: %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestTLSResumes(t *testing.T) {
	ca, next := testcert.NewAuthority(t), testcert.NewAuthority(t)
	identity := Identity{Certificate: ca.Issue("server").TLS(t), Clients: authoritiesOf(t, ca.PEM)}
	served := NewTLS(identity)
	server := served.Config(tls.RequireAndVerifyClientCert)
	client := &tls.Config{
		RootCAs: ca.Pool(), ServerName: "127.0.0.1", ClientSessionCache: tls.NewLRUClientSessionCache(1),
		Certificates: []tls.Certificate{ca.Issue("web").TLS(t)},
	}
	for i, want := range []bool{false, true, true} {
		s, err := shakeHands(t, server, client)
		if err != nil || s.DidResume != want || !identity.Clients.Find(&s).Known() {
			t.Fatalf("handshake %d: %v, resumed %v, want %v and a caller", i, err, s.DidResume, want)
		}
	}
	// A ticket is worth nothing without its authority.
	identity.Clients = authoritiesOf(t, next.PEM)
	served.Set(identity)
	if s, err := shakeHands(t, server, client); err == nil {
		t.Errorf("a handshake of an authority that is gone succeeded, resumed %v", s.DidResume)
	}
}

func TestFindByCertificate(t *testing.T) {
	ca, other := testcert.NewAuthority(t), testcert.NewAuthority(t)
	served := NewTLS(Identity{Certificate: ca.Issue("server").TLS(t), Clients: authoritiesOf(t, ca.PEM)})
	stateOf := func(pair testcert.Pair) *tls.ConnectionState {
		s, err := shakeHands(t, served.Config(tls.RequireAndVerifyClientCert), &tls.Config{
			RootCAs: ca.Pool(), ServerName: "127.0.0.1", Certificates: []tls.Certificate{pair.TLS(t)},
		})
		if err != nil {
			t.Fatal(err)
		}
		return &s
	}
	admins := []string{"ops", "dns.example"}
	ours, both := authoritiesOf(t, ca.PEM, admins...), authoritiesOf(t, append(other.PEM, ca.PEM...), admins...)
	theirs := authoritiesOf(t, other.PEM, admins...)
	tests := []struct {
		name string
		pair testcert.Pair
		by   *Authorities
		want Caller
	}{
		{"by common name", ca.Issue("web"), ours, Caller{"web", Tokens}},
		{"by DNS name", ca.Issue("web", testcert.WithDNS("a.example", "dns.example")), ours, Caller{"a.example", Tokens}},
		{"an admin", ca.Issue("ops"), ours, Caller{"ops", Tokens | Admin}},
		{"an admin by DNS name", ca.Issue("web", testcert.WithDNS("dns.example")), ours, Caller{"dns.example", Tokens | Admin}},
		{"a common name that is not looked at", ca.Issue("ops", testcert.WithDNS("a.example")), ours, Caller{"a.example", Tokens}},
		{"an authority beside another", ca.Issue("web"), both, Caller{"web", Tokens}},
		{"an authority that is gone", ca.Issue("ops"), theirs, Caller{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.by.Find(stateOf(tt.pair)); got != tt.want {
				t.Errorf("Find = %+v, want %+v", got, tt.want)
			}
		})
	}
	if got := ours.Find(new(tls.ConnectionState)); got.Known() {
		t.Errorf("Find without a certificate = %+v, want nobody", got)
	}
}

// TestAuthorityIsRenewed: a certificate that an authority of the same key and name has
// signed is good, whatever the handshake went by.
func TestAuthorityIsRenewed(t *testing.T) {
	ca := testcert.NewAuthority(t)
	served := NewTLS(Identity{Certificate: ca.Issue("server").TLS(t), Clients: authoritiesOf(t, ca.PEM)})
	state, err := shakeHands(t, served.Config(tls.RequireAndVerifyClientCert), &tls.Config{
		RootCAs: ca.Pool(), ServerName: "127.0.0.1", Certificates: []tls.Certificate{ca.Issue("web").TLS(t)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := authoritiesOf(t, ca.Renew().PEM).Find(&state); got.Name != "web" {
		t.Errorf("Find by a renewed authority = %+v, want web", got)
	}
}

func TestParseCertificate(t *testing.T) {
	ca := testcert.NewAuthority(t)
	good, other := ca.Issue("server"), ca.Issue("server")
	tests := []struct {
		name      string
		cert, key []byte
		want      string
	}{
		{"good", good.Cert, good.Key, ""},
		{"with its authority", append(good.Cert[:len(good.Cert):len(good.Cert)], ca.PEM...), good.Key, ""},
		{"beside a garbled one", append(good.Cert[:len(good.Cert):len(good.Cert)], ca.PEM[:99]...), good.Key, "1 of its 2 certificates can't be read"},
		{"another key", good.Cert, other.Key, "does not match"},
		{"no key", good.Cert, nil, "key"},
		{"no certificate", nil, good.Key, "certificate"},
		{"the other way round", good.Key, good.Cert, "PEM"},
	}
	for _, each := range []struct {
		name   string
		option testcert.Option
		want   string
	}{
		{"expired", testcert.Expired, "is valid from"},
		{"not valid yet", testcert.NotYet, "is valid from"},
		{"for clients alone", testcert.For(x509.ExtKeyUsageClientAuth), "not for servers"},
		{"for anything", testcert.For(x509.ExtKeyUsageAny), ""},
		{"for nothing in particular", testcert.For(), ""},
	} {
		pair := ca.Issue("server", each.option)
		tests = append(tests, struct {
			name      string
			cert, key []byte
			want      string
		}{each.name, pair.Cert, pair.Key, each.want})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseCertificate(tt.cert, tt.key)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ParseCertificate = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestParseAuthorities(t *testing.T) {
	ca := testcert.NewAuthority(t)
	expired := testcert.NewAuthority(t, testcert.Expired)
	join := func(texts ...[]byte) (all []byte) {
		for _, text := range texts {
			all = append(all, text...)
		}
		return all
	}
	tests := []struct {
		name string
		text []byte
		want string
	}{
		{"one", ca.PEM, ""},
		{"with text around it", join([]byte("Subject: x\n"), ca.PEM, []byte("\n")), ""},
		{"an expired one beside it", join(expired.PEM, ca.PEM), ""},
		{"expired", expired.PEM, "expired"},
		{"nothing", nil, "no certificate"},
		{"a key", ca.Issue("x").Key, "no certificate"},
		{"a certificate of nobody's authority", join(ca.PEM, ca.Issue("x", func(c *x509.Certificate) { c.BasicConstraintsValid = true }).Cert), "certificate 2 is of no"},
		{"one that does not say what it is for", ca.Issue("x").Cert, "certificate 1 is of no"},
		{"a broken one", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "certificate 1: "},
		{"a garbled one beside a good one", join(ca.PEM, []byte("-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n")), "1 of its 2 certificates can't be read"},
		{"one that is cut off", ca.PEM[:len(ca.PEM)/2], "1 of its 1 certificates can't be read"},
		{"two that are wrong", join(ca.Issue("x").Cert, ca.Issue("y").Cert), "certificate 1 is of no certificate authority\ncertificate 2 is of no"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseAuthorities(tt.text, nil)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ParseAuthorities = %v, want %q", err, tt.want)
			}
		})
	}
}
