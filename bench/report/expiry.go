package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"
)

// The cases of the latency at half the top rate.
const (
	caseFloor    = "floor"    // constant answers
	caseLive     = "live"     // with sessions that don't expire
	caseExpiring = "expiring" // as many sessions expire and are purged meanwhile
)

// idleLifetime is that of sessions which are not to expire.
const idleLifetime = time.Hour

// measureExpiry finds the top rate of a server that holds very many sessions, and at half that
// rate the latency with and without their expiry.
func (b *bench) measureExpiry(ctx context.Context) error {
	top, err := b.measureHalfRate(ctx, caseLive, b.topShape())
	if err != nil {
		return err
	}
	rate := max(int(top.Throughput/2), 1)
	log.Printf("half the top rate is %d requests/s", rate)
	cases := []string{caseLive, caseExpiring, caseFloor}
	for round := range b.plan.rounds {
		for i := range cases {
			name := cases[(round+i)%len(cases)]
			m, err := b.tryHalfRate(ctx, name, b.halfShape(name, rate))
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			values := append([]value{{float64(rate), "req/s"}}, m.percentiles()...)
			if err := b.write(halfRateName(name), m.Requests, values); err != nil {
				return err
			}
		}
	}
	return nil
}

func halfRateName(name string) string { return "HalfRate/case=" + name }

func (b *bench) topShape() shape {
	// It has to wait until all sessions are there.
	return shape{connections: connections, pipeline: 1, sessions: b.plan.sessions, warmUp: b.plan.expirySpread + time.Second, duration: b.plan.duration}
}

// halfShape begins to measure when the first session expires, and ends when the last one has
// been purged. Each session of the load is exchanged about ten times a second, so that these
// never expire. The floor has no sessions to wait for.
func (b *bench) halfShape(name string, rate int) shape {
	p := b.plan
	s := shape{
		connections: connections, pipeline: 1, rate: rate, sessions: min(max(rate/10, connections), p.sessions),
		warmUp: p.expiryLifetime, duration: p.expirySpread + 2*purgeInterval,
	}
	if name == caseFloor {
		s.warmUp = p.warmUp
	}
	return s
}

// tryHalfRate tries again where something else has kept the machine so busy that
// the load or the purge came too late.
func (b *bench) tryHalfRate(ctx context.Context, name string, sh shape) (m *measured, err error) {
	const tries = 3
	for try := 1; ; try++ {
		m, err = b.measureHalfRate(ctx, name, sh)
		if err == nil || try == tries || ctx.Err() != nil {
			return m, err
		}
		log.Printf("once more: %v", err)
	}
}

func (b *bench) measureHalfRate(ctx context.Context, name string, sh shape) (*measured, error) {
	ours, floor := &contenders[0], &contenders[2]
	if name == caseFloor {
		s, err := b.start(ctx, floor)
		if err != nil {
			return nil, err
		}
		defer s.stop()
		return b.runLoad(ctx, s, floor, sh)
	}
	s, err := b.startExpiringServer(ctx, name)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	m, err := b.runLoad(ctx, s, ours, sh)
	if err != nil {
		return nil, err
	}
	s.stop()
	return m, b.checkPurged(s, name)
}

func (b *bench) startExpiringServer(ctx context.Context, name string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return startServer(ctx, serverCPU, self, func(host, port string) []string { return b.expiringArgs(host, port, name) })
}

// expiringArgs returns the arguments of the server for a case.
func (b *bench) expiringArgs(host, port, name string) []string {
	lifetime := idleLifetime
	if name == caseExpiring {
		lifetime = b.plan.expiryLifetime
	}
	return []string{
		expiringServer, "--address", host + ":" + port, "--lifetime", lifetime.String(),
		"--sessions", strconv.Itoa(b.plan.expiring), "--spread", b.plan.expirySpread.String(),
	}
}

// checkPurged proves that a case was what its name says.
func (b *bench) checkPurged(s *process, name string) error {
	var got, want int
	if name == caseExpiring {
		want = b.plan.expiring
	}
	if _, err := fmt.Sscanf(s.output.String(), purgedFormat, &got); err != nil {
		return errors.New("the server did not tell what it purged: " + s.output.String())
	}
	if got != want {
		return fmt.Errorf("%d sessions were purged, want %d", got, want)
	}
	return nil
}
