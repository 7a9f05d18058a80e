package main

import "testing"

func TestParseHost(t *testing.T) {
	tests := []struct {
		text     string
		want     string
		loopback bool
	}{
		{"127.0.0.1", "127.0.0.1", true},
		{"127.8.9.10", "127.8.9.10", true},
		{"::1", "::1", true},
		{"[::1]", "::1", true},
		{"::ffff:127.0.0.1", "::ffff:127.0.0.1", true},
		{"localhost", "localhost", true},
		{"LocalHost", "LocalHost", true},
		{"0.0.0.0", "0.0.0.0", false},
		{"::", "::", false},
		{"[::]", "::", false},
		{"192.168.1.5", "192.168.1.5", false},
		{"fe80::1%eth0", "fe80::1%eth0", false},
		{"localhost.example.com", "localhost.example.com", false},
		{"token-1", "token-1", false},
		{"1.tokens.example.com", "1.tokens.example.com", false},
	}
	for _, tt := range tests {
		got, err := parseHost(tt.text)
		if err != nil || got != tt.want {
			t.Errorf("parseHost(%q) = %q, %v, want %q", tt.text, got, err, tt.want)
		}
		if loopback := isLoopback(got); loopback != tt.loopback {
			t.Errorf("isLoopback(%q) = %v, want %v", got, loopback, tt.loopback)
		}
	}
}

func TestParseHostRefuses(t *testing.T) {
	for _, text := range []string{
		"", " ", "127.0.0.1:80", "localhost:80", ":80", "[::1]:80", "[::1", "::1]", "[127.0.0.1]", "[localhost]", "[]",
		"256.0.0.1", "127.0.0", "1", "::g", "http://localhost", "a b", "a..b", ".a", "a/b", "a\nb", "é",
	} {
		if got, err := parseHost(text); err == nil {
			t.Errorf("parseHost(%q) = %q, want an error", text, got)
		}
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

func TestEmptyHostIsNotLoopback(t *testing.T) {
	if isLoopback("") {
		t.Error(`isLoopback("") = true, want false: it is every address`)
	}
}
