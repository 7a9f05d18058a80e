package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	tokens "tokenserver/client"
	"tokenserver/client/session"
	"tokenserver/token"
)

// asked is a client of which one token is looked at.
type asked struct {
	session.Client
	token string
}

func (a *asked) Validate(_ context.Context, token string) (tokens.Validated, error) {
	a.token = token
	return tokens.Validated{}, tokens.ErrInvalidToken
}

// TestCookieChoice: of many cookies GET /auth and the middleware take the same one.
func TestCookieChoice(t *testing.T) {
	s := newGuardedSite(t)
	for _, c := range []struct{ name, cookies, want string }{
		{"__Host-token", "__Host-token=A", "A"},
		{"__Host-token", "token=B; __Host-token=A", "A"},
		{"__Host-token", "__Host-token=; token=B", ""},
		{"__Host-token", "__Host-token; token=B", ""},
		{"__Host-token", "__Host-token=%{}; token=B", ""},
		{"__Host-token", "token=B; __Host-token=x", "x"},
		{"__Host-token", "__Host-token=%; __Host-token=A; token=B", "A"},
		{"__Host-token", "__Host-token=a b; __Host-token=A", "A"},
		{"__Host-token", "__Host-token=\"A\"", "A"},
		{"__Host-token", "__Host-token=\"A; __Host-token=B", "B"},
		{"__Host-token", "__Host-token=" + strings.Repeat("a", 1000) + "; __Host-token=A; token=B", "A"},
		{"token", "token=A", "A"},
		{"token", "token=\xe9; token=A; token=B", "A"},
		{"sid", "__Host-token=B; sid=A; token=B", "A"},
		{"sid", "__Host-token=B; token=B; sid=", ""},
	} {
		created := map[string]string{}
		for _, who := range []string{"A", "B"} {
			tok, err := s.store.Create(t.Context(), token.NewSession{Meta: []byte(`{"who":"` + who + `"}`)})
			if err != nil {
				t.Fatal(err)
			}
			created[who] = string(tok.Append(nil))
		}
		cookies := strings.NewReplacer("=A", "="+created["A"], "=\"A", "=\""+created["A"], "=B", "="+created["B"]).Replace(c.cookies)

		query := "?header=who:X-Who"
		if c.name == "sid" {
			query += "&cookie=sid"
		}
		req, err := http.NewRequest("GET", "http://"+s.server.listeners[0].Addr().String()+"/auth"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+s.secret)
		req.Header["Cookie"] = []string{cookies}
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		readAll(res)
		who := res.Header.Get("X-Who") // none where the token is of no session
		if created[c.want] == "" && who != "" || created[c.want] != "" && who != c.want {
			t.Errorf("/auth with %s: %d, the session %q, want %q", c.cookies, res.StatusCode, who, c.want)
		}

		a := &asked{}
		m := &session.Manager{Client: a, Mode: session.Navigations, Cookie: session.Cookie{Name: c.name}}
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Cookie"] = []string{cookies}
		m.Handler(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r)
		want := c.want
		if tok, ok := created[want]; ok {
			want = tok
		}
		if a.token != want {
			t.Errorf("the middleware with %s: %q, want %q", c.cookies, a.token, want)
		}
	}
}
