package main

import (
	"context"
	"fmt"
	"os"
)

// How a server keeps its sessions.
const (
	keepsAlways   = "always"   // on disk before it answers
	keepsEverySec = "everysec" // on disk within a second
	keepsMemory   = "memory"   // not on disk
)

// keeper is a server that keeps its sessions in some way.
type keeper struct {
	contender
	keeps string
	flags func(dir string) []string // besides the contender's, for a data directory of its own
}

func (k *keeper) String() string { return k.name + ", " + k.keeps }

// keepers are in the order of the report.
var keepers = []keeper{
	{tokenServer, keepsAlways, dataDir(keepsAlways)},
	{redisKeeper, keepsAlways, func(dir string) []string {
		return []string{"--dir", dir, "--appendonly", "yes", "--appendfsync", "always"}
	}},
	{tokenServer, keepsEverySec, dataDir(keepsEverySec)},
	{tokenServer, keepsMemory, func(string) []string { return nil }},
}

var (
	tokenServer = contenders[0]
	redisKeeper = contender{name: "redis-server", program: "redis-server", args: redisArgs, load: "redisload"}
)

func dataDir(fsync string) func(dir string) []string {
	return func(dir string) []string { return []string{"--data-dir", dir, "--fsync", fsync} }
}

// allArgs returns the arguments of the server.
func (k *keeper) allArgs(host, port, dir string) []string {
	return append(k.args(host, port), k.flags(dir)...)
}

// keeperConnections are the numbers of connections at which the keepers are compared.
var keeperConnections = []int{64, 256}

// measureDurable compares the keepers, in turn. They and their loads use all processors: a
// server that waits for the disk leaves them to others.
func (b *bench) measureDurable(ctx context.Context) error {
	for round := range b.plan.rounds {
		for _, connections := range keeperConnections {
			for i := range keepers {
				k := &keepers[(round+i)%len(keepers)]
				load, name := b.plan.fullLoad(connections, 1), keeperName(k.name, k.keeps, connections)
				if err := b.measureKeeper(ctx, k, load, name); err != nil {
					return fmt.Errorf("%v: %w", k, err)
				}
			}
		}
		if err := b.measureKeepersInBatches(ctx, round); err != nil {
			return err
		}
	}
	return nil
}

// measureKeepersInBatches compares what is on disk before it is answered where many requests
// travel together: in a batch, or in a pipeline as deep.
func (b *bench) measureKeepersInBatches(ctx context.Context, round int) error {
	for i := range 2 {
		k, load := &keepers[(round+i)%2], b.plan.batchLoad()
		if k.name == redisKeeper.name {
			load = b.plan.fullLoad(batchConnections, batchItems)
		}
		if err := b.measureKeeper(ctx, k, load, keeperBatchName(k.name)); err != nil {
			return fmt.Errorf("%v, in batches: %w", k, err)
		}
	}
	return nil
}

// measureKeeper gives the server a new data directory, on the disk of temporary files as all of them.
func (b *bench) measureKeeper(ctx context.Context, k *keeper, load shape, name string) error {
	dir, err := os.MkdirTemp(b.programs, "data")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s, err := startServer(ctx, anyCPU, b.programPath(k.program), func(host, port string) []string {
		return k.allArgs(host, port, dir)
	})
	if err != nil {
		return err
	}
	defer s.stop()
	m, err := b.runLoadOn(ctx, anyCPU, s, &k.contender, load)
	if err != nil {
		return err
	}
	return b.writeFullLoad(name, m)
}

func keeperBatchName(server string) string {
	return fmt.Sprintf("Keep/server=%s/keeps=%s/batch=%d", server, keepsAlways, batchItems)
}

func keeperName(server, keeps string, connections int) string {
	return fmt.Sprintf("Keep/server=%s/keeps=%s/connections=%d", server, keeps, connections)
}
