package main

import (
	"crypto/tls"
	"errors"
	"fmt"

	"tokenserver/access"
)

// checkCallers checks what concerns callers.
func (c *Config) checkCallers() (errs []error) {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		errs = append(errs, errors.New("--tls-cert and --tls-key go together: the one needs the other"))
	}
	if c.TLSClientCA != "" && c.TLSCert == "" {
		errs = append(errs, fmt.Errorf("--tls-client-ca %q: needs --tls-cert and --tls-key", c.TLSClientCA))
	}
	if len(c.TLSAdmins) > 0 && c.TLSClientCA == "" {
		errs = append(errs, fmt.Errorf("--tls-admin %q: needs --tls-client-ca", c.TLSAdmins[0]))
	}
	return errs
}

// hasCallers says whether not everybody may call.
func (c *Config) hasCallers() bool { return c.AuthFile != "" || c.TLSClientCA != "" }

// readCallers reads the files that say who may call, and who the server is.
func (m *Main) readCallers() (errs []error) {
	secrets, err := m.Config.readSecrets()
	if err != nil {
		errs = append(errs, err)
	}
	identity, more := m.Config.readIdentity()
	if errs = append(errs, more...); len(errs) > 0 {
		return errs
	}
	if m.Config.hasCallers() {
		m.guard = access.NewGuard(secrets, identity.Clients)
	}
	if m.Config.TLSCert != "" {
		m.tls = access.NewTLS(identity)
	}
	return nil
}

// readSecrets reads the auth file, and returns nil if there is none.
func (c *Config) readSecrets() (*access.Secrets, error) {
	if c.AuthFile == "" {
		return nil, nil
	}
	text, err := readPrivate(c.AuthFile, 0)
	if err != nil {
		return nil, fmt.Errorf("--auth-file %q: must be a file %s: %w", c.AuthFile, privateNeeds, err)
	}
	secrets, err := access.ParseSecrets(text)
	if err != nil {
		return nil, fmt.Errorf("--auth-file %q: %w", c.AuthFile, err)
	}
	return secrets, nil
}

// readIdentity reads the certificates, if there are any. Its errors are all that is wrong
// with them.
func (c *Config) readIdentity() (i access.Identity, errs []error) {
	if c.TLSCert == "" || c.TLSKey == "" {
		return i, nil
	}
	cert, err := readPlain(c.TLSCert)
	if err != nil {
		errs = append(errs, fmt.Errorf("--tls-cert %q: %w", c.TLSCert, err))
	}
	key, err := readPlain(c.TLSKey)
	if err != nil {
		errs = append(errs, fmt.Errorf("--tls-key %q: %w", c.TLSKey, err))
	}
	if len(errs) == 0 {
		if i.Certificate, err = access.ParseCertificate(cert, key); err != nil {
			errs = append(errs, fmt.Errorf("--tls-cert %q, --tls-key %q: %w", c.TLSCert, c.TLSKey, err))
		}
	}
	if i.Clients, err = c.readAuthorities(); err != nil {
		errs = append(errs, err)
	}
	return i, errs
}

func (c *Config) readAuthorities() (*access.Authorities, error) {
	if c.TLSClientCA == "" {
		return nil, nil
	}
	text, err := readPlain(c.TLSClientCA)
	if err != nil {
		return nil, fmt.Errorf("--tls-client-ca %q: %w", c.TLSClientCA, err)
	}
	authorities, err := access.ParseAuthorities(text, c.TLSAdmins)
	if err != nil {
		return nil, fmt.Errorf("--tls-client-ca %q: %w", c.TLSClientCA, err)
	}
	return authorities, nil
}

// clientAuth says what clients need on the addresses of the server. With an auth file a
// secret is as good as a certificate.
func (c *Config) clientAuth() tls.ClientAuthType {
	if c.AuthFile != "" {
		return tls.VerifyClientCertIfGiven
	}
	return tls.RequireAndVerifyClientCert
}
