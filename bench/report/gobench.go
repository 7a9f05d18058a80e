package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"strconv"
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
		log.Print(g.pattern)
		cmd := exec.CommandContext(ctx, b.programPath("bench.test"), g.args("test.")...)
		cmd.Stdout, cmd.Stderr = b.raw, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w", g.pattern, err)
		}
	}
	return nil
}
