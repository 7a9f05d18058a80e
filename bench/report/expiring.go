package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"tokenserver/server"
	"tokenserver/shard"
	"tokenserver/token"
)

// expiringServer as the first argument makes this program a Token Server whose sessions live
// for seconds, which its command line does not allow.
const expiringServer = "expiring-server"

const (
	// purgeInterval is the shortest that the command line allows.
	purgeInterval = time.Second

	// purgedFormat is the line that the server writes when it ends.
	purgedFormat = "purged %d\n"
)

// runExpiringServer serves until ctx ends. From its start on it creates sessions of its own, so
// many in so much time, that are left to expire.
func runExpiringServer(ctx context.Context, args []string) error {
	flags := pflag.NewFlagSet(expiringServer, pflag.ContinueOnError)
	address := flags.String("address", "127.0.0.1:0", "host:port to listen on")
	lifetime := flags.Duration("lifetime", time.Hour, "how long a session lives without an exchange")
	sessions := flags.Int("sessions", 0, "sessions to create")
	spread := flags.Duration("spread", time.Second, "the time that they are created in")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", *address)
	if err != nil {
		return err
	}
	store := shard.New(shard.Config{Lifetime: *lifetime, PurgeInterval: purgeInterval})
	defer store.Close()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return createEvenly(ctx, store, *sessions, *spread) })
	group.Go(func() error { return serve(ctx, store, ln) })
	if err := group.Wait(); err != nil {
		return err
	}
	return writePurged(os.Stdout, store)
}

func writePurged(w io.Writer, store *shard.Store) error {
	_, err := fmt.Fprintf(w, purgedFormat, store.Stats().Purged)
	return err
}

// serve answers requests from the store until ctx ends.
func serve(ctx context.Context, store *shard.Store, ln net.Listener) error {
	s := server.New(server.Config{Store: store, Logger: slog.New(slog.DiscardHandler)})
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() { stopped <- s.Shutdown(context.Background()) })
	if err := s.Serve(ln); err != nil {
		return err
	}
	return <-stopped
}

// createEvenly creates n sessions in the time of spread, or fewer if ctx ends.
func createEvenly(ctx context.Context, store *shard.Store, n int, spread time.Duration) error {
	const batch = 500
	meta := restingMetadata()
	start := time.Now()
	for i := range n {
		if i%batch == 0 {
			time.Sleep(time.Until(start.Add(spread * time.Duration(i) / time.Duration(n))))
		}
		if ctx.Err() != nil {
			return nil
		}
		if _, err := store.Create(ctx, token.NewSession{Meta: meta}); err != nil {
			return err
		}
	}
	return nil
}

// restingMetadata is as large as that of the load.
func restingMetadata() []byte {
	meta := []byte(`{"user":"at rest","data":"`)
	for len(meta) < metaSize-len(`"}`) {
		meta = append(meta, 'x')
	}
	return append(meta, `"}`...)
}
