// Package testcert makes certificates for tests.
//
// # Basics
//
// [NewAuthority] makes a certificate authority, and [Authority.Issue] a certificate of it,
// which is good for servers on this machine and for clients unless an [Option] says
// otherwise. All are made anew, last an hour, and come as PEM.
package testcert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority is a certificate authority.
type Authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	// PEM is its certificate.
	PEM []byte
}

// Pair is a certificate and its key, as PEM.
type Pair struct{ Cert, Key []byte }

// Option changes what a certificate has before it is signed.
type Option func(*x509.Certificate)

// NewAuthority makes an authority.
func NewAuthority(t testing.TB, options ...Option) *Authority {
	t.Helper()
	a := &Authority{t: t, key: newKey(t)}
	template := newAuthorityTemplate(options)
	a.PEM = a.sign(template, template, a.key)
	block, _ := pem.Decode(a.PEM)
	var err error
	if a.cert, err = x509.ParseCertificate(block.Bytes); err != nil {
		t.Fatal(err)
	}
	return a
}

// Renew returns an authority of the same name and key with a certificate of its own.
func (a *Authority) Renew() *Authority {
	a.t.Helper()
	template := newAuthorityTemplate(nil)
	return &Authority{t: a.t, cert: a.cert, key: a.key, PEM: a.sign(template, template, a.key)}
}

// Issue makes a certificate for a common name.
func (a *Authority) Issue(name string, options ...Option) Pair {
	a.t.Helper()
	key := newKey(a.t)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return Pair{
		Cert: a.sign(newTemplate(name, options), a.cert, key),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	}
}

func (a *Authority) sign(template, parent *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Pool has the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(a.PEM)
	return pool
}

// TLS returns the pair as package tls has it.
func (p Pair) TLS(t testing.TB) tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// Write writes the pair into files of a directory, in the way that others never see half
// of a file.
func (p Pair) Write(t testing.TB, dir string) (certFile, keyFile string) {
	t.Helper()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	WriteFile(t, certFile, p.Cert)
	WriteFile(t, keyFile, p.Key)
	return certFile, keyFile
}

// WriteFile puts a file of mode 0600 in the place of one that may be there.
func WriteFile(t testing.TB, name string, data []byte) {
	t.Helper()
	err := os.WriteFile(name+".new", data, 0o600)
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// WithDNS sets the DNS names.
func WithDNS(names ...string) Option { return func(c *x509.Certificate) { c.DNSNames = names } }

// For sets what a certificate is for.
func For(usages ...x509.ExtKeyUsage) Option {
	return func(c *x509.Certificate) { c.ExtKeyUsage = usages }
}

// Expired makes a certificate that has expired.
func Expired(c *x509.Certificate) {
	c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
}

// NotYet makes a certificate that is not valid yet.
func NotYet(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Minute) }

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newTemplate(name string, options []Option) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	c := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, option := range options {
		option(c)
	}
	return c
}

func newAuthorityTemplate(options []Option) *x509.Certificate {
	c := newTemplate("Test CA", options)
	c.IsCA, c.BasicConstraintsValid = true, true
	c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageCertSign, nil
	return c
}
