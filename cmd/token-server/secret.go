package main

import (
	"fmt"

	"tokenserver/token"
)

// readSecret reads the secret files, if there are any. Its errors are all that is wrong
// with them.
func (m *Main) readSecret() (errs []error) {
	var keys [][]byte
	for _, name := range m.Config.SecretFiles {
		key, err := readPrivate(name, token.MinSecret)
		if err != nil {
			errs = append(errs, fmt.Errorf("--secret-file %q: must be a file of %d bytes or more, %s: %w", name, token.MinSecret, privateNeeds, err))
		}
		keys = append(keys, key)
	}
	if len(errs) > 0 {
		return errs
	}
	switch len(keys) {
	case 1:
		m.secret = token.NewSecret(keys[0])
	case maxSecretFiles:
		m.secret = token.NewSecretAfter(keys[0], keys[1])
	}
	return nil
}
