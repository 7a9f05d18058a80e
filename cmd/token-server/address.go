package main

import (
	"errors"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// adminOff is the value of --admin-address that means no admin listener.
const adminOff = "off"

var (
	errAddress = errors.New("no address")
	// hostName has a letter in its last label, so that no mistyped IP address is one.
	hostName = regexp.MustCompile(`^(?:[A-Za-z0-9_-]+\.)*[A-Za-z0-9_-]*[A-Za-z_-][A-Za-z0-9_-]*\.?$`)
)

func newHost(target *string) *value[string] {
	return &value[string]{
		target:  target,
		kind:    "host",
		parse:   parseHost,
		format:  func(s string) string { return s },
		allowed: "an IP address or a host name, without a port",
	}
}

func newAdminAddress(target *string) *value[string] {
	return &value[string]{
		target:  target,
		kind:    "host:port",
		parse:   parseAdminAddress,
		format:  func(s string) string { return s },
		allowed: "host:port with a port of 0 … 65535, or off",
	}
}

// parseHost reads a host name or an IP address; an IPv6 one may be in brackets.
func parseHost(text string) (string, error) {
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

// parseAdminAddress reads host:port or off. An empty host is every address of the machine.
func parseAdminAddress(text string) (string, error) {
	if text == adminOff {
		return text, nil
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", errAddress
	}
	if host != "" {
		if host, err = parseHost(host); err != nil {
			return "", err
		}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), err
}

// isLoopback reports whether a listener on host can be reached from this machine alone.
func isLoopback(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost")
}
