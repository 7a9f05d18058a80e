package access

import (
	"bytes"
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
	errGarbled       = errors.New("can't be read: cut off, or garbled")
	errAllExpired    = errors.New("all certificates in it have expired, or are not valid yet")
)

// ParseAuthorities reads certificates of authorities (PEM). Callers of the names of
// admins are admins. An authority that has expired, or is not valid yet, may stand beside
// one that is. Its error is one of [errors.Join], with all that is wrong.
func ParseAuthorities(text []byte, admins []string) (*Authorities, error) {
	certs, errs := parseAuthorities(text)
	a := &Authorities{pool: x509.NewCertPool(), roots: certs, admins: admins}
	for _, cert := range certs {
		a.pool.AddCert(cert)
	}
	if len(certs) > 0 && !slices.ContainsFunc(certs, isValidNow) {
		errs = append(errs, errAllExpired)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return a, nil
}

// mayIssue says whether a certificate is one that others can be issued by. Before version
// 3 there was no way to say it.
func mayIssue(cert *x509.Certificate) bool {
	return (cert.IsCA || cert.Version < 3) && (cert.KeyUsage == 0 || cert.KeyUsage&x509.KeyUsageCertSign != 0)
}

// parseAuthorities returns the authorities of a text, and what is wrong with others. One
// of both is not empty.
func parseAuthorities(text []byte) (certs []*x509.Certificate, errs []error) {
	number := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		number++
		cert, err := x509.ParseCertificate(block.Bytes)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("certificate %d: %w", number, err))
		case !mayIssue(cert):
			errs = append(errs, fmt.Errorf("certificate %d %w", number, errNoAuthority))
		default:
			certs = append(certs, cert)
		}
	}
	if begun := bytes.Count(text, beginCertificate); number < begun {
		errs = append(errs, fmt.Errorf("%d of its %d certificates %w", begun-number, begun, errGarbled))
	} else if number == 0 {
		errs = append(errs, errNoCertificate)
	}
	return certs, errs
}

// beginCertificate is what a certificate begins with in a file. One that is garbled is
// passed over by package pem without a word.
var beginCertificate = []byte("-----BEGIN CERTIFICATE-----")

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
