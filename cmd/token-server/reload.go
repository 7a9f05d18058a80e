package main

// reload rereads the files that can change while the server runs. What is bad is refused,
// and what was in force stays: each of the three for itself.
func (m *Main) reload() {
	defer m.tellReload()()
	c := &m.Config
	if c.AuthFile == "" && c.TLSCert == "" && c.LogLevel.File == "" {
		m.logger.Info("SIGHUP changes nothing: there is nothing to reread")
		return
	}
	if c.LogLevel.File != "" {
		m.reread("log level", m.reloadLogLevel)
	}
	if c.AuthFile != "" {
		m.reread("callers", m.reloadSecrets)
	}
	if c.TLSCert != "" {
		m.reread("certificates", m.reloadCertificates)
	}
}

func (m *Main) reread(what string, f func() error) {
	if err := f(); err != nil {
		m.logger.Error("SIGHUP: "+what+" refused, the old stay in force", "error", err)
		return
	}
	m.logger.Info("SIGHUP: " + what + " reread")
}

func (m *Main) reloadLogLevel() error {
	level, err := m.Config.LogLevel.read()
	if err == nil {
		m.level.Set(level)
	}
	return err
}

func (m *Main) reloadSecrets() error {
	secrets, errs := m.Config.readSecrets()
	if len(errs) > 0 {
		return errs[0]
	}
	m.guard.SetSecrets(secrets)
	return nil
}

func (m *Main) reloadCertificates() error {
	identity, errs := m.Config.readIdentity()
	if len(errs) > 0 {
		return errs[0]
	}
	if m.guard != nil {
		m.guard.SetAuthorities(identity.Clients)
	}
	m.tls.Set(identity)
	return nil
}
