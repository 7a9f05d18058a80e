package main

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"tokenserver/internal/flags"
)

const defaultAdminAddress = "127.0.0.1:3667"

// adminOff is the value of --admin-address that means no admin listener.
const adminOff = "off"

func newAdminAddress(target *string) flags.Value {
	v := flags.Address(target)
	v.Parse = parseAdminAddress
	v.Range = "host:port with a port of 0 … 65535, unix:/path, or off"
	return v
}

// parseAdminAddress reads host:port, unix:/path or off. An empty host is every address of the machine.
func parseAdminAddress(text string) (string, error) {
	if text == adminOff {
		return text, nil
	}
	if strings.HasPrefix(text, flags.UnixPrefix) {
		return flags.ParseSocket(text)
	}
	host, port, err := flags.ParseAddress(text)
	return flags.JoinAddress(host, port), err
}

func newAddresses(target *[]string) flags.Value {
	return &flags.Repeated[string]{Target: target, Each: flags.Listen(new(string))}
}

// listenAddresses returns the addresses to listen on, each with a port.
func (c *Config) listenAddresses() []string {
	addresses := make([]string, len(c.Addresses))
	for i, address := range c.Addresses {
		_, isSocket := socketPath(address)
		if _, _, err := flags.ParseAddress(address); err != nil && !isSocket {
			address = net.JoinHostPort(address, strconv.Itoa(c.Port))
		}
		addresses[i] = address
	}
	return addresses
}

// listenOn listens on unix:/path, or on host:port and on nothing else: left to itself, package net
// takes 0.0.0.0 for every address of IPv6 too. Only :: and an empty host are both.
func (c *Config) listenOn(address string) (net.Listener, error) {
	if path, ok := socketPath(address); ok {
		return listenUnix(path, c.SocketMode)
	}
	network := "tcp"
	if host, _, err := net.SplitHostPort(address); err == nil {
		network = networkOf(host)
	}
	return net.Listen(network, address)
}

func networkOf(host string) string {
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return "tcp"
	case ip.Unmap().Is4():
		return "tcp4"
	case ip.IsUnspecified():
		return "tcp"
	}
	return "tcp6"
}

// isLoopback reports whether a listener can be reached from this machine alone, whatever
// name its address had.
func isLoopback(ln net.Listener) bool {
	tcp, ok := ln.Addr().(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}

// addressOf returns the address of a listener as --address has it.
func addressOf(ln net.Listener) string {
	if ln.Addr().Network() == "unix" {
		return flags.UnixPrefix + ln.Addr().String()
	}
	return ln.Addr().String()
}

// newNames makes a flag for names of any kind.
func newNames(target *[]string) flags.Value {
	each := flags.Path(new(string))
	each.Kind, each.Range = "name", "a name"
	return &flags.Repeated[string]{Target: target, Each: each}
}

// newHosts makes a flag for names of hosts.
func newHosts(target *[]string) flags.Value {
	each := flags.Path(new(string))
	each.Kind, each.Range, each.Parse = "host", "a host name", flags.ParseHost
	return &flags.Repeated[string]{Target: target, Each: each}
}

// bound is an address that a flag has given.
type bound struct{ flag, address string }

// checkAddresses finds addresses that one socket has been given for.
func (c *Config) checkAddresses() (errs []error) {
	var all []bound
	for _, address := range c.listenAddresses() {
		all = append(all, bound{"--address", address})
	}
	if c.AdminAddress != adminOff {
		all = append(all, bound{"--admin-address", c.AdminAddress})
	}
	for i, b := range all {
		if at := slices.IndexFunc(all[:i], b.clashes); at >= 0 {
			errs = append(errs, b.clash(all[at]))
		}
	}
	return errs
}

func (b bound) clash(other bound) error {
	if b == other {
		return fmt.Errorf("%s %q: given twice", b.flag, b.address)
	}
	return fmt.Errorf("%s %q: can't be together with %s %q: both need the same socket", b.flag, b.address, other.flag, other.address)
}

// clashes says whether both can't be listened on. Names are not looked up.
func (b bound) clashes(other bound) bool {
	host, port, err := net.SplitHostPort(b.address)
	otherHost, otherPort, otherErr := net.SplitHostPort(other.address)
	if err != nil || otherErr != nil { // a unix socket
		return b.address == other.address
	}
	return port == otherPort && port != "0" && overlap(host, otherHost)
}

// overlap says whether two hosts are the same, or one is among the addresses that the
// other stands for.
func overlap(a, b string) bool {
	return covers(a, b) || covers(b, a) || canonicalHost(a) == canonicalHost(b)
}

// covers says whether a host stands for addresses of which the other is one.
func covers(every, host string) bool {
	network := networkOf(every)
	return isEvery(every) && (network == "tcp" || network == networkOf(host))
}

// isEvery says whether a host stands for all addresses of IPv4, or of the machine.
func isEvery(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.Unmap().IsUnspecified()
}

func canonicalHost(host string) string {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().String()
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
