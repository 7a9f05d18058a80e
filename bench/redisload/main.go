// Command redisload loads a Redis server with the job of a Token Server: exchanges of sessions'
// tokens, each one EVALSHA on one key. Every connection sends as fast as it gets answers, every
// answer is checked, and no request allocates.
//
// Here the client does what a Token Server does itself, drawing a nonce and hashing it, so that
// all that Redis pays for is to look up, compare and store. The digests are not those of real
// nonces, to leave more of the load's processor to the load.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"
)

// Exit codes of the command.
const (
	exitOK     = 0
	exitFailed = 1 // a wrong answer, or the run itself failed
	exitUsage  = 2
)

// Config is what the flags choose.
type Config struct {
	Address     string
	Connections int
	Pipeline    int           // requests that a connection sends before it waits for their answers
	Sessions    int           // sessions to create before the load begins
	MetaSize    int           // bytes of every session's metadata
	Lifetime    time.Duration // idle lifetime of a session
	WarmUp      time.Duration // load before the measurement begins
	Duration    time.Duration // length of the measurement; 0 only creates the sessions
	JSON        bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// execute runs the program with args and returns its exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := parseFlags(args, stdout)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintln(stderr, "redisload:", err)
		return exitUsage
	}
	r, err := run(ctx, c)
	if err == nil {
		err = r.write(stdout, c.JSON)
	}
	if err != nil {
		fmt.Fprintln(stderr, "redisload:", err)
		return exitFailed
	}
	return exitOK
}

func parseFlags(args []string, stdout io.Writer) (*Config, error) {
	c := &Config{}
	f := pflag.NewFlagSet("redisload", pflag.ContinueOnError)
	f.SortFlags = false
	f.SetOutput(io.Discard)
	f.StringVar(&c.Address, "address", "127.0.0.1:6379", "host:port of the server")
	f.IntVarP(&c.Connections, "connections", "c", 64, "connections to keep open, 1 or more")
	f.IntVar(&c.Pipeline, "pipeline", 1, "requests that a connection sends at once; 1 … 64")
	f.IntVar(&c.Sessions, "sessions", 10_000, "sessions to create first, at least one for each connection")
	f.IntVar(&c.MetaSize, "meta-size", 115, "bytes of a session's metadata; 49 … 4096")
	f.DurationVar(&c.Lifetime, "lifetime", 2*time.Hour, "how long a session lives after its last exchange, 1ms or more")
	f.DurationVar(&c.WarmUp, "warm-up", 2*time.Second, "load before the measurement begins")
	f.DurationVarP(&c.Duration, "duration", "d", 10*time.Second, "length of the measurement; 0 only creates the sessions")
	f.BoolVar(&c.JSON, "json", false, "write the report as JSON")
	f.Usage = func() { fmt.Fprint(stdout, "Usage: redisload [flags]\n\n", f.FlagUsages()) }
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	return c, c.validate()
}

func (c *Config) validate() error {
	switch {
	case c.Connections < 1:
		return errors.New("--connections must be 1 or more")
	case c.Pipeline < 1 || c.Pipeline > maxPipeline:
		return fmt.Errorf("--pipeline must be 1 … %d", maxPipeline)
	case c.Sessions < c.Connections:
		return fmt.Errorf("--sessions must be %d or more, one for each connection", c.Connections)
	case c.MetaSize < minMetaSize || c.MetaSize > maxMetaSize:
		return fmt.Errorf("--meta-size must be %d … %d", minMetaSize, maxMetaSize)
	case c.Lifetime < time.Millisecond:
		return errors.New("--lifetime must be 1ms or more")
	case c.WarmUp < 0 || c.Duration < 0:
		return errors.New("--warm-up and --duration must not be negative")
	}
	return nil
}

// report is what a run has found. Latencies are those of the measurement, in microseconds.
type report struct {
	Connections    int     `json:"connections"`
	Pipeline       int     `json:"pipeline"`
	Sessions       int     `json:"sessions"`
	MetaSize       int     `json:"meta_size"`
	PreloadSeconds float64 `json:"preload_seconds"`
	WarmUpSeconds  float64 `json:"warm_up_seconds"`
	Seconds        float64 `json:"seconds"`
	Requests       int64   `json:"requests"`
	Throughput     float64 `json:"throughput"` // requests a second
	Latency        latency `json:"latency_us"`
}

type latency struct {
	P50   float64 `json:"p50"`
	P75   float64 `json:"p75"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p99.9"`
	P9999 float64 `json:"p99.99"`
}

func (r *report) write(w io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	_, err := fmt.Fprintf(w, "%d sessions created in %.2f s\n%d exchanges in %.2f s: %.0f/s, latency p50 %.0f µs, p99 %.0f µs, p99.9 %.0f µs\n",
		r.Sessions, r.PreloadSeconds, r.Requests, r.Seconds, r.Throughput, r.Latency.P50, r.Latency.P99, r.Latency.P999)
	return err
}
