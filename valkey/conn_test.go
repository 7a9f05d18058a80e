package valkey

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"tokenserver/internal/enginetest"
)

// TestDialFails: whatever a connection fails of while it is made, no call was sent over it, and
// another one may be.
func TestDialFails(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	engine := enginetest.Start(t)
	tests := []struct {
		name, address string
		config        *tls.Config
	}{
		{"nobody listens", "127.0.0.1:1", nil},
		{"nobody listens, TLS", "127.0.0.1:1", &tls.Config{}},
		{"no handshake", silent.Addr().String(), &tls.Config{}},
		{"an engine without TLS", engine.Address(), &tls.Config{}},
	}
	s, err := newStore(Config{Engine: Engine{Hosts: []string{engine.Address()}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err := s.options(1).DialCtxFn(ctx, test.address, &net.Dialer{}, test.config)
			if f := classify(err); f.kind != "network" || f.reached || !f.passes {
				t.Errorf("error %v is %+v, want kind network, that passes and has not reached the engine", err, f)
			}
		})
	}
}
