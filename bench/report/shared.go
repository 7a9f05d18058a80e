package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"time"
)

// In shared mode the engine has a processor for itself; token server and load share the other.

// sharedCallers are the numbers of callers at which the store is compared with redis-benchmark.
var sharedCallers = []int{64, 512}

// Names of benchmarks in ./valkey.

func sharedStoreName(callers int) string { return fmt.Sprintf("Shared/by=store/callers=%d", callers) }

const sharedStoreBatchName = "Shared/by=store/batch=64"

func sharedPeerName(callers, pipeline int) string {
	return fmt.Sprintf("Shared/by=redis-benchmark/callers=%d/pipeline=%d", callers, pipeline)
}

// Names of loads over HTTP.
var (
	sharedName      = fmt.Sprintf("SharedLoad/connections=%d", connections)
	sharedBatchName = fmt.Sprintf("SharedLoad/batch=%d", batchItems)
)

// sharedResidentName is of the memory that a session takes in the engine.
func sharedResidentName(sessions int) string {
	return fmt.Sprintf("SharedResident/sessions=%d", sessions)
}

// sharedPatterns name the benchmarks of a round; what is compared stands side by side.
var sharedPatterns = []string{
	"^BenchmarkShared$/./^callers=64$",
	"^BenchmarkShared$/./^callers=512$",
	"^BenchmarkShared$/^by=store$/^(callers=1|batch=64)$",
	"^BenchmarkShared$/^by=redis-benchmark$/^callers=16$",
}

// sharedBenchmarks returns them as they are run.
func (p *plan) sharedBenchmarks() (all []benchmarks) {
	for _, pattern := range sharedPatterns {
		all = append(all, benchmarks{pattern, p.sharedTime, 1})
	}
	return all
}

// sharedArgs are those of the tests of ./valkey, which leave engines alone otherwise.
func (g benchmarks) sharedArgs(prefix string) []string {
	return append(g.args(prefix), "-valkey.engines")
}

// measureShared measures the store alone, beside redis-benchmark, and over HTTP, in turn.
func (b *bench) measureShared(ctx context.Context) error {
	for range b.plan.rounds {
		for _, g := range b.plan.sharedBenchmarks() {
			if err := b.runTests(g, command(ctx, loadCPU, b.programPath("valkey.test"), g.sharedArgs("test.")...)); err != nil {
				return err
			}
		}
		if err := b.measureSharedLoad(ctx, b.plan.batchLoad(), sharedBatchName); err != nil {
			return err
		}
		if err := b.measureSharedLoad(ctx, b.plan.fullLoad(connections, 1), sharedName); err != nil {
			return err
		}
	}
	return b.measureSharedResident(ctx)
}

// sharedPair is an engine and a token server on it.
type sharedPair struct{ engine, server *process }

func (p *sharedPair) stop() {
	p.server.stop()
	p.engine.stop()
}

func sharedEngineArgs(host, port string) []string {
	return append(redisArgs(host, port), "--appendonly", "no")
}

// sharedServerArgs returns the arguments of a token server on an engine.
func sharedServerArgs(engine string) func(host, port string) []string {
	return func(host, port string) []string {
		return append(tokenServerArgs(host, port), "--valkey", "valkey://"+engine)
	}
}

func (b *bench) startShared(ctx context.Context) (*sharedPair, error) {
	engine, err := startServer(ctx, serverCPU, "redis-server", sharedEngineArgs)
	if err != nil {
		return nil, err
	}
	server, err := startServer(ctx, loadCPU, b.programPath("token-server"), sharedServerArgs(engine.address))
	if err != nil {
		engine.stop()
		return nil, err
	}
	return &sharedPair{engine, server}, nil
}

func (b *bench) measureSharedLoad(ctx context.Context, load shape, name string) error {
	p, err := b.startShared(ctx)
	if err != nil {
		return err
	}
	defer p.stop()
	m, err := b.runLoadOn(ctx, loadCPU, p.server, &tokenServer, load, p.engine)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	engine := m.beside[0]
	return b.writeFullLoad(name, m, value{engine * 1e6 / m.Throughput, "engine-cpu-us/req"}, value{100 * engine, "engine-busy-%"})
}

// measureSharedResident finds what a session takes in the engine, by its own account, and of
// the machine.
func (b *bench) measureSharedResident(ctx context.Context) error {
	p, err := b.startShared(ctx)
	if err != nil {
		return err
	}
	defer p.stop()
	n, load := b.plan.residentSessions, b.plan.batchLoad()
	load.sessions, load.warmUp, load.duration = n, 0, 100*time.Millisecond
	before, err := p.engineMemory()
	if err != nil {
		return err
	}
	if _, err := b.runLoadOn(ctx, loadCPU, p.server, &tokenServer, load); err != nil {
		return err
	}
	after, err := p.engineMemory()
	if err != nil {
		return err
	}
	return b.write(sharedResidentName(n), 1, []value{
		{float64(after.used-before.used) / float64(n), "B/session"}, {float64(after.resident-before.resident) / float64(n), "resident-B/session"},
	})
}

// memory is what an engine takes, in bytes: by its own account, and of the machine.
type memory struct{ used, resident int64 }

func (p *sharedPair) engineMemory() (m memory, err error) {
	if m.resident, err = p.engine.resident(); err != nil {
		return m, err
	}
	m.used, err = usedMemory(p.engine.address)
	return m, err
}

var usedMemoryPattern = regexp.MustCompile(`(?m)^used_memory:(\d+)`)

// usedMemory returns what an engine has allocated, in bytes.
func usedMemory(address string) (int64, error) {
	conn, err := net.DialTimeout("tcp", address, stopTimeout)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(stopTimeout)); err != nil {
		return 0, err
	}
	if _, err := io.WriteString(conn, "INFO memory\r\nQUIT\r\n"); err != nil {
		return 0, err
	}
	reply, err := io.ReadAll(conn)
	if err != nil {
		return 0, err
	}
	found := usedMemoryPattern.FindSubmatch(reply)
	if found == nil {
		return 0, errors.New("the engine does not tell what memory it uses")
	}
	return strconv.ParseInt(string(found[1]), 10, 64)
}
