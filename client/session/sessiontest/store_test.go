package sessiontest

import (
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"tokenserver/client"
	"tokenserver/client/session"
)

// TestStore: the stand-in passes the suite. That a token server does is tested in the
// server's module.
func TestStore(t *testing.T) {
	Run(t, func(t *testing.T, cfg Config) (session.Client, func(time.Duration)) {
		s := New(cfg)
		return s, s.Advance
	})
}

func TestFail(t *testing.T) {
	s := New(Config{})
	m := &session.Manager{Client: s}
	r := httptest.NewRequest("GET", "/", nil)
	LogIn(t, m, r, client.NewSession{Subject: "ada"})
	if got := s.Len(); got != 1 {
		t.Errorf("Len = %d, want 1", got)
	}
	token := r.Cookies()[0].Value
	s.Fail(client.ErrUnavailable)
	if _, err := s.Exchange(t.Context(), token, client.Patch{}); !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("Exchange = %v, want ErrUnavailable", err)
	}
	s.Fail(nil)
	x, err := s.Exchange(t.Context(), token, client.Patch{})
	if got, want := string(x.Meta), `{"subject":"ada"}`; err != nil || got != want {
		t.Errorf("Exchange = %s, %v, want %s", got, err, want)
	}
	s.Advance(3 * time.Hour)
	if got := s.Len(); got != 0 {
		t.Errorf("Len = %d, want 0", got)
	}
}
