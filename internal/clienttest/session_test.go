package clienttest

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"tokenserver/client"
	"tokenserver/client/session"
	"tokenserver/client/session/sessiontest"
	"tokenserver/internal/clock"
	"tokenserver/server"
	"tokenserver/shard"
)

// TestSessiontest: a server passes the suite that the stand-in for it passes.
func TestSessiontest(t *testing.T) {
	sessiontest.Run(t, func(t *testing.T, cfg sessiontest.Config) (session.Client, func(time.Duration)) {
		machine := clock.NewFake()
		ticking := clock.New(machine)
		address := startMemory(t, shard.Config{
			Lifetime: cfg.Lifetime, Grace: cfg.Grace, RevokeOnReuse: cfg.RevokeOnReuse, MaxMeta: cfg.MaxMeta,
			Clock: ticking,
		})
		return newClient(t, client.Config{Addresses: []string{address}}), func(d time.Duration) {
			machine.Suspend(d)
			ticking.WallZero() // has the clock look
		}
	})
}

// startMemory starts a server in memory mode, and closes its clock at the end.
func startMemory(t testing.TB, cfg shard.Config) (address string) {
	t.Helper()
	store := shard.New(cfg)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := server.New(server.Config{Store: store, StoreID: func() string { return "memory" }, Logger: slog.New(slog.DiscardHandler)})
	served := make(chan struct{})
	go func() { defer close(served); s.Serve(ln) }()
	t.Cleanup(func() {
		s.ShutdownNow(context.Background())
		<-served
		store.Close()
		if cfg.Clock != nil {
			cfg.Clock.Close()
		}
	})
	return ln.Addr().String()
}
