package main

import "testing"

func TestIsLoopback(t *testing.T) {
	tests := []struct {
		host string
		want bool
	}{
		{"127.0.0.1", true},
		{"127.8.9.10", true},
		{"::1", true},
		{"::ffff:127.0.0.1", true},
		{"localhost", true},
		{"LocalHost", true},
		{"localhost.", true},
		{"", false}, // every address
		{"0.0.0.0", false},
		{"::", false},
		{"192.168.1.5", false},
		{"fe80::1%eth0", false},
		{"localhost.example.com", false},
		{"token-1", false},
	}
	for _, tt := range tests {
		if got := isLoopback(tt.host); got != tt.want {
			t.Errorf("isLoopback(%q) = %v, want %v", tt.host, got, tt.want)
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
