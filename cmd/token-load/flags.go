package main

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"time"

	"tokenserver/internal/flags"
	"tokenserver/token"
)

// Config is what the flags choose.
type Config struct {
	Address     string
	Connections int
	Pipeline    int           // requests that a connection sends before it waits for their answers
	Batch       int           // requests that travel in one, as a batch
	Client      bool          // by the Go client, which decides what travels together
	Rate        int           // requests a second over all connections; 0 is the closed loop
	Mix         mix           // weights of the operations
	MetaSize    int           // bytes of every session's metadata
	Sessions    int           // sessions to create before the load begins
	WarmUp      time.Duration // load before the measurement begins
	Duration    time.Duration // length of the measurement
	Timeout     time.Duration // longest wait for an answer
	Seed        int           // of all random choices
	Unchecked   bool          // look at statuses only
	JSON        bool
	Plot        string // path of an SVG file, or empty
	PlotTitle   string
}

// The greatest values of flags.
const (
	maxConnections = math.MaxUint16
	maxPipeline    = 1024
	maxBatch       = 4096
	maxRate        = 10_000_000
	maxSessions    = 10_000_000
	maxMetaSize    = token.MaxMetaLimit
	maxSeed        = math.MaxInt32
)

func defaultConfig() Config {
	return Config{
		Address:     "127.0.0.1:3666",
		Connections: 64,
		Pipeline:    1,
		Batch:       1,
		Mix:         defaultMix,
		MetaSize:    115,
		Sessions:    10_000,
		WarmUp:      2 * time.Second,
		Duration:    10 * time.Second,
		Timeout:     10 * time.Second,
		PlotTitle:   "Token Server latency",
	}
}

const usage = `Usage: token-load [flags]

Loads a Token Server like a busy web tier and checks every answer. Without --rate
each connection sends as fast as it gets answers (closed loop). With --rate the
requests have fixed starting times, and latency counts from those (open loop), so
that a server that stalls can't hide it.

A session that was idle for longer than the server's token lifetime is gone, which
counts as an error: keep a run shorter. Against a server with a grace for spent
tokens, leave replay out of the mix. Where no session is left, a create takes the
place of any operation, and an exchange that of a replay as long as no token is spent.

With --batch requests travel together, also those that create the sessions. They are
counted and timed one by one all the same. The server has to take as many items, and
so large a body (--max-batch, --max-batch-body).

An interrupt ends the run early, with a report of what was done, as soon as the
requests under way are answered or timed out; a second one ends it at once. The exit
code is 0 if no answer was wrong, 1 if one was or the run failed, 2 for a bad flag.

Flags:
`

// ParseFlags fills m.Config from args. It returns flags.ErrHelp after it has printed the help,
// and otherwise an error, one line, that names the flag, its value and what is allowed.
func (m *Main) ParseFlags(args []string) error {
	m.Config = defaultConfig()
	set := m.Config.flagSet()
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flags.ErrHelp) {
			fmt.Fprint(m.Stdout, usage, set.Usages())
		}
		return err
	}
	if m.Config.Seed == 0 {
		m.Config.Seed = 1 + rand.IntN(maxSeed)
	}
	return m.Config.check()
}

// flagSet defines the flags over c, whose values are the defaults.
func (c *Config) flagSet() *flags.Set {
	s := flags.New("token-load", nil)
	s.Var(flags.Address(&c.Address), "address", "address of the server")
	s.VarP(flags.Number(&c.Connections, 1, maxConnections), "connections", "c", "connections to keep open")
	s.Var(flags.Number(&c.Pipeline, 1, maxPipeline), "pipeline", "requests that a connection sends at once")
	s.Var(flags.Number(&c.Batch, 1, maxBatch), "batch", "requests that travel together as the items of one batch")
	s.Var(flags.Switch(&c.Client), "client", "have as many goroutines call the Go client as there are connections otherwise")
	s.Var(flags.Number(&c.Rate, 0, maxRate), "rate", "requests a second over all connections, of which 0 is as fast as they go")
	s.Var(&c.Mix, "mix", "weights of the operations (a patch is an exchange with a patch, a replay one of a spent token)")
	s.Var(flags.Number(&c.Sessions, 0, maxSessions), "sessions", "sessions to create first")
	s.Var(flags.Number(&c.MetaSize, minMetaSize, maxMetaSize), "meta-size", "bytes of a session's metadata")
	s.VarP(flags.Duration(&c.Duration, 100*time.Millisecond, 24*time.Hour), "duration", "d", "length of the measurement")
	s.Var(flags.Duration(&c.WarmUp, 0, time.Hour), "warm-up", "load before the measurement begins")
	s.Var(flags.Duration(&c.Timeout, 10*time.Millisecond, 10*time.Minute), "timeout", "longest wait for an answer")
	s.Var(flags.Number(&c.Seed, 0, maxSeed), "seed", "seed of all random choices, of which 0 takes one and reports it")
	s.Var(flags.Switch(&c.Unchecked), "unchecked", "look at statuses only and keep the first tokens: for a server of constant answers")
	s.Var(flags.Switch(&c.JSON), "json", "write the report as JSON")
	s.Var(newPlotPath(&c.Plot), "plot", "file for a plot of the latency percentiles")
	s.Var(flags.Text(&c.PlotTitle), "plot-title", "title of the plot")
	return s
}

// newPlotPath makes a flag for the path of an SVG file, of which an empty one means none.
func newPlotPath(target *string) flags.Value {
	v := flags.Path(target)
	v.Range = "a path that ends in .svg"
	v.Valid = func(path string) bool { return path == "" || filepath.Ext(path) == ".svg" }
	return v
}

// check checks what no flag can check alone.
func (c *Config) check() error {
	switch {
	case c.Batch > 1 && c.Pipeline > 1:
		return fmt.Errorf("--batch \"%d\": can't be had together with a --pipeline", c.Batch)
	case c.Client && c.atOnce() > 1:
		return errors.New("--client \"true\": decides itself what travels together, without --pipeline and --batch")
	}
	// With fewer, what is sent at once would run out of sessions and create more instead.
	if least := c.Connections * c.atOnce(); c.Mix.needsSessions() && c.Sessions < least {
		return fmt.Errorf("--sessions \"%d\": must be %d … %d with %d connections and %d requests at once on each",
			c.Sessions, least, maxSessions, c.Connections, c.atOnce())
	}
	return nil
}

// atOnce is how many requests a connection sends at once.
func (c *Config) atOnce() int { return max(c.Pipeline, c.Batch) }
