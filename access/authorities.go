package access

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Authorities are the certificate authorities whose certificates make callers. They
// don't change.
type Authorities struct {
	pool   *x509.CertPool
	roots  []*x509.Certificate
	admins []string
}

// What is wrong with a file of certificate authorities.
var (
	errNoCertificate = errors.New("there is no certificate in it (PEM, BEGIN CERTIFICATE)")
	errNoAuthority   = errors.New("is of no certificate authority")
	errAllExpired    = errors.New("all certificates in it have expired, or are not valid yet")
)

// ParseAuthorities reads certificates of authorities (PEM). Callers of the names of
// admins are admins. An authority that has expired, or is not valid yet, may stand beside
// one that is.
func ParseAuthorities(text []byte, admins []string) (*Authorities, error) {
	a := &Authorities{pool: x509.NewCertPool(), admins: admins}
	certs, err := parseCertificates(text)
	if err != nil {
		return nil, err
	}
	for i, cert := range certs {
		if !mayIssue(cert) {
			return nil, fmt.Errorf("certificate %d %w", i+1, errNoAuthority)
		}
		a.pool.AddCert(cert)
	}
	if a.roots = certs; !slices.ContainsFunc(certs, isValidNow) {
		return nil, errAllExpired
	}
	return a, nil
}

// mayIssue says whether a certificate is one that others can be issued by. Before version
// 3 there was no way to say it.
func mayIssue(cert *x509.Certificate) bool {
	return (cert.IsCA || cert.Version < 3) && (cert.KeyUsage == 0 || cert.KeyUsage&x509.KeyUsageCertSign != 0)
}

// parseCertificates returns the certificates of a text, one at least.
func parseCertificates(text []byte) (certs []*x509.Certificate, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(certs)+1, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, errNoCertificate
	}
	return certs, nil
}

func isValidNow(cert *x509.Certificate) bool {
	now := time.Now()
	return !now.Before(cert.NotBefore) && !now.After(cert.NotAfter)
}

// Find returns the caller whose certificate a connection has, or nobody. The name is the
// certificate's first DNS name, else its common name.
func (a *Authorities) Find(state *tls.ConnectionState) Caller {
	if len(state.PeerCertificates) == 0 || !a.trust(state) {
		return Caller{}
	}
	c := Caller{Name: nameOf(state.PeerCertificates[0]), Roles: Tokens}
	if slices.Contains(a.admins, c.Name) {
		c.Roles |= Admin
	}
	return c
}

func nameOf(cert *x509.Certificate) string {
	if len(cert.DNSNames) > 0 {
		return cert.DNSNames[0]
	}
	return cert.Subject.CommonName
}

// trust says whether the certificate of a connection is one of a's. The handshake has
// verified it, but by the authorities that there were then.
func (a *Authorities) trust(state *tls.ConnectionState) bool {
	for _, chain := range state.VerifiedChains {
		if slices.ContainsFunc(a.roots, chain[len(chain)-1].Equal) {
			return true
		}
	}
	options := x509.VerifyOptions{
		Roots:         a.pool,
		Intermediates: x509.NewCertPool(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, cert := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(cert)
	}
	_, err := state.PeerCertificates[0].Verify(options)
	return err == nil
}
