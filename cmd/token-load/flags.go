package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/pflag"
)

// Config is what the flags choose.
type Config struct {
	Address     string
	Connections int
	Pipeline    int           // requests that a connection sends before it waits for their answers
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

const maxSeed = math.MaxInt32

const usage = `Usage: token-load [flags]

Loads a Token Server like a busy web tier and checks every answer. Without --rate
each connection sends as fast as it gets answers (closed loop). With --rate the
requests have fixed starting times, and latency counts from those (open loop), so
that a server that stalls can't hide it.

A session that was idle for longer than the server's token lifetime is gone, which
counts as an error: keep a run shorter. Against a server with a grace for spent
tokens, leave replay out of the mix. Where no session is left, a create takes the
place of any operation, and an exchange that of a replay as long as no token is spent.

An interrupt ends the run early, with a report of what was done, as soon as the
requests under way are answered or timed out; a second one ends it at once. The exit
code is 0 if no answer was wrong, 1 if one was or the run failed, 2 for a bad flag.

Flags:
`

// ParseFlags fills m.Config from args. It returns pflag.ErrHelp after it has printed the help,
// and otherwise an error that names the flag, its value and what is allowed.
func (m *Main) ParseFlags(args []string) error {
	c := &m.Config
	c.Mix = defaultMix
	flags := c.flagSet()
	flags.Usage = func() { fmt.Fprint(m.Stdout, usage, flags.FlagUsages()) }
	if err := flags.Parse(args); err != nil {
		return explain(err)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: only flags are allowed", flags.Arg(0))
	}
	if c.Seed == 0 {
		c.Seed = 1 + rand.IntN(maxSeed)
	}
	return c.validate()
}

// explain adds what is allowed where pflag does not say it.
func explain(err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) && invalid.GetFlag().Value.Type() == "bool" {
		return fmt.Errorf("invalid argument %q for \"--%s\" flag: must be true or false", invalid.GetValue(), invalid.GetFlag().Name)
	}
	return err
}

func (c *Config) flagSet() *pflag.FlagSet {
	flags := pflag.NewFlagSet("token-load", pflag.ContinueOnError)
	flags.SortFlags = false
	flags.SetOutput(io.Discard)
	flags.StringVar(&c.Address, "address", "127.0.0.1:3666", "host:port of the server")
	flags.VarP(newWhole(&c.Connections, 64, 1, 65535), "connections", "c", "connections to keep open; 1 … 65535")
	flags.Var(newWhole(&c.Pipeline, 1, 1, 1024), "pipeline", "requests that a connection sends at once; 1 … 1024")
	flags.Var(newWhole(&c.Rate, 0, 0, 10_000_000), "rate", "requests a second over all connections; 0 … 10000000, 0 is as fast as they go")
	flags.Var(&c.Mix, "mix", "weights of create, exchange, patch (an exchange with a patch), validate, delete and replay (of a spent token)")
	flags.Var(newWhole(&c.Sessions, 10_000, 0, 10_000_000), "sessions", "sessions to create first; 0 … 10000000")
	flags.Var(newWhole(&c.MetaSize, 115, minMetaSize, 16<<20), "meta-size", fmt.Sprintf("bytes of a session's metadata; %d … %d", minMetaSize, 16<<20))
	flags.VarP(newSpan(&c.Duration, 10*time.Second, 100*time.Millisecond, 24*time.Hour), "duration", "d", "length of the measurement; 100ms … 24h")
	flags.Var(newSpan(&c.WarmUp, 2*time.Second, 0, time.Hour), "warm-up", "load before the measurement begins; 0s … 1h")
	flags.Var(newSpan(&c.Timeout, 10*time.Second, 10*time.Millisecond, 10*time.Minute), "timeout", "longest wait for an answer; 10ms … 10m")
	flags.Var(newWhole(&c.Seed, 0, 0, maxSeed), "seed", "seed of all random choices; 0 … 2147483647, 0 takes one and reports it")
	flags.BoolVar(&c.Unchecked, "unchecked", false, "look at statuses only and keep the first tokens: for a server of constant answers")
	flags.BoolVar(&c.JSON, "json", false, "write the report as JSON")
	flags.StringVar(&c.Plot, "plot", "", "write a plot of the latency percentiles to this .svg file")
	flags.StringVar(&c.PlotTitle, "plot-title", "Token Server latency", "title of the plot")
	return flags
}

// validate checks what one flag alone can't tell.
func (c *Config) validate() error {
	if err := checkAddress(c.Address); err != nil {
		return fmt.Errorf("invalid argument %q for \"--address\" flag: %w", c.Address, err)
	}
	if c.Plot != "" && filepath.Ext(c.Plot) != ".svg" {
		return fmt.Errorf("invalid argument %q for \"--plot\" flag: must end in .svg", c.Plot)
	}
	// With fewer, a pipelined batch would run out of sessions and create more instead.
	if least := c.Connections * c.Pipeline; c.Mix.needsSessions() && c.Sessions < least {
		return fmt.Errorf("invalid argument \"%d\" for \"--sessions\" flag: with %d connections and a pipeline of %d it must be %d … 10000000",
			c.Sessions, c.Connections, c.Pipeline, least)
	}
	return nil
}

func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return errors.New("must be host:port")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return errors.New("must be host:port with a port of 1 … 65535")
	}
	return nil
}

// whole is a flag for a whole number within a range.
type whole struct {
	value    *int
	min, max int
}

func newWhole(p *int, value, least, most int) *whole {
	*p = value
	return &whole{p, least, most}
}

func (w *whole) String() string { return strconv.Itoa(*w.value) }
func (w *whole) Type() string   { return "number" }

func (w *whole) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < w.min || n > w.max {
		return fmt.Errorf("must be a whole number, %d … %d", w.min, w.max)
	}
	*w.value = n
	return nil
}

// span is a flag for a duration within a range.
type span struct {
	value    *time.Duration
	min, max time.Duration
}

func newSpan(p *time.Duration, value, least, most time.Duration) *span {
	*p = value
	return &span{p, least, most}
}

func (s *span) String() string { return s.value.String() }
func (s *span) Type() string   { return "duration" }

func (s *span) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil || d < s.min || d > s.max {
		return fmt.Errorf("must be a duration such as 90s or 1m30s, %s … %s", s.min, s.max)
	}
	*s.value = d
	return nil
}
