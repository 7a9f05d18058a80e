package flags

import (
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

var (
	errAddress = errors.New("flags: no address")
	// maxSocketPath is how long the path of a unix socket may be, in bytes.
	maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1
	// hostName has a letter in its last label, so that no mistyped IP address is one.
	hostName = regexp.MustCompile(`^(?:[A-Za-z0-9_-]+\.)*[A-Za-z0-9_-]*[A-Za-z_-][A-Za-z0-9_-]*\.?$`)
)

// UnixPrefix is what the address of a unix socket begins with.
const UnixPrefix = "unix:"

// Listen is an address to listen on: a host, a host and a port of 0 … 65535, or a unix
// socket. See ParseListen.
func Listen(target *string) *Typed[string] {
	return &Typed[string]{
		Target: target,
		Kind:   "host[:port]",
		Parse:  ParseListen,
		Format: plain,
		Range:  "an IP address or a host name, or one with a port of 0 … 65535, or unix:/path",
	}
}

// ParseListen reads a host, host:port, or unix:/path. An IPv6 address with a port is in
// brackets.
func ParseListen(text string) (string, error) {
	if strings.HasPrefix(text, UnixPrefix) {
		return ParseSocket(text)
	}
	if host, err := ParseHost(text); err == nil {
		return host, nil
	}
	host, port, err := ParseAddress(text)
	if err != nil || host == "" {
		return "", errAddress
	}
	return JoinAddress(host, port), nil
}

// Address is a host and a port to connect to.
func Address(target *string) *Typed[string] {
	return &Typed[string]{
		Target: target,
		Kind:   "host:port",
		Parse:  parseRemote,
		Format: plain,
		Range:  "host:port with a port of 1 … 65535",
	}
}

// parseRemote reads an address that has a host, and a port that is not 0.
func parseRemote(text string) (string, error) {
	host, port, err := ParseAddress(text)
	if err != nil || host == "" || port == 0 {
		return "", errAddress
	}
	return JoinAddress(host, port), nil
}

// ParseSocket reads unix:/path, with an absolute path that fits into a socket's address.
func ParseSocket(text string) (string, error) {
	path, ok := strings.CutPrefix(text, UnixPrefix)
	if !ok || !filepath.IsAbs(path) || len(path) > maxSocketPath {
		return "", errAddress
	}
	return UnixPrefix + filepath.Clean(path), nil
}

// ParseHost reads a host name or an IP address, which is not looked up. An IPv6
// address may be in brackets, which are taken off.
func ParseHost(text string) (string, error) {
	if inner, ok := strings.CutPrefix(text, "["); ok {
		text, ok = strings.CutSuffix(inner, "]")
		if !ok || !strings.Contains(text, ":") {
			return "", errAddress
		}
	}
	if _, err := netip.ParseAddr(text); err != nil && !hostName.MatchString(text) {
		return "", errAddress
	}
	return text, nil
}

// ParseAddress reads host:port with a port of 0 … 65535. The host may be empty.
func ParseAddress(text string) (host string, port uint16, err error) {
	host, digits, err := net.SplitHostPort(text)
	if err != nil {
		return "", 0, errAddress
	}
	if host != "" {
		if host, err = ParseHost(host); err != nil {
			return "", 0, err
		}
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	return host, uint16(n), err
}

// JoinAddress is the inverse of ParseAddress.
func JoinAddress(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}
