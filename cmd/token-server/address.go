package main

import (
	"net/netip"
	"strings"

	"tokenserver/internal/flags"
)

const defaultAdminAddress = "127.0.0.1:3667"

// adminOff is the value of --admin-address that means no admin listener.
const adminOff = "off"

func newAdminAddress(target *string) flags.Value {
	v := flags.Address(target)
	v.Parse = parseAdminAddress
	v.Range = "host:port with a port of 0 … 65535, or off"
	return v
}

// parseAdminAddress reads host:port or off. An empty host is every address of the machine.
func parseAdminAddress(text string) (string, error) {
	if text == adminOff {
		return text, nil
	}
	host, port, err := flags.ParseAddress(text)
	return flags.JoinAddress(host, port), err
}

// isLoopback reports whether a listener on host can be reached from this machine alone.
func isLoopback(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost")
}
