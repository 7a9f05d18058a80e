// Command report measures the Token Server beside its peers and writes what it has found:
//
//   - go test -bench on ./bench: the store and the handlers beside other engines;
//   - the server beside redis-server and bare fasthttp, under the same load;
//   - the memory that a session takes in a running server;
//   - latency while very many sessions expire;
//   - the durable mode beside redis-server that syncs as often, and beside the memory mode;
//   - the shared mode beside redis-benchmark, on an engine that has one processor;
//   - what connections, pipelining, shards and the garbage collector's settings change.
//
// Everything comes out as lines of go test -bench, in one file that benchstat reads, and as a
// report with medians, ratios, targets and plots. It takes 40 minutes on two processors,
// and needs Linux, two processors that do nothing else, taskset and redis-server. Data goes to
// the directory for temporary files ($TMPDIR), which has to be on a disk.
//
// With --plot it measures nothing, and draws the plots of a stored result again.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"
)

func main() {
	log.SetFlags(log.Ltime)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := runReport
	if len(os.Args) > 1 && os.Args[1] == expiringServer {
		run = runExpiringServer
	}
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, pflag.ErrHelp) {
		log.Fatal("report: ", err)
	}
}

// busyMachine is a load average at which somebody else is at work.
const busyMachine = 0.5

// bench is one run of this command.
type bench struct {
	plan     plan
	programs string    // the directory of the programs that it has built
	raw      io.Writer // lines of go test -bench
}

func runReport(ctx context.Context, args []string) error {
	flags := pflag.NewFlagSet("report", pflag.ContinueOnError)
	quick := flags.Bool("quick", false, "try everything in about three minutes; the figures are worth nothing")
	out := flags.String("out", "bench/results", "directory for the report")
	again := flags.String("again", "", "measure only this step once more, into the report of today: "+strings.Join(stepNames(), ", "))
	stored := flags.String("plot", "", "measure nothing, and draw the plots of this .txt file again, beside it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *stored != "" {
		return replot(*stored)
	}
	if *again != "" && !slices.Contains(stepNames(), *again) {
		return fmt.Errorf("--again=%s: there are the steps %s", *again, strings.Join(stepNames(), ", "))
	}
	if err := checkMachine(); err != nil {
		return err
	}
	machine, err := readMachine(ctx)
	if err != nil {
		return err
	}
	if machine.load >= busyMachine {
		log.Printf("the load average is %.2f: other programs are running, and the figures will be poor", machine.load)
	}
	p := fullPlan(machine.memory, machine.disk)
	if *quick {
		p = quickPlan()
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	return measure(ctx, p, machine, newOutput(*out, time.Now(), machine.cpu), *again)
}

// measure does all of the plan, or one step again, and writes the report.
func measure(ctx context.Context, p plan, machine *machine, out output, again string) error {
	programs, err := buildPrograms(ctx)
	if err != nil {
		return err
	}
	defer os.RemoveAll(programs)
	// A run that fails must not replace what an earlier one has found.
	unfinished := out.path(".txt.unfinished")
	defer os.Remove(unfinished) // if it has not become the result
	if err := measureInto(ctx, unfinished, &bench{plan: p, programs: programs}, again); err != nil {
		return err
	}
	if again != "" {
		if err := keepOthers(unfinished, out.path(".txt")); err != nil {
			return err
		}
	}
	if err := os.Rename(unfinished, out.path(".txt")); err != nil {
		return err
	}
	rs, err := readResults(out.path(".txt"))
	if err != nil {
		return err
	}
	r := &report{results: rs, machine: machine, plan: p, date: out.date}
	log.Print("writing ", out.path(".md"))
	return r.write(out)
}

// measureInto measures everything into a file, and shows the lines as they come.
func measureInto(ctx context.Context, path string, b *bench, step string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	b.raw = io.MultiWriter(f, os.Stderr)
	b.writeHeader()
	return errors.Join(b.measureSteps(ctx, step), f.Close())
}

// steps are what a run does. The servers come first: they want the machine to themselves the
// most, and a panic of theirs should show early.
var steps = []struct {
	name string
	do   func(*bench, context.Context) error
}{
	{"load", (*bench).measureLoad},
	{"memory", (*bench).measureResident},
	{"expiry", (*bench).measureExpiry},
	{"durable", (*bench).measureDurable},
	{"shared", (*bench).measureShared},
	{"tuning", (*bench).measureTuning},
	{"exchange", (*bench).runExchanges},
	{"benchmarks", (*bench).runBenchmarks},
}

func stepNames() (names []string) {
	for _, step := range steps {
		names = append(names, step.name)
	}
	return names
}

// measureSteps does the step of a name, or all of them.
func (b *bench) measureSteps(ctx context.Context, name string) error {
	for _, step := range steps {
		if name != "" && step.name != name {
			continue
		}
		log.Print(step.name)
		if err := step.do(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}
