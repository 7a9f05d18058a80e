package main

import (
	"context"
	"flag"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"tokenserver/internal/testneeds"
	"tokenserver/token"
	"tokenserver/valkey"
)

var onEngine = flag.Bool("simulate.engine", false, "measure a real engine in BenchmarkOneEngine, for half a minute")

// BenchmarkOneEngine measures the point that the simulation has to reproduce, and the costs that
// it is reproduced from, anew, and compares. The engine gets processor 0, and this needs another:
//
//	GOMAXPROCS=1 taskset --cpu-list 1 go test -bench OneEngine -benchtime 1x ./bench/simulate -simulate.engine
func BenchmarkOneEngine(b *testing.B) {
	if !*onEngine {
		b.Skip("without -simulate.engine")
	}
	f := measured
	for b.Loop() {
		f.engineAlone, f.storeAlone, _ = measureCallers(b, 1, 50_000)
		f.engineTogether, f.storeTogether = measureBatches(b, 300_000)
		_, _, f.callers64 = measureCallers(b, 64, 300_000)
	}
	simulated := f.simulate64()
	b.ReportMetric(f.engineAlone, "engine-us/alone")
	b.ReportMetric(f.engineTogether, "engine-us/together")
	b.ReportMetric(f.storeAlone, "store-us/alone")
	b.ReportMetric(f.storeTogether, "store-us/together")
	b.ReportMetric(f.callers64, "measured/s")
	b.ReportMetric(simulated, "simulated/s")
	b.ReportMetric(simulated/f.callers64, "simulated/measured")
}

// setting is an engine, a store, and sessions.
type setting struct {
	engine int // its process
	store  *valkey.Store
	tokens []token.Token
}

const (
	settingSessions = 100_000
	settingMeta     = `{"user":"user-123456","name":"Grace Hopper","roles":["admin","editor"],"cart":[17,4711,90210],"theme":"dark","n":1}`
)

func newSetting(b *testing.B) *setting {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := ln.Addr().String()
	ln.Close()
	port := address[strings.LastIndexByte(address, ':')+1:]
	cmd := exec.Command(testneeds.Program(b, "taskset"), "--cpu-list", "0", testneeds.Program(b, "redis-server"),
		"--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no")
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	s := &setting{engine: cmd.Process.Pid}
	s.store, err = valkey.Open(b.Context(), valkey.Config{
		Engine: valkey.Engine{Hosts: []string{address}, Prefix: "ts:"}, Timeout: valkey.MaxTimeout, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.store.Close() })
	s.fill(b)
	return s
}

// fill creates the sessions, in batches.
func (s *setting) fill(b *testing.B) {
	for len(s.tokens) < settingSessions {
		create := token.Batch{Items: make([]token.BatchItem, batch)}
		for i := range create.Items {
			create.Items[i] = token.BatchItem{Op: token.OpCreate, Meta: []byte(settingMeta)}
		}
		if err := s.store.Batch(context.Background(), &create); err != nil {
			b.Fatal(err)
		}
		for _, item := range create.Items {
			if item.Err != nil {
				b.Fatal(item.Err)
			}
			s.tokens = append(s.tokens, item.Token)
		}
	}
}

// computed returns the seconds that engine and store have computed for.
func (s *setting) computed(b *testing.B) (engine, store float64) {
	b.Helper()
	seconds := func(pid int) float64 {
		p, err := procfs.NewProc(pid)
		if err != nil {
			b.Fatal(err)
		}
		stat, err := p.Stat()
		if err != nil {
			b.Fatal(err)
		}
		return stat.CPUTime()
	}
	return seconds(s.engine), seconds(os.Getpid())
}

// measure has each of so many callers make its share of n exchanges, and returns the
// microseconds of both an exchange, and exchanges a second.
func (s *setting) measure(b *testing.B, callers, n int, do func(share []token.Token, n int) error) (engine, store, rate float64) {
	b.Helper()
	e, st := s.computed(b)
	start := time.Now()
	var all sync.WaitGroup
	for i := range callers {
		share := s.tokens[i*len(s.tokens)/callers : (i+1)*len(s.tokens)/callers]
		all.Go(func() {
			if err := do(share, n/callers); err != nil {
				b.Error(err)
			}
		})
	}
	all.Wait()
	took := time.Since(start).Seconds()
	e2, st2 := s.computed(b)
	return (e2 - e) * 1e6 / float64(n), (st2 - st) * 1e6 / float64(n), float64(n) / took
}

func measureCallers(b *testing.B, callers, n int) (engine, store, rate float64) {
	s := newSetting(b)
	return s.measure(b, callers, n, func(share []token.Token, n int) error {
		var dst []byte
		for i := range n {
			x, err := s.store.Exchange(context.Background(), share[i%len(share)], token.Patch{}, dst[:0])
			if err != nil {
				return err
			}
			share[i%len(share)], dst = x.Token, x.Meta
		}
		return nil
	})
}

// measureBatches measures batches of 8 callers.
func measureBatches(b *testing.B, n int) (engine, store float64) {
	s := newSetting(b)
	engine, store, _ = s.measure(b, 8, n, func(share []token.Token, n int) error {
		items := make([]token.BatchItem, batch)
		for at := 0; n > 0; n, at = n-batch, (at+batch)%(len(share)-batch) {
			for i := range items {
				items[i] = token.BatchItem{Op: token.OpExchange, Token: share[at+i]}
			}
			run := token.Batch{Items: items}
			if err := s.store.Batch(context.Background(), &run); err != nil {
				return err
			}
			for i := range items {
				if items[i].Err != nil {
					return items[i].Err
				}
				share[at+i] = items[i].Token
			}
		}
		return nil
	})
	return engine, store
}
