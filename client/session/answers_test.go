package session

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestWayBack: where a browser is sent after a log in, which is a path on this host.
func TestWayBack(t *testing.T) {
	for _, c := range []struct{ back, want string }{
		{"/", "/"},
		{"/a/b?c=d&e=%20#f", "/a/b?c=d&e=%20#f"},
		{"/a?next=//evil.example", "/a?next=//evil.example"},
		{"/%2Fevil.example", "/%2Fevil.example"}, // stays a path
		{"/%5Cevil.example", "/%5Cevil.example"},
		{"", "/"},
		{"a", "/"},
		{"?a", "/"},
		{"//evil.example", "/"},
		{"///evil.example", "/"},
		{`/\evil.example`, "/"},
		{`\/evil.example`, "/"},
		{`\\evil.example`, "/"},
		{`/a\b`, "/"},
		{"https:evil.example", "/"},
		{"https://evil.example/", "/"},
		{"javascript:alert(1)", "/"},
		{"/\t/evil.example", "/"},
		{"\t//evil.example", "/"},
		{" //evil.example", "/"},
		{"/\n/evil.example", "/"},
		{"/a b", "/"},
		{"/a\r\nSet-Cookie: b=c", "/"},
		{"/\x00/evil.example", "/"},
		{"/\x7f", "/"},
		{"/é", "/"},
		{"/%", "/"},
		{"/" + strings.Repeat("a", maxWayBack), "/"},
	} {
		r := httptest.NewRequest("GET", "/login?next="+url.QueryEscape(c.back), nil)
		if got := WayBack(r); got != c.want {
			t.Errorf("WayBack(%q) = %q, want %q", c.back, got, c.want)
		}
		form := httptest.NewRequest("POST", "/login", strings.NewReader(url.Values{wayBack: {c.back}}.Encode()))
		form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if got := WayBack(form); got != c.want {
			t.Errorf("WayBack(%q) of a form = %q, want %q", c.back, got, c.want)
		}
	}
}

// TestLoginURL: a way back that is made is one that is taken.
func TestLoginURL(t *testing.T) {
	for _, c := range []struct{ login, uri, want string }{
		{"/login", "/a?b=c", "/login?next=%2Fa%3Fb%3Dc"},
		{"/login?a=b", "/a", "/login?a=b&next=%2Fa"},
		{"/login", "//evil.example", "/login"},
		{"/login", "http://evil.example/a", "/login?next=%2Fa"},
		{"/login", "http://evil.example//evil.example", "/login"},
		{"/login", `/\evil.example`, "/login?next=%2F%255Cevil.example"}, // a path, and taken for one
		{"/login", "*", "/login"},
	} {
		m := &Manager{LoginPath: c.login}
		u, err := url.ParseRequestURI(c.uri)
		if err != nil {
			u = &url.URL{Path: c.uri}
		}
		r := &http.Request{Method: "GET", RequestURI: c.uri, URL: u}
		if got := m.loginURL(r); got != c.want {
			t.Errorf("loginURL(%q) = %q, want %q", c.uri, got, c.want)
		}
	}
}

// FuzzWayBack: no browser leaves this host for what is local, as one resolves
// references: without control characters, and with / for \.
func FuzzWayBack(f *testing.F) {
	for _, seed := range []string{"/a", "//evil", `/\evil`, "/\t/evil", "https:evil", "/a?b#c"} {
		f.Add(seed)
	}
	base, _ := url.Parse("https://shop.example/login")
	f.Fuzz(func(t *testing.T, ref string) {
		if !isLocal(ref) {
			return
		}
		seen := strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(strings.Trim(ref, "\x00 "))
		u, err := base.Parse(seen)
		if err != nil || u.Host != base.Host || u.Scheme != base.Scheme {
			t.Errorf("%q leads to %v, %v", ref, u, err)
		}
	})
}

func TestCookie(t *testing.T) {
	for _, c := range []struct {
		name   string
		cookie Cookie
		host   string
		want   string
		out    string
	}{
		{"default", Cookie{}, "shop.example", "__Host-token=T; Path=/; HttpOnly; Secure; SameSite=Lax", "__Host-token=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"},
		{"kept", Cookie{MaxAge: 1<<33 + 1}, "shop.example", "__Host-token=T; Path=/; Max-Age=8; HttpOnly; Secure; SameSite=Lax", "__Host-token=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"},
		{"path", Cookie{Path: "/shop"}, "shop.example", "token=T; Path=/shop; HttpOnly; Secure; SameSite=Lax", "token=; Path=/shop; Max-Age=0; HttpOnly; Secure; SameSite=Lax"},
		{"domain", Cookie{Domain: "shop.example"}, "a.shop.example", "token=T; Path=/; Domain=shop.example; HttpOnly; Secure; SameSite=Lax", "token=; Path=/; Domain=shop.example; Max-Age=0; HttpOnly; Secure; SameSite=Lax"},
		{"development", Cookie{Insecure: true}, "localhost:8080", "token=T; Path=/; HttpOnly; SameSite=Lax", "token=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"},
		{"development by IPv6", Cookie{Insecure: true, Name: "__Host-a"}, "[::1]:8080", "a=T; Path=/; HttpOnly; SameSite=Lax", "a=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"},
		{"development by IPv4", Cookie{Insecure: true, Name: "a"}, "127.0.0.2", "a=T; Path=/; HttpOnly; SameSite=Lax", "a=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"},
		{"development, in small letters", Cookie{Insecure: true, Name: "__host-a"}, "localhost", "a=T; Path=/; HttpOnly; SameSite=Lax", "a=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"},
		{"development, another prefix", Cookie{Insecure: true, Name: "__Secure-a", Path: "/a"}, "localhost", "a=T; Path=/a; HttpOnly; SameSite=Lax", "a=; Path=/a; Max-Age=0; HttpOnly; SameSite=Lax"},
		{"development, the longest prefix", Cookie{Insecure: true, Name: "__Host-Http-a"}, "localhost", "a=T; Path=/; HttpOnly; SameSite=Lax", "a=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"},
		{"another prefix", Cookie{Insecure: true, Name: "__Secure-a"}, "shop.example", "__Secure-a=T; Path=/; HttpOnly; Secure; SameSite=Lax", "__Secure-a=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"},
		{"kept for a second", Cookie{MaxAge: time.Second}, "shop.example", "__Host-token=T; Path=/; Max-Age=1; HttpOnly; Secure; SameSite=Lax", "__Host-token=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"},
		{"development that is none", Cookie{Insecure: true}, "localhost.example", "__Host-token=T; Path=/; HttpOnly; Secure; SameSite=Lax", "__Host-token=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"},
	} {
		r := httptest.NewRequest("GET", "http://"+c.host+"/", nil)
		if err := c.cookie.check(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := c.cookie.header(r, "T"); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if got := c.cookie.header(r, ""); got != c.out {
			t.Errorf("%s, cleared: %s, want %s", c.name, got, c.out)
		}
		c.cookie.Add(r, "T")
		c.cookie.Add(r, "second")
		if got := c.cookie.token(r); got != "T" {
			t.Errorf("%s: token = %q, want T", c.name, got)
		}
	}
	for _, cookie := range []Cookie{{Name: "a b"}, {Name: "__Host-a", Path: "/a"}, {Name: "__host-a", Domain: "a.example"}, {Domain: "a b"}, {Path: "/;"}, {Path: "shop"},
		{Name: "__Host-Http-a", Path: "/a"}, {Name: "__Host-", Insecure: true}, {Name: "__secure-", Insecure: true},
		{MaxAge: time.Second - 1}, {MaxAge: -1}, {MaxAge: -time.Hour}} {
		if cookie.check() == nil {
			t.Errorf("%+v is accepted", cookie)
		}
	}
}

func TestManagerRefuses(t *testing.T) {
	for _, m := range []*Manager{{}, {Client: nobody{}, Cookie: Cookie{Name: "a b"}}, {Client: nobody{}, CSRFKey: make([]byte, 31)}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v is accepted", m)
				}
			}()
			m.Handler(http.NotFoundHandler())
		}()
	}
}

// nobody is a client that is never called.
type nobody struct{ Client }
