package durable

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCheck: what is wrong with a data directory is found, and nothing there is changed.
func TestCheck(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		make func(t *testing.T, dir string)
		want error
		text string // part of the error
	}{
		{"a new one", func(*testing.T, string) {}, nil, ""},
		{"an empty one", func(t *testing.T, dir string) { mkdir(t, dir) }, nil, ""},
		{"one of ours", func(t *testing.T, dir string) { useDir(t, dir) }, nil, ""},
		{"somebody else's", func(t *testing.T, dir string) { mkdir(t, dir); writeTo(t, dir, "photo.jpg", "x") }, ErrVersion, "is not empty"},
		{"another format", func(t *testing.T, dir string) { useDir(t, dir); writeTo(t, dir, formatFile, "token-server 99\n") }, ErrVersion, "token-server 99"},
		{"one whose log is gone", func(t *testing.T, dir string) {
			useDir(t, dir)
			logs, _ := filepath.Glob(filepath.Join(dir, "*.log"))
			for _, log := range logs {
				os.Remove(log)
			}
		}, ErrCorrupt, "log is gone"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "b")
			tt.make(t, dir)
			before := filesIn(dir)
			err := Check(dir)
			if !errors.Is(err, tt.want) || err != nil && !strings.Contains(err.Error(), tt.text) || tt.want == nil && err != nil {
				t.Errorf("Check = %v, want %v with %q", err, tt.want, tt.text)
			}
			if after := filesIn(dir); !slices.Equal(before, after) {
				t.Errorf("files were %q and are %q", before, after)
			}
		})
	}
	if err := Check(file); err == nil || !strings.Contains(err.Error(), "no directory") || strings.Contains(err.Error(), "\n") {
		t.Errorf("Check of a file = %v, want that it is none", err)
	}
	if err := Check(filepath.Join(file, "below")); err == nil {
		t.Error("Check below a file = nil, want an error")
	}
}

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

func writeTo(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// useDir opens a store in a directory, and closes it.
func useDir(t *testing.T, dir string) {
	t.Helper()
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func filesIn(dir string) (names []string) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}
