package durable

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIDLasts(t *testing.T) {
	cfg := diskConfig(t)
	s := mustOpen(t, cfg)
	first := s.ID()
	mustClose(t, s)
	s = mustOpen(t, cfg)
	if got := s.ID(); got != first || !validID.MatchString(got) {
		t.Errorf("ID after a restart = %q, want %q", got, first)
	}
	mustClose(t, s)
	other := mustOpen(t, diskConfig(t))
	if got := other.ID(); got == first {
		t.Errorf("two directories have the ID %q", got)
	}
	mustClose(t, other)
}

func TestBadID(t *testing.T) {
	for _, text := range []string{"", "a b", "a\n", "a\r\nSet-Cookie: b", strings.Repeat("a", 65)} {
		cfg := diskConfig(t)
		mustClose(t, mustOpen(t, cfg))
		name := filepath.Join(cfg.Dir, idFile)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(cfg); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), name) {
			t.Errorf("Open with the ID %q = error %v, want %v that names the file", text, err, ErrCorrupt)
		}
	}
}
