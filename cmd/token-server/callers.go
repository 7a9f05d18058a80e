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
	secrets, errs := m.Config.readSecrets()
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

// readSecrets reads the auth file, and returns nil if there is none. Its errors are all
// that is wrong with it.
func (c *Config) readSecrets() (secrets *access.Secrets, errs []error) {
	if c.AuthFile == "" {
		return nil, nil
	}
	what := fmt.Sprintf("--auth-file %q", c.AuthFile)
	text, err := readPrivate(c.AuthFile, 0)
	if err != nil {
		return nil, []error{fmt.Errorf("%s: must be a file %s: %w", what, privateNeeds, err)}
	}
	secrets, err = access.ParseSecrets(text)
	return secrets, problemsOf(what, err)
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
	key, err := readPrivate(c.TLSKey, 0)
	if err != nil {
		errs = append(errs, fmt.Errorf("--tls-key %q: must be a file %s: %w", c.TLSKey, privateNeeds, err))
	}
	if len(errs) == 0 {
		i.Certificate, err = access.ParseCertificate(cert, key)
		errs = problemsOf(fmt.Sprintf("--tls-cert %q, --tls-key %q", c.TLSCert, c.TLSKey), err)
	}
	clients, more := c.readAuthorities()
	i.Clients = clients
	return i, append(errs, more...)
}

func (c *Config) readAuthorities() (authorities *access.Authorities, errs []error) {
	if c.TLSClientCA == "" {
		return nil, nil
	}
	what := fmt.Sprintf("--tls-client-ca %q", c.TLSClientCA)
	text, err := readPlain(c.TLSClientCA)
	if err == nil {
		authorities, err = access.ParseAuthorities(text, c.TLSAdmins)
	}
	return authorities, problemsOf(what, err)
}

// problemsOf returns each of the errors that were joined to err, with what it is of.
func problemsOf(what string, err error) (problems []error) {
	if err == nil {
		return nil
	}
	errs := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		errs = joined.Unwrap()
	}
	for _, err := range errs {
		problems = append(problems, fmt.Errorf("%s: %w", what, err))
	}
	return problems
}

// clientAuth says what clients need on the addresses of the server. With an auth file a
// secret is as good as a certificate.
func (c *Config) clientAuth() tls.ClientAuthType {
	if c.AuthFile != "" {
		return tls.VerifyClientCertIfGiven
	}
	return tls.RequireAndVerifyClientCert
}
