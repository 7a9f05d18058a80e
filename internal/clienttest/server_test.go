// Package clienttest tests the Go client with a server.
package clienttest

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tokenserver/client"
	"tokenserver/durable"
	"tokenserver/server"
	"tokenserver/shard"
)

// TestMain finds goroutines of the client that are left. Those of fasthttp end late.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// node is a server in durable mode that is stopped and started.
type node struct {
	t       testing.TB
	dir     string
	address string
	cfg     shard.Config

	store  *durable.Store
	server *server.Server
	served chan struct{}
}

func startNode(t testing.TB, cfg shard.Config) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), address: "127.0.0.1:0", cfg: cfg}
	n.start()
	t.Cleanup(n.stop)
	return n
}

// start answers from now on, and loads the sessions meanwhile.
func (n *node) start() {
	n.t.Helper()
	store, err := durable.Open(durable.Config{Dir: n.dir, Store: n.cfg})
	if err != nil {
		n.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", n.address)
	if err != nil {
		n.t.Fatal(err)
	}
	n.address, n.store, n.served = ln.Addr().String(), store, make(chan struct{})
	n.server = server.New(server.Config{Store: store, Ready: store.Ready, StoreID: store.ID, Logger: slog.New(slog.DiscardHandler)})
	go func() { defer close(n.served); n.server.Serve(ln) }()
	if err := store.Load(context.Background()); err != nil {
		n.t.Fatal(err)
	}
}

// stop is a graceful one, as a SIGTERM is.
func (n *node) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := n.server.Shutdown(ctx); err != nil {
		n.t.Error(err)
	}
	<-n.served
	if err := n.store.Close(); err != nil {
		n.t.Error(err)
	}
}

func newClient(t testing.TB, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
