package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tokenserver/internal/testneeds"
	"tokenserver/token"
)

func TestSecretFile(t *testing.T) {
	tests := []struct {
		name string
		size int
		mode os.FileMode
		want string // part of the error; empty for none
	}{
		{"good", 32, 0o600, ""},
		{"read only", 64, 0o400, ""},
		{"mounted by a container runtime", 32, 0o440, ""},
		{"group may read", 32, 0o640, ""},
		{"short", 31, 0o600, "it has 31 bytes"},
		{"empty", 0, 0o600, "it has 0 bytes"},
		{"huge", maxFile + 1, 0o600, "it has 1048577 bytes, which must be 32 … 1048576"},
		{"others may read", 32, 0o604, "its mode is 0604"},
		{"group may write", 32, 0o620, "its mode is 0620"},
		{"group may read and write", 32, 0o660, "its mode is 0660"},
		{"others may run", 32, 0o641, "its mode is 0641"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "secret")
			if err := os.WriteFile(file, bytes.Repeat([]byte("k"), tt.size), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(file, tt.mode); err != nil {
				t.Fatal(err)
			}
			m, _, err := parse([]string{"--grace=1s", "--secret-file=" + file}, nil)
			if tt.want == "" {
				key := token.NewSecret(bytes.Repeat([]byte("k"), tt.size))
				if tok := token.Generate(); err != nil || m.secret.Next(tok) != key.Next(tok) {
					t.Errorf("ParseFlags = error %v, want the file's secret", err)
				}
			} else if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("ParseFlags = error %v, want one line with %q", err, tt.want)
			}
		})
	}
}

// TestTwoSecretFiles: the first has the key, and the second the previous one.
func TestTwoSecretFiles(t *testing.T) {
	dir := t.TempDir()
	key, previous := filepath.Join(dir, "key"), filepath.Join(dir, "previous")
	for _, file := range []string{key, previous} {
		if err := os.WriteFile(file, []byte(strings.Repeat(filepath.Base(file), token.MinSecret)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, given := range map[string]struct {
		args []string
		env  map[string]string
	}{
		"flags":    {[]string{"--grace=1s", "--secret-file=" + key, "--secret-file", previous}, nil},
		"variable": {[]string{"--grace=1s"}, map[string]string{"TOKEN_SERVER_SECRET_FILE": key + "," + previous}},
	} {
		m, _, err := parse(given.args, given.env)
		if err != nil {
			t.Fatalf("%s: ParseFlags = error %v", name, err)
		}
		tok := token.Generate()
		if want := token.NewSecret(readFile(t, key)).Next(tok); m.secret.Next(tok) != want {
			t.Errorf("%s: the first file's key does not derive", name)
		}
		want, found := token.NewSecret(readFile(t, previous)).Next(tok), false
		for _, got := range m.secret.Changes(tok) {
			found = found || got == want
		}
		if !found {
			t.Errorf("%s: the second file's key is not accepted", name)
		}
	}
	if _, _, err := parse([]string{"--grace=1s", "--secret-file=" + key, "--secret-file=" + dir}, nil); err == nil || !strings.Contains(err.Error(), "--secret-file \""+dir+"\"") {
		t.Errorf("ParseFlags = error %v, want one that names the second file", err)
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestSecretFileIsNoPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	err := syscall.Mkfifo(pipe, 0o600)
	testneeds.That(t, err == nil, fmt.Sprintf("a pipe can't be made: %v", err))
	if _, _, err := parse([]string{"--grace=1s", "--secret-file=" + pipe}, nil); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("ParseFlags = error %v, want that it is no regular file", err)
	}
}

func TestSecretFileOfAnotherUser(t *testing.T) {
	testneeds.That(t, os.Geteuid() == 0, "only root can give a file away")
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, bytes.Repeat([]byte("k"), 32), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(file, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if _, _, err := parse([]string{"--grace=1s", "--secret-file=" + file}, nil); err == nil || !strings.Contains(err.Error(), "it belongs to user 12345") {
		t.Errorf("ParseFlags = error %v, want that the file is somebody else's", err)
	}
}
