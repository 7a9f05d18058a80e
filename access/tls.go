package access

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// TLS makes the settings of listeners. What it has can be replaced while they are in use.
// It must not be copied after its first use.
type TLS struct{ identity atomic.Pointer[Identity] }

// Identity is who the server is, and whose certificates clients may have.
type Identity struct {
	Certificate tls.Certificate
	Clients     *Authorities // nil if clients are not asked for certificates
}

// NewTLS returns what makes settings with an identity.
func NewTLS(i Identity) *TLS {
	t := new(TLS)
	t.Set(i)
	return t
}

// Set replaces the identity, for handshakes that begin later.
func (t *TLS) Set(i Identity) { t.identity.Store(&i) }

// Config returns the settings of a listener, which follow the identity: TLS 1.2 and 1.3,
// HTTP/1.1, and resumption. Clients are asked for certificates as auth says, if the
// identity has authorities for that.
func (t *TLS) Config(auth tls.ClientAuthType) *tls.Config {
	cfg := t.identity.Load().config(auth)
	// The keys of tickets are those of cfg. A ticket is worth nothing once its
	// certificate's authority has gone: that is checked again.
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return t.identity.Load().config(auth), nil
	}
	return cfg
}

func (i *Identity) config(auth tls.ClientAuthType) *tls.Config {
	cfg := &tls.Config{
		Certificates: []tls.Certificate{i.Certificate},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"http/1.1"},
	}
	if i.Clients != nil {
		cfg.ClientAuth, cfg.ClientCAs = auth, i.Clients.pool
	}
	return cfg
}

// errPurpose says that a certificate is not a server's.
var errPurpose = errors.New("the certificate is not for servers (extended key usage)")

// ParseCertificate reads a server's certificate, with those between it and its
// authority, and its key (PEM). One that has expired, is not valid yet or is for
// something else is an error, which is one of [errors.Join], with all that is wrong.
func ParseCertificate(cert, key []byte) (tls.Certificate, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return pair, err
	}
	var errs []error
	if leaf := pair.Leaf; !isValidNow(leaf) {
		errs = append(errs, fmt.Errorf("the certificate is valid from %s to %s",
			leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339)))
	}
	if !isForServers(pair.Leaf) {
		errs = append(errs, errPurpose)
	}
	if begun := bytes.Count(cert, beginCertificate); len(pair.Certificate) < begun {
		errs = append(errs, fmt.Errorf("%d of its %d certificates %w", begun-len(pair.Certificate), begun, errGarbled))
	}
	return pair, errors.Join(errs...)
}

func isForServers(cert *x509.Certificate) bool {
	return len(cert.ExtKeyUsage)+len(cert.UnknownExtKeyUsage) == 0 ||
		slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageServerAuth) ||
		slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageAny)
}
