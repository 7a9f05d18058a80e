package durable

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tokenserver/token"
)

// TestSecretLasts replays a token in its grace after a restart.
func TestSecretLasts(t *testing.T) {
	cfg := diskConfig(t)
	cfg.Store.Grace = time.Minute
	s := mustOpen(t, cfg)
	first, err := s.Create(t.Context(), token.NewSession{Meta: []byte(`{}`)})
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Exchange(t.Context(), first, token.Patch{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	s = mustOpen(t, cfg)
	defer mustClose(t, s)
	got, err := s.Exchange(t.Context(), first, token.Patch{}, nil)
	if err != nil || !got.Reused || got.Token != second.Token {
		t.Errorf("Exchange after a restart = reused %v, error %v, want the current token", got.Reused, err)
	}
}

func TestNoSecretWithoutNeed(t *testing.T) {
	given := token.NewSecret(make([]byte, token.MinSecret))
	for name, set := range map[string]func(*Config){
		"no grace":     func(*Config) {},
		"given secret": func(cfg *Config) { cfg.Store.Grace, cfg.Store.Secret = time.Second, given },
	} {
		cfg := diskConfig(t)
		set(&cfg)
		mustClose(t, mustOpen(t, cfg))
		if _, err := os.Stat(filepath.Join(cfg.Dir, secretFile)); !os.IsNotExist(err) {
			t.Errorf("%s: there is a secret, error %v", name, err)
		}
	}
}

func TestBadSecrets(t *testing.T) {
	tests := []struct {
		name string
		size int
		mode os.FileMode
		want string // in the error; empty for none
	}{
		{"good", token.MinSecret, 0o600, ""},
		{"read-only", token.MinSecret, 0o400, ""},
		{"long", 100, 0o600, ""},
		{"short", token.MinSecret - 1, 0o600, "31 bytes"},
		{"empty", 0, 0o600, "0 bytes"},
		{"for the group", token.MinSecret, 0o640, ""}, // tightened
		{"for all", token.MinSecret, 0o604, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg := diskConfig(t)
			mustClose(t, mustOpen(t, cfg))
			file := filepath.Join(cfg.Dir, secretFile)
			if err := os.WriteFile(file, make([]byte, test.size), test.mode); err != nil {
				t.Fatal(err)
			}
			os.Chmod(file, test.mode)
			cfg.Store.Grace = time.Second
			s, err := Open(cfg)
			if err == nil {
				mustClose(t, s)
			}
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("Open = error %v, want one with %q", err, test.want)
			}
			if info, err := os.Stat(file); err != nil || info.Mode().Perm()&^fileMode != 0 {
				t.Errorf("its mode is %v, error %v, want nothing for others", info.Mode(), err)
			}
		})
	}
}
