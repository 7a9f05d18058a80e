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
	// one under which it is sent. Empty means /.
	Domain, Path string
	// MaxAge is how long a browser keeps the cookie, to the second. 0 means until it is
	// closed.
	MaxAge time.Duration
	// Insecure is for development: on localhost and loopback addresses the cookie is
	// not Secure and has no prefix, so that it works on plain http. On other hosts it has
	// no effect.
	Insecure bool
}

const (
	hostPrefix = "__Host-"
	plainName  = "token"
)

// check returns an error if no browser would take the cookie.
func (c *Cookie) check() error {
	cookie := http.Cookie{Name: c.name(false), Domain: c.Domain, Path: c.path()}
	switch {
	case cookie.Valid() != nil:
		return fmt.Errorf("session: %w", cookie.Valid())
	case strings.HasPrefix(strings.ToLower(cookie.Name), "__host-") && (c.Domain != "" || c.path() != "/"):
		return errors.New("session: a cookie whose name begins with __Host- must have no Domain and no Path")
	}
	return nil
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
		return strings.TrimPrefix(c.Name, hostPrefix)
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
