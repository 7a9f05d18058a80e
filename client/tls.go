package client

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"sync"
)

// tlsConfig returns the settings of TLS, with the client's certificate.
func tlsConfig(cfg *Config) (*tls.Config, error) {
	t := new(tls.Config)
	if cfg.TLS != nil {
		t = cfg.TLS.Clone()
	}
	if (cfg.CertFile == "") != (cfg.KeyFile == "") {
		return nil, fmt.Errorf("token server: CertFile and KeyFile go together")
	}
	if cfg.CertFile != "" {
		c := &certificate{files: watchedFile{names: []string{cfg.CertFile, cfg.KeyFile}}}
		if _, err := c.load(); err != nil {
			return nil, fmt.Errorf("token server: client certificate: %w", err)
		}
		t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.load() }
	}
	return t, nil
}

// certificate is the client's, which is read again when its files have changed.
type certificate struct {
	files watchedFile

	mu     sync.Mutex // guards what follows
	texts  [][]byte
	parsed *tls.Certificate
}

// load returns the certificate. While one file is new and the other is not, the last
// one holds that fitted.
func (c *certificate) load() (*tls.Certificate, error) {
	texts, err := c.files.read()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.parsed != nil && bytes.Equal(texts[0], c.texts[0]) && bytes.Equal(texts[1], c.texts[1]) {
		return c.parsed, nil
	}
	parsed, err := tls.X509KeyPair(texts[0], texts[1])
	if err != nil && c.parsed == nil {
		return nil, err
	}
	if err == nil {
		c.texts, c.parsed = texts, &parsed
	}
	return c.parsed, nil
}
