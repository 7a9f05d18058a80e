package flags

import "testing"

func TestParseHost(t *testing.T) {
	tests := []struct{ text, want string }{
		{"127.0.0.1", "127.0.0.1"},
		{"::1", "::1"},
		{"[::1]", "::1"},
		{"::ffff:127.0.0.1", "::ffff:127.0.0.1"},
		{"localhost", "localhost"},
		{"LocalHost", "LocalHost"},
		{"localhost.", "localhost."},
		{"0.0.0.0", "0.0.0.0"},
		{"::", "::"},
		{"[::]", "::"},
		{"fe80::1%eth0", "fe80::1%eth0"},
		{"localhost.example.com", "localhost.example.com"},
		{"token-1", "token-1"},
		{"1.tokens.example.com", "1.tokens.example.com"},
	}
	for _, tt := range tests {
		if got, err := ParseHost(tt.text); err != nil || got != tt.want {
			t.Errorf("ParseHost(%q) = %q, %v, want %q", tt.text, got, err, tt.want)
		}
	}
}

func TestParseHostRefuses(t *testing.T) {
	for _, text := range []string{
		"", " ", "127.0.0.1:80", "localhost:80", ":80", "[::1]:80", "[::1", "::1]", "[127.0.0.1]", "[localhost]", "[]",
		"256.0.0.1", "127.0.0", "1", "::g", "http://localhost", "a b", "a..b", ".a", "a/b", "a\nb", "é",
	} {
		if got, err := ParseHost(text); err == nil {
			t.Errorf("ParseHost(%q) = %q, want an error", text, got)
		}
	}
}

func TestParseAddress(t *testing.T) {
	tests := []struct {
		text, host string
		port       uint16
	}{
		{"127.0.0.1:3667", "127.0.0.1", 3667},
		{"localhost:65535", "localhost", 65535},
		{"[::1]:0", "::1", 0},
		{":80", "", 80},
	}
	for _, tt := range tests {
		host, port, err := ParseAddress(tt.text)
		if err != nil || host != tt.host || port != tt.port {
			t.Errorf("ParseAddress(%q) = %q, %d, %v, want %q, %d", tt.text, host, port, err, tt.host, tt.port)
		}
		if got := JoinAddress(host, port); got != tt.text {
			t.Errorf("JoinAddress(%q, %d) = %q, want %q", host, port, got, tt.text)
		}
	}
}

func TestParseAddressRefuses(t *testing.T) {
	for _, text := range []string{
		"", "127.0.0.1", "::1", "::1:80", "localhost:", "localhost:http", "localhost:-1", "localhost:+1", "localhost:65536", "300.0.0.1:80", "a b:80",
	} {
		if host, port, err := ParseAddress(text); err == nil {
			t.Errorf("ParseAddress(%q) = %q, %d, want an error", text, host, port)
		}
	}
}
