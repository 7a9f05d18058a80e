package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"

	"tokenserver/admin/console"
)

// target is where a server that runs with these flags is asked.
type target struct {
	name    string // of the address, as the flag has it
	network string
	address string
	tls     *tls.Config // nil for plain HTTP
}

// healthTarget returns the admin listener, or where that is off the first address. Its answer
// is no secret, nor is what it is sent: a server whose certificate has been renewed in the
// file alone does as well as it did.
func (c *Config) healthTarget() (t target, err error) {
	if c.AdminAddress == adminOff {
		t, err = c.target(c.listenAddresses()[0], c.TLSCert != "")
	} else {
		t, err = c.adminTarget()
	}
	if t.tls != nil {
		t.tls.VerifyConnection = nil
	}
	return t, err
}

// adminTarget returns the admin listener, which speaks TLS beyond loopback alone.
func (c *Config) adminTarget() (t target, err error) {
	if c.AdminAddress == adminOff {
		return t, errors.New("--admin-address off: there is no admin listener to ask")
	}
	t, err = c.target(c.AdminAddress, false)
	if err != nil || c.TLSCert == "" || isLocal(t) {
		return t, err
	}
	return c.target(c.AdminAddress, true)
}

// isLocal says whether a listener is one of loopback, or a unix socket. One on every address
// is not, though it is asked there.
func isLocal(t target) bool {
	if t.network == "unix" {
		return true
	}
	host, _, err := net.SplitHostPort(t.name)
	ip, _, _ := net.SplitHostPort(t.address)
	return err == nil && !isWildcard(host) && net.ParseIP(ip).IsLoopback()
}

// isOfThisMachine says whether what is sent there stays on this machine.
func isOfThisMachine(t target) bool {
	if isLocal(t) {
		return true
	}
	to, err := netip.ParseAddrPort(t.address)
	own, ownErr := net.InterfaceAddrs()
	return err == nil && ownErr == nil && slices.ContainsFunc(own, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && prefix.Addr() == to.Addr().Unmap().WithZone("")
	})
}

func (c *Config) target(address string, overTLS bool) (t target, err error) {
	t.name = address
	if path, ok := socketPath(address); ok {
		t.network, t.address = "unix", path
	} else if t.address, err = reachable(address); err != nil {
		return t, err
	} else {
		t.network = "tcp"
	}
	if overTLS {
		t.tls, err = c.clientTLS()
	}
	return t, err
}

// reachable returns the address of a listener on this machine, with an IP address: a name is
// looked up as the listener does, and every address is asked on loopback.
func reachable(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	switch {
	case err != nil:
		return "", err
	case port == "0":
		return "", fmt.Errorf("%s: a port that was picked is not known", address)
	case host == "" || host == "0.0.0.0":
		return net.JoinHostPort("127.0.0.1", port), nil
	case isWildcard(host):
		return net.JoinHostPort("::1", port), nil
	}
	resolved, err := net.ResolveTCPAddr(networkOf(host), address)
	if err != nil {
		return "", err
	}
	return resolved.String(), nil
}

// isWildcard says whether a host is every address of the machine.
func isWildcard(host string) bool {
	return host == "" || net.ParseIP(host).IsUnspecified()
}

// clientTLS returns settings with the server's own certificate: it is what the server must
// have, and what it is shown as the caller's. By names nothing is checked: the address is one
// of this machine.
func (c *Config) clientTLS() (*tls.Config, error) {
	identity, errs := c.readIdentity()
	if len(errs) > 0 {
		return nil, errs[0]
	}
	own := identity.Certificate
	return &tls.Config{
		Certificates:       []tls.Certificate{own},
		InsecureSkipVerify: true, // see VerifyConnection
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 || !bytes.Equal(s.PeerCertificates[0].Raw, own.Certificate[0]) {
				return fmt.Errorf("the server has another certificate than --tls-cert %q: has it been reloaded?", c.TLSCert)
			}
			return nil
		},
	}, nil
}

// request sends a request, with the secret of a file if one is named.
func (t target) request(ctx context.Context, method, path, secretFile string) (*http.Response, error) {
	scheme, host := "http", t.address
	if t.tls != nil {
		scheme = "https"
	}
	if t.network == "unix" {
		host = "localhost"
	}
	req, err := http.NewRequestWithContext(ctx, method, scheme+"://"+host+path, nil)
	if err != nil {
		return nil, err
	}
	if secretFile != "" {
		if t.tls == nil && !isOfThisMachine(t) {
			return nil, fmt.Errorf("--caller-secret-file %q: the secret would go over the network in clear to %s: it needs TLS (--tls-cert, --tls-key)", secretFile, t.name)
		}
		secret, err := readPrivate(secretFile, 1)
		if err != nil {
			return nil, fmt.Errorf("--caller-secret-file %q: must be a file %s: %w", secretFile, privateNeeds, err)
		}
		req.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(secret)))
	}
	var dialer net.Dialer
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, t.network, t.address)
		},
		TLSClientConfig:   t.tls,
		DisableKeepAlives: true,
	}
	return transport.RoundTrip(req)
}

// maxRefusal is how much of an answer is looked at for its reason, in bytes.
const maxRefusal = 4 << 10

// refusal returns the reason of an answer other than 200. Whoever has taken the address may
// have written it, and it is shown on a terminal.
func refusal(res *http.Response) error {
	if res.StatusCode == http.StatusOK {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxRefusal))
	var answer struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(text, &answer) == nil && answer.Message != "" {
		return errors.New(console.Printable(res.Status + ": " + answer.Message))
	}
	return errors.New(console.Printable(res.Status))
}
