package session

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// Cookie describes the cookie that has the token. It is always HttpOnly and
// SameSite=Lax. The zero value is __Host-token: Secure, of this host alone, for all
// paths, until the browser is closed.
type Cookie struct {
	// Name is that of the cookie. Empty means __Host-token, or token where that is
	// forbidden: with Domain, Path or Insecure.
	Name string
	// Domain has subdomains get the cookie too. Empty means this host alone. Path is the
	// one under which it is sent, and begins with /. Empty means /.
	Domain, Path string
	// MaxAge is how long a browser keeps the cookie, to the second: 1 s or more. 0 means
	// until it is closed.
	MaxAge time.Duration
	// Insecure is for development: on localhost and loopback addresses the cookie is
	// not Secure and its name has no __Host- or __Secure-, so that it works on plain
	// http. On other hosts it has no effect.
	Insecure bool
}

const (
	hostPrefix = "__Host-"
	plainName  = "token"
)

// securePrefixes are what the name of a cookie begins with, in any case, that a browser
// takes only if it is Secure. The first of them that a name has is taken away as a whole.
var securePrefixes = []string{"__Host-Http-", hostPrefix, "__Secure-", "__Http-"}

// check returns an error if no browser would take the cookie.
func (c *Cookie) check() error {
	for _, plain := range []bool{false, c.Insecure} {
		cookie := http.Cookie{Name: c.name(plain), Domain: c.Domain, Path: c.path()}
		if err := cookie.Valid(); err != nil {
			return fmt.Errorf("session: %w", err)
		}
	}
	switch {
	case hasPrefix(c.Name, hostPrefix) && (c.Domain != "" || c.path() != "/"):
		return errors.New("session: a cookie whose name begins with __Host- must have no Domain and no Path")
	case c.path()[0] != '/': // a browser would take that of the page instead
		return fmt.Errorf("session: Cookie.Path is %q: it must begin with /", c.Path)
	case c.MaxAge != 0 && c.MaxAge < time.Second:
		return fmt.Errorf("session: Cookie.MaxAge is %v: it must be 0, or 1s or more", c.MaxAge)
	}
	return nil
}

// hasPrefix says whether a name begins with a prefix, in any case, as browsers see it.
func hasPrefix(name, prefix string) bool {
	return len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
}

// withoutPrefix returns a name for a cookie that is not Secure.
func withoutPrefix(name string) string {
	for _, prefix := range securePrefixes {
		if hasPrefix(name, prefix) {
			return name[len(prefix):]
		}
	}
	return name
}

func (c *Cookie) path() string {
	if c.Path == "" {
		return "/"
	}
	return c.Path
}

// name returns the cookie's name. plain says that it is not Secure.
func (c *Cookie) name(plain bool) string {
	switch {
	case plain && c.Name != "":
		return withoutPrefix(c.Name)
	case c.Name != "":
		return c.Name
	case plain, c.Domain != "", c.path() != "/":
		return plainName
	}
	return hostPrefix + plainName
}

// plain says whether the cookie of a request is not Secure.
func (c *Cookie) plain(r *http.Request) bool {
	return c.Insecure && r.TLS == nil && isLoopback(r.Host)
}

func isLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	return strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback()
}

// token returns the token of a request, or an empty text. Of several cookies of the
// name it is the first that could be a token: browsers put the one with the longest
// path first.
func (c *Cookie) token(r *http.Request) string {
	for _, cookie := range r.CookiesNamed(c.name(c.plain(r))) {
		if isToken(cookie.Value) {
			return cookie.Value
		}
	}
	return ""
}

// Add gives a request the cookie with a token, as a browser does: for tests.
func (c *Cookie) Add(r *http.Request, token string) {
	r.AddCookie(&http.Cookie{Name: c.name(c.plain(r)), Value: token})
}

// maxToken is the length in bytes beyond which nothing is a token.
const maxToken = 256

// isToken says whether a text could be a token.
func isToken(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return 0 < len(text) && len(text) <= maxToken
}

// header returns the value of Set-Cookie that gives the browser a token, or takes its
// cookie away if there is none.
func (c *Cookie) header(r *http.Request, token string) string {
	plain := c.plain(r)
	cookie := http.Cookie{
		Name: c.name(plain), Value: token, Domain: c.Domain, Path: c.path(),
		MaxAge: int(c.MaxAge / time.Second), Secure: !plain, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if token == "" {
		cookie.MaxAge = -1
	}
	return cookie.String()
}
