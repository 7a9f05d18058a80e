package main

import (
	"net"
	"strings"
	"testing"
)

// addressed is a listener on an address.
type addressed struct {
	net.Listener
	addr net.Addr
}

func (l addressed) Addr() net.Addr { return l.addr }

func TestIsLoopback(t *testing.T) {
	tests := []struct {
		ip   string
		want bool
	}{
		{"127.0.0.1", true},
		{"127.8.9.10", true},
		{"::1", true},
		{"::ffff:127.0.0.1", true},
		{"0.0.0.0", false},
		{"::", false},
		{"192.168.1.5", false},
		{"fe80::1", false},
	}
	for _, tt := range tests {
		if got := isLoopback(addressed{addr: &net.TCPAddr{IP: net.ParseIP(tt.ip)}}); got != tt.want {
			t.Errorf("isLoopback(%s) = %v, want %v", tt.ip, got, tt.want)
		}
	}
	if isLoopback(addressed{addr: &net.TCPAddr{}}) {
		t.Error("a listener on all addresses is taken for loopback")
	}
	if !isLoopback(addressed{addr: &net.UnixAddr{Name: "/run/a", Net: "unix"}}) {
		t.Error("a unix socket is not taken for loopback")
	}
}

func TestParseAdminAddress(t *testing.T) {
	tests := []struct{ text, want string }{
		{"off", "off"},
		{"127.0.0.1:3667", "127.0.0.1:3667"},
		{"127.0.0.1:0", "127.0.0.1:0"},
		{"localhost:65535", "localhost:65535"},
		{"[::1]:3667", "[::1]:3667"},
		{":3667", ":3667"},
		{"unix:/run/admin", "unix:/run/admin"},
	}
	for _, tt := range tests {
		if got, err := parseAdminAddress(tt.text); err != nil || got != tt.want {
			t.Errorf("parseAdminAddress(%q) = %q, %v, want %q", tt.text, got, err, tt.want)
		}
	}
	for _, text := range []string{
		"", "Off", "none", "127.0.0.1", "::1", "::1:80", "localhost:", "localhost:http", "localhost:-1", "localhost:+1", "localhost:65536", "300.0.0.1:80", "a b:80",
	} {
		if got, err := parseAdminAddress(text); err == nil {
			t.Errorf("parseAdminAddress(%q) = %q, want an error", text, got)
		}
	}
}

func TestListenAddresses(t *testing.T) {
	c := Config{Port: 3666, Addresses: []string{"127.0.0.1", "::1", "127.0.0.1:80", "[::1]:0", "localhost", "localhost:1", "fe80::1%eth0"}}
	want := "127.0.0.1:3666 [::1]:3666 127.0.0.1:80 [::1]:0 localhost:3666 localhost:1 [fe80::1%eth0]:3666"
	if got := strings.Join(c.listenAddresses(), " "); got != want {
		t.Errorf("listenAddresses() = %q, want %q", got, want)
	}
}

// TestAddressesClash: where one socket has been given twice, a start would fail half way.
func TestAddressesClash(t *testing.T) {
	const port = "3666"
	tests := []struct {
		addresses string // separated by blanks
		admin     string
		want      int // errors
	}{
		{"127.0.0.1", "127.0.0.1:3667", 0},
		{"127.0.0.1", "127.0.0.1:" + port, 1},
		{"127.0.0.1:0", "127.0.0.1:0", 0},
		{"127.0.0.1", "127.0.0.2:" + port, 0},
		{"127.0.0.1 ::ffff:127.0.0.1", "off", 1},
		{"::1 0:0::1", "[::1]:" + port, 2},
		{"fe80::1%a fe80::1%b", "off", 0},
		{"fe80::1%a", "[fe80::1%a]:" + port, 1},
		{"localhost", "LocalHost.:" + port, 1},
		{"0.0.0.0", "127.0.0.1:" + port, 1},
		{"0.0.0.0", "[::1]:" + port, 0},
		{"0.0.0.0", "tokens.example:" + port, 0},
		{"127.0.0.1", ":" + port, 1},
		{"::1 127.0.0.1", "[::]:" + port, 1},
		{":: 0.0.0.0", "off", 1},
		{"unix:/run/a", "unix:/run/a", 1},
		{"unix:/run/a unix:/run/b", "unix:/run/c", 0},
		{"unix:/run/a unix:/run/a", "off", 1},
		{"unix:/run/:3666", ":" + port, 0},
	}
	for _, tt := range tests {
		c := Config{Port: 3666, Addresses: strings.Fields(tt.addresses), AdminAddress: tt.admin}
		if got := c.checkAddresses(); len(got) != tt.want {
			t.Errorf("--address %s --admin-address %s: %v, want %d errors", tt.addresses, tt.admin, got, tt.want)
		}
	}
}

// TestListenOn: an address is listened on, and no other.
func TestListenOn(t *testing.T) {
	const v4, v6 = "127.0.0.1", "::1"
	if ln, err := net.Listen("tcp6", "[::1]:0"); err != nil {
		t.Skipf("no IPv6 on this machine: %v", err)
	} else {
		ln.Close()
	}
	tests := []struct {
		host           string
		wantV4, wantV6 bool
	}{
		{"0.0.0.0", true, false},
		{"::ffff:0.0.0.0", true, false},
		{"127.0.0.1", true, false},
		{"::", true, true},
		{"", true, true}, // as --admin-address has it
		{"::1", false, true},
	}
	for _, tt := range tests {
		ln, err := new(Config).listenOn(net.JoinHostPort(tt.host, "0"))
		if err != nil {
			t.Errorf("new(Config).listenOn(%q) = %v", tt.host, err)
			continue
		}
		_, port, _ := net.SplitHostPort(ln.Addr().String())
		if gotV4, gotV6 := reaches(v4, port), reaches(v6, port); gotV4 != tt.wantV4 || gotV6 != tt.wantV6 {
			t.Errorf("on %q: reached by IPv4 %v, by IPv6 %v, want %v, %v", tt.host, gotV4, gotV6, tt.wantV4, tt.wantV6)
		}
		ln.Close()
	}
}

func reaches(host, port string) bool {
	c, err := net.Dial("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// TestSeveralAddresses: each answers, has its line in the log, and is closed at the stop.
func TestSeveralAddresses(t *testing.T) {
	m, log := run(t, "--address=127.0.0.1", "--address=127.0.0.2:0", "--address=localhost")
	if got := strings.Count(log.String(), "msg=listening"); got != 3 {
		t.Errorf("%d lines with msg=listening, want 3:\n%s", got, log)
	}
	for _, ln := range m.listeners {
		url := "http://" + ln.Addr().String()
		if status, _ := do(t, "GET", url+"/healthz", ""); status != 200 {
			t.Errorf("GET %s/healthz = %d, want 200", url, status)
		}
		if !strings.Contains(log.String(), "msg=listening address="+ln.Addr().String()+"\n") {
			t.Errorf("log has no line for %s:\n%s", ln.Addr(), log)
		}
	}
}

// TestOneAddressIsTaken: nothing is listened on then.
func TestOneAddressIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	m, _ := newMain(t, "--address=127.0.0.2", "--address="+taken.Addr().String())
	if err := m.Run(); err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Fatalf("Run() = %v, want an error that names %s", err, taken.Addr())
	}
	if c, err := net.Dial("tcp", m.listeners[0].Addr().String()); err == nil {
		c.Close()
		t.Errorf("%s is still listened on", m.listeners[0].Addr())
	}
}
