// Command simulate tells how long exchanges take in shared mode on a fleet of token servers and
// primaries, at several loads and while a primary fails over.
//
// # Basics
//
// Token servers and engines are stations of one processor each, which work in cycles as event
// loops do: a cycle takes all that waits, and what has come over one connection shares the cost
// of a read and a write. Requests come at random times to random servers, and their sessions lie
// on random primaries. The unit costs are those of [measured]; each is drawn anew every time,
// half of its mean at least. The same seed gives the same figures.
//
// # Caveats
//
// What is not there: pauses of the garbage collector, of forks and of disks, packets that are
// lost, and processors that others use too. A real p99.9 is worse.
package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"os"
	"time"

	"github.com/spf13/pflag"
)

func main() {
	log.SetFlags(0)
	if err := run(os.Args[1:], os.Stdout); err != nil && !errors.Is(err, pflag.ErrHelp) {
		log.Fatal("simulate: ", err)
	}
}

// loads are shares of what a fleet can do.
var loads = []float64{0.60, 0.80, 0.95}

func run(args []string, w io.Writer) error {
	c := config{costs: measured.costs()}
	f := pflag.NewFlagSet("simulate", pflag.ContinueOnError)
	f.SortFlags = false
	f.IntVar(&c.servers, "servers", 4, "token servers, of one processor each")
	f.IntVar(&c.primaries, "primaries", 3, "primaries")
	f.IntVar(&c.items, "items", 1, "exchanges of a request: more than one is a batch")
	f.Uint64Var(&c.seed, "seed", 1, "seed of all random choices")
	duration := f.Duration("duration", time.Second, "time to measure at each load, after as long a time to warm up")
	away := f.Duration("failover", 2500*time.Millisecond, "how long a primary is away")
	waits := f.Duration("timeout", 500*time.Millisecond, "how long a request waits for it: --valkey-timeout")
	if err := f.Parse(args); err != nil {
		return err
	}
	if c.servers < 1 || c.primaries < 1 || c.items < 1 || *duration <= 0 || *away <= 0 || *waits <= 0 {
		return errors.New("all flags must be greater than 0")
	}
	c.duration, c.warmUp, c.timeout = micros(*duration), micros(*duration), micros(*waits)
	c.writeLoads(w)
	c.writeFailover(w, loads[0], micros(*away))
	return nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func (c config) writeLoads(w io.Writer) {
	capacity, byEngines := c.capacity()
	limit := "token servers"
	if byEngines {
		limit = "engines"
	}
	fmt.Fprintf(w, "%d token servers and %d primaries, seed %d: at most %.0f exchanges a second, limited by the %s\n\n",
		c.servers, c.primaries, c.seed, capacity*float64(c.items), limit)
	fmt.Fprintln(w, "| load | exchanges/s | p50, ms | p99, ms | p99.9, ms | 503 | engines busy | servers busy | read together |")
	fmt.Fprintln(w, "|---|---:|---:|---:|---:|---:|---:|---:|---:|")
	for _, load := range loads {
		c.rate = load * capacity
		r := c.run()
		p := r.percentiles(c.warmUp, c.warmUp+c.duration, 50, 99, 99.9)
		fmt.Fprintf(w, "| %.0f %% | %.0f | %s | %s | %s | %.2f %% | %.0f %% | %.0f %% | %.1f |\n", 100*load, c.rate*float64(c.items),
			millis(p[0]), millis(p[1]), millis(p[2]),
			100*r.refusedShare(c.warmUp, c.warmUp+c.duration), 100*r.enginesBusy, 100*r.serversBusy, r.together)
	}
}

// slice is how long the parts are in which the time after a failover is looked at, and parts
// how many there are.
const (
	slice = 100_000
	parts = 5
)

func (c config) writeFailover(w io.Writer, load, away float64) {
	capacity, _ := c.capacity()
	c.rate, c.down, c.duration = load*capacity, away, away+parts*slice
	r := c.run()
	back := c.warmUp + away
	p := r.percentiles(c.warmUp, back, 50, 99)
	fmt.Fprintf(w, "\nOne primary is away for %.1f s, at %.0f %%: %.2f %% of the answers meanwhile are 503. p50 and p99 of the others: %s and %s ms. "+
		"p99 in the slices of %d ms after:", away/1e6, 100*load, 100*r.refusedShare(c.warmUp, back), millis(p[0]), millis(p[1]), slice/1000)
	for i := range parts {
		at := back + float64(i)*slice
		fmt.Fprint(w, " ", millis(r.percentiles(at, at+slice, 99)[0]))
	}
	fmt.Fprintln(w, " ms.")
}

// millis writes microseconds as milliseconds, or a dash if nothing was answered.
func millis(micros float64) string {
	if math.IsNaN(micros) {
		return "–"
	}
	return fmt.Sprintf("%.2f", micros/1e3)
}
