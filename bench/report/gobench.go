package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// args returns the flags that go test has for these benchmarks. With a prefix of test. they are
// those of the test's own binary.
func (g benchmarks) args(prefix string) []string {
	return []string{
		"-" + prefix + "run", "^$", "-" + prefix + "bench", g.pattern,
		"-" + prefix + "benchtime", g.time, "-" + prefix + "count", strconv.Itoa(g.count),
	}
}

// runBenchmarks runs those of the plan.
func (b *bench) runBenchmarks(ctx context.Context) error {
	for _, g := range b.plan.benchmarks {
		if err := b.runGo(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// runExchanges lets the engines take turns, each in a process of its own: what else the machine
// does hits them all, and none finds the memory as another one has left it.
func (b *bench) runExchanges(ctx context.Context) error {
	for _, g := range b.plan.exchanges {
		for range g.count {
			for _, engine := range engineOrder {
				if err := b.runGo(ctx, g.of(engine)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// of returns one run of an engine.
func (g benchmarks) of(engine string) benchmarks {
	return benchmarks{strings.Replace(g.pattern, "/./", "/^engine="+engine+"$/", 1), g.time, 1}
}

func (b *bench) runGo(ctx context.Context, g benchmarks) error {
	return b.runTests(g, exec.CommandContext(ctx, b.programPath("bench.test"), g.args("test.")...))
}

// runTests runs the binary of a package's tests.
func (b *bench) runTests(g benchmarks, cmd *exec.Cmd) error {
	log.Print(g.pattern)
	cmd.Stdout, cmd.Stderr = b.raw, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", g.pattern, err)
	}
	return nil
}
