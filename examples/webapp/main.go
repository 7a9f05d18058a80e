// Webapp is a web application whose sessions are kept by Token Server: log in, choose a
// year, a month and a business unit, and go through the pages, with all of that in the
// metadata of a token that each page exchanges for a new one.
//
// Start it by make demo, which starts a token server too.
package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"tokenserver/client"
)

func main() {
	address := pflag.String("address", "127.0.0.1:8080", "address to listen on, on loopback: the cookie has to work without https")
	servers := pflag.StringSlice("token-server", []string{"127.0.0.1:3666"}, "addresses of token servers: host:port or unix:/path")
	grace := pflag.Duration("grace", 0, "the --grace of the token server: with one, requests whose outcome is unknown are asked again")
	pflag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *address, client.Config{Addresses: *servers, RetryUnknown: *grace > 0}); err != nil {
		slog.Error("ended", "error", err)
		os.Exit(1)
	}
}

// run serves the application until ctx is done.
func run(ctx context.Context, address string, cfg client.Config) error {
	tokens, err := client.New(cfg)
	if err != nil {
		return err
	}
	defer tokens.Close()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: newApp(tokens), ReadHeaderTimeout: 10 * time.Second}
	slog.Info("open the address in a browser", "address", "http://"+listener.Addr().String())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(stopping); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}
