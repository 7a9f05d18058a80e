package server

import (
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"testing"
)

// TestQueuesOfSockets: what lies in a socket unread, and what is under way, is known of
// unix sockets too, and under TLS.
func TestQueuesOfSockets(t *testing.T) {
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "socket")} {
		ln, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		client, err := net.Dial(network, ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		accepted, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer accepted.Close()
		for name, nc := range map[string]net.Conn{"plain": withHead(accepted), "TLS": withHead(tls.Server(accepted, nil))} {
			if got := unread(nc); got != 0 {
				t.Errorf("%s, %s: %d bytes are unread, want 0", network, name, got)
			}
			const text = "GET / HTTP/1.1\r\n"
			io.WriteString(client, text)
			eventually(t, "it has come", func() bool { return unread(nc) == len(text) })
			io.ReadFull(accepted, make([]byte, len(text)))
			if got := unread(nc); got != 0 {
				t.Errorf("%s, %s: %d bytes are unread after they were read, want 0", network, name, got)
			}
			eventually(t, "nothing is under way", func() bool { return unsent(nc) == 0 })
		}
	}
}
