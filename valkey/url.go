package valkey

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// DefaultPrefix is what keys begin with unless a prefix is given.
const DefaultPrefix = "ts:"

// Engine is where an engine is, and how it is talked to. It prints without the password.
type Engine struct {
	// Hosts are host:port: of one engine, of several nodes of a cluster, or of Sentinels.
	Hosts []string
	// Sentinel is the name by which Sentinels know the engine; empty if Hosts are none.
	Sentinel string
	// TLS says that connections are encrypted, and certificates checked.
	TLS bool
	// Username and Password are what to log in with, if they are not empty.
	Username, Password string
	// Prefix is what all keys begin with. Empty means DefaultPrefix.
	Prefix string
	// DB is the number of the database. A cluster has but 0.
	DB int
}

const (
	defaultPort  = "6379"
	sentinelPort = "26379"
	maxPrefix    = 64
)

// ParseURL reads where an engine is from valkey://user:password@host:port,host:port/db with
// ?prefix= and ?sentinel=. The scheme may be redis too, and valkeys or rediss for TLS. Its
// errors are one line, and have no password.
func ParseURL(text string) (Engine, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	e := Engine{TLS: scheme == "valkeys" || scheme == "rediss"}
	if !ok || !e.TLS && scheme != "valkey" && scheme != "redis" {
		return Engine{}, errors.New("must be valkey://, valkeys://, redis:// or rediss:// and hosts")
	}
	// Several hosts are more than net/url reads.
	rest, query, _ := strings.Cut(rest, "?")
	if err := e.parseQuery(query); err != nil {
		return Engine{}, err
	}
	authority, path, _ := strings.Cut(rest, "/")
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		if err := e.parseUser(authority[:at]); err != nil {
			return Engine{}, err
		}
		authority = authority[at+1:]
	}
	if err := e.parseHosts(authority); err != nil {
		return Engine{}, err
	}
	return e, e.parseDB(path)
}

func (e *Engine) parseQuery(text string) error {
	query, err := url.ParseQuery(text)
	if err != nil {
		return errors.New("the part behind ? must be prefix=… and sentinel=…")
	}
	for name, values := range query {
		switch {
		case len(values) > 1:
			return fmt.Errorf("%s is given twice", name)
		case name == "prefix":
			e.Prefix = values[0]
		case name == "sentinel":
			e.Sentinel = values[0]
		default:
			return fmt.Errorf("%q is not known: must be prefix or sentinel", name)
		}
	}
	if strings.ContainsAny(e.Prefix, "{}") || len(e.Prefix) > maxPrefix {
		return fmt.Errorf("the prefix must have %d characters at most, and no braces", maxPrefix)
	}
	if query.Has("sentinel") && e.Sentinel == "" {
		return errors.New("sentinel must be the name of a primary")
	}
	return nil
}

func (e *Engine) parseUser(text string) (err error) {
	user, password, _ := strings.Cut(text, ":")
	if e.Username, err = url.PathUnescape(user); err == nil {
		e.Password, err = url.PathUnescape(password)
	}
	if err != nil {
		return errors.New("user and password must have % as %25, / as %2F and @ as %40")
	}
	return nil
}

func (e *Engine) parseHosts(text string) error {
	for host := range strings.SplitSeq(text, ",") {
		port := defaultPort
		if e.Sentinel != "" {
			port = sentinelPort
		}
		if name, given, err := net.SplitHostPort(host); err == nil {
			host, port = name, given
		}
		host = strings.Trim(host, "[]")
		if n, err := strconv.Atoi(port); host == "" || err != nil || n < 1 || n > 65535 {
			return errors.New("each host must be a name or an address, with a port from 1 to 65535 if it has one")
		}
		e.Hosts = append(e.Hosts, net.JoinHostPort(host, port))
	}
	return nil
}

func (e *Engine) parseDB(text string) (err error) {
	if text == "" {
		return nil
	}
	if e.DB, err = strconv.Atoi(text); err != nil || e.DB < 0 {
		return errors.New("the database must be a number")
	}
	return nil
}

// String returns where the engine is, without user and password.
func (e Engine) String() string {
	text := "valkey://"
	if e.TLS {
		text = "valkeys://"
	}
	text += strings.Join(e.Hosts, ",")
	if e.DB != 0 {
		text += "/" + strconv.Itoa(e.DB)
	}
	if e.Sentinel != "" {
		text += "?sentinel=" + url.QueryEscape(e.Sentinel)
	}
	return text
}

// GoString is String, so that no verb prints the password.
func (e Engine) GoString() string { return e.String() }

func (e *Engine) tlsConfig() *tls.Config {
	if !e.TLS {
		return nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(e.Hosts) == 1 {
		c.ServerName, _, _ = net.SplitHostPort(e.Hosts[0])
	}
	return c
}
