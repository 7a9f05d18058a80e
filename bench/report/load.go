package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// contender is one of the servers that are compared, and the load that it gets.
type contender struct {
	name      string
	program   string
	args      func(host, port string) []string
	load      string   // the program
	loadFlags []string // besides those that all have
}

// contenders are in the order of the report.
var contenders = []contender{
	{
		name: "token-server", program: "token-server",
		args: tokenServerArgs,
		load: "token-load", loadFlags: exchangesOnly,
	},
	{
		name: "redis-server", program: "redis-server",
		args: func(host, port string) []string {
			return append(redisArgs(host, port), "--appendonly", "no")
		},
		load: "redisload",
	},
	{
		name: "floor", program: "floor",
		args: func(host, port string) []string {
			return []string{"--address", host + ":" + port, "--meta-size", strconv.Itoa(metaSize)}
		},
		load: "token-load", loadFlags: append(slices.Clone(exchangesOnly), "--unchecked"),
	},
}

func tokenServerArgs(host, port string) []string {
	return []string{"--address", host, "--port", port, "--admin-address", "off"}
}

func redisArgs(host, port string) []string {
	return []string{"--bind", host, "--port", port, "--save", ""}
}

var exchangesOnly = []string{"--mix", "exchange=1", "--seed", "1"} // of token-load

// shape is what a load's flags say.
type shape struct {
	connections      int
	pipeline         int
	batch            int // items of each request; 0 where requests travel alone
	sessions         int
	warmUp, duration time.Duration
	rate             int // requests a second; 0 for as many as there can be
}

// loadArgs returns the arguments of a load, as its program takes them.
func (c *contender) loadArgs(address string, s shape) []string {
	args := []string{
		"--address", address, "--connections", strconv.Itoa(s.connections), "--pipeline", strconv.Itoa(s.pipeline),
		"--sessions", strconv.Itoa(s.sessions), "--meta-size", strconv.Itoa(metaSize),
		"--warm-up", s.warmUp.String(), "--duration", s.duration.String(), "--json",
	}
	if s.batch > 0 {
		args = append(args, "--batch", strconv.Itoa(s.batch))
	}
	if s.rate > 0 {
		args = append(args, "--rate", strconv.Itoa(s.rate))
	}
	return append(args, c.loadFlags...)
}

// start starts the contender.
func (b *bench) start(ctx context.Context, c *contender) (*process, error) {
	return startServer(ctx, serverCPU, b.programPath(c.program), c.args)
}

// programPath returns the path of a program that was built, or the name of one of the system's.
func (b *bench) programPath(name string) string {
	if name == "redis-server" {
		return name
	}
	return filepath.Join(b.programs, name)
}

// measureLoad compares the contenders at each pipeline, in turn, so that what else the machine
// does hits them all. Each measurement has a new server, of 10^5 sessions in the full plan.
func (b *bench) measureLoad(ctx context.Context) error {
	for round := range b.plan.rounds {
		lowest := math.Inf(1) // of the rates that the contenders reach one by one
		for _, pipeline := range pipelines {
			for i := range contenders {
				c := &contenders[(round+i)%len(contenders)]
				m, err := b.measureContender(ctx, c, b.plan.fullLoad(connections, pipeline), loadName(c.name, pipeline))
				if err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
				lowest = min(lowest, m.Throughput)
			}
		}
		if err := b.measureEqualRate(ctx, round, int(lowest/2)); err != nil {
			return err
		}
		if _, err := b.measureContender(ctx, &contenders[0], b.plan.batchLoad(), batchName); err != nil {
			return fmt.Errorf("%s, in batches: %w", contenders[0].name, err)
		}
	}
	return nil
}

// measureEqualRate compares those that speak HTTP under one and the same load. At its top rate
// a server that is faster keeps the load's processor awake, and one that is slower pays for
// waking it with each answer.
func (b *bench) measureEqualRate(ctx context.Context, round, rate int) error {
	load := b.plan.fullLoad(connections, 1)
	load.rate = rate
	same := []*contender{&contenders[0], &contenders[2]}
	for i := range same {
		c := same[(round+i)%len(same)]
		if _, err := b.measureContender(ctx, c, load, equalRateName(c.name)); err != nil {
			return fmt.Errorf("%s, at %d requests/s: %w", c.name, rate, err)
		}
	}
	return nil
}

func equalRateName(server string) string { return "EqualRate/server=" + server }

func (b *bench) measureContender(ctx context.Context, c *contender, load shape, name string) (*measured, error) {
	s, err := b.start(ctx, c)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	m, err := b.runLoad(ctx, s, c, load)
	if err != nil {
		return nil, err
	}
	return m, b.writeFullLoad(name, m)
}

// batchLoad is as many requests as there can be, in batches.
func (p *plan) batchLoad() shape {
	load := p.fullLoad(batchConnections, 1)
	load.batch = batchItems
	return load
}

// fullLoad is as many requests as there can be.
func (p *plan) fullLoad(connections, pipeline int) shape {
	return shape{connections: connections, pipeline: pipeline, sessions: p.sessions, warmUp: p.warmUp, duration: p.duration}
}

func (b *bench) writeFullLoad(name string, m *measured, more ...value) error {
	if !isMeasured(m.cpuPerRequest()) {
		return errors.New("the measurement is too short for the account of processor time")
	}
	values := []value{
		{m.Throughput, "req/s"}, {m.cpuPerRequest(), "cpu-us/req"}, {100 * m.busy, "busy-%"},
	}
	return b.write(name, m.Requests, slices.Concat(values, m.percentiles(), more))
}

var batchName = fmt.Sprintf("Load/server=token-server/batch=%d", batchItems)

func loadName(server string, pipeline int) string {
	return fmt.Sprintf("Load/server=%s/pipeline=%d", server, pipeline)
}

// measured is what a load has found, as token-load and redisload report it, and what the
// server has used meanwhile.
type measured struct {
	PreloadSeconds float64            `json:"preload_seconds"`
	WarmUpSeconds  float64            `json:"warm_up_seconds"`
	Seconds        float64            `json:"seconds"`
	Requests       int64              `json:"requests"`
	Throughput     float64            `json:"throughput"`
	Latency        map[string]float64 `json:"latency_us"`
	NeverSent      int64              `json:"never_sent"`

	busy   float64   // processors that the server used, or NaN
	beside []float64 // that those beside it used
}

// cpuPerRequest returns the server's, in microseconds.
func (m *measured) cpuPerRequest() float64 { return m.busy * 1e6 / m.Throughput }

// percentileNames are those of a load's report.
var percentileNames = []string{"p50", "p75", "p90", "p99", "p99.9", "p99.99"}

func (m *measured) percentiles() []value {
	var values []value
	for _, name := range percentileNames {
		values = append(values, value{m.Latency[name], name + "-us"})
	}
	return values
}

// window returns the measurement's time, of a load that began at start. A twentieth at each end
// is left out: the start is known to some milliseconds only.
func (m *measured) window(start time.Time) (from, to time.Time) {
	from = start.Add(seconds(m.PreloadSeconds + m.WarmUpSeconds + m.Seconds/20))
	return from, from.Add(seconds(m.Seconds * 18 / 20))
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// runLoad runs a load against s, on the loads' processor. Any wrong answer is an error.
func (b *bench) runLoad(ctx context.Context, s *process, c *contender, sh shape) (*measured, error) {
	return b.runLoadOn(ctx, loadCPU, s, c, sh)
}

// runLoadOn is runLoad on any processor. Processes that stand beside s are watched too.
func (b *bench) runLoadOn(ctx context.Context, cpu int, s *process, c *contender, sh shape, beside ...*process) (*measured, error) {
	cmd := command(ctx, cpu, b.programPath(c.load), c.loadArgs(s.address, sh)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	watched := watchAll(append([]*process{s}, beside...))
	err := cmd.Wait()
	samples, cpuErr := watched()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s%s", c.load, err, stdout.Bytes(), stderr.Bytes())
	}
	m := &measured{}
	if err := errors.Join(cpuErr, json.Unmarshal(stdout.Bytes(), m)); err != nil {
		return nil, err
	}
	if m.NeverSent > 0 {
		return nil, fmt.Errorf("%s could not keep up the rate: %d requests were never sent", c.load, m.NeverSent)
	}
	from, to := m.window(start)
	m.busy = busy(samples[0], from, to)
	for _, other := range samples[1:] {
		m.beside = append(m.beside, busy(other, from, to))
	}
	return m, nil
}

// measureResident finds what a session takes of a server's memory: what it grows by when very
// many are created over the network, and the load has gone.
func (b *bench) measureResident(ctx context.Context) error {
	for range b.plan.residentRounds {
		for i := range contenders[:2] {
			if err := b.measureResidentOf(ctx, &contenders[i]); err != nil {
				return fmt.Errorf("%s: %w", contenders[i].name, err)
			}
		}
	}
	return nil
}

func (b *bench) measureResidentOf(ctx context.Context, c *contender) error {
	s, err := b.start(ctx, c)
	if err != nil {
		return err
	}
	defer s.stop()
	before, err := s.resident()
	if err != nil {
		return err
	}
	n := b.plan.residentSessions
	if _, err := b.runLoad(ctx, s, c, shape{connections: connections, pipeline: 1, sessions: n, duration: 100 * time.Millisecond}); err != nil {
		return err
	}
	after, err := s.resident()
	if err != nil {
		return err
	}
	return b.write(residentName(c.name, n), 1, []value{{float64(after-before) / float64(n), "B/session"}})
}

func residentName(server string, sessions int) string {
	return fmt.Sprintf("Resident/server=%s/sessions=%d", server, sessions)
}
