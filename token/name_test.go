package token

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// The name is part of the contract: clients compute it, and it lasts over restarts.
func TestSessionName(t *testing.T) {
	id := ID{0xF8, 0xF9, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF}
	sum := sha256.Sum256(id[:])
	want := base64.RawURLEncoding.EncodeToString(sum[:])[:16]
	if got := id.Name().String(); got != want || len(got) != EncodedNameLen {
		t.Errorf("Name = %q, want %q", got, want)
	}
	if got := string(id.Name().Append([]byte("x"))); got != "x"+want {
		t.Errorf("Append = %q, want %q", got, "x"+want)
	}
	if got, err := ParseSessionName([]byte(want)); got != id.Name() || err != nil {
		t.Errorf("ParseSessionName(%q) = %v, error %v, want %v", want, got, err, id.Name())
	}
}

func TestParseSessionNameRefuses(t *testing.T) {
	name := ID{1}.Name().String()
	for _, text := range []string{
		"", "A", name[:15], name + "A", name[:15] + "=", name[:15] + "+", name[:15] + "/", name[:14] + "\n\n", name[:15] + "\x00",
		" " + name[1:], strings.Repeat(" ", 16), strings.Repeat("é", 8), strings.Repeat("A", 16), sampleText,
	} {
		if got, err := ParseSessionName([]byte(text)); got != (SessionName{}) || !errors.Is(err, ErrUnknownSession) {
			t.Errorf("ParseSessionName(%q) = %v, error %v, want %v", text, got, err, ErrUnknownSession)
		}
	}
}
