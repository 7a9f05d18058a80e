package valkey

import (
	"context"
	"net"
	"time"

	"github.com/redis/rueidis"

	"tokenserver/token"
)

// maxInFlight is how many calls may be under way: fewer than one connection's pipeline has
// room for, which is waited for without an end.
const maxInFlight = 1 << (ringScale - 1)

// maxInFlightFailing is the same while the engine does not answer: what calls that have ended
// have left in a pipeline stays there until its connection ends.
const maxInFlightFailing = 256

// ringScale says how many commands a connection's pipeline holds: its power of two.
const ringScale = 12

// enter begins a call. Its error says that nothing was carried out.
func (s *Store) enter() error {
	n := s.inFlight.Add(1)
	switch {
	case s.client() == nil:
		s.inFlight.Add(-1)
		return &token.UnavailableError{Reason: s.health.reason()}
	case n > maxInFlight, n > maxInFlightFailing && s.health.failing():
		s.inFlight.Add(-1)
		return errTooMany
	}
	return nil
}

func (s *Store) leave() { s.inFlight.Add(-1) }

// do sends a command. It takes no longer than ctx: while the engine does not answer, a
// connection may have to be dialled, and that is waited for elsewhere.
func (s *Store) do(ctx context.Context, command rueidis.Completed) rueidis.RedisResult {
	start := time.Now()
	defer func() { s.durations.add(time.Since(start)) }()
	if !s.health.failing() {
		return s.client().Do(ctx, command)
	}
	return waitFor(ctx, func() rueidis.RedisResult { return s.client().Do(ctx, command) }, rueidis.NewErrorResult)
}

// doMulti is do for a pipeline.
func (s *Store) doMulti(ctx context.Context, commands []rueidis.Completed) []rueidis.RedisResult {
	start := time.Now()
	defer func() { s.durations.add(time.Since(start)) }()
	if !s.health.failing() {
		return s.client().DoMulti(ctx, commands...)
	}
	return waitFor(ctx, func() []rueidis.RedisResult { return s.client().DoMulti(ctx, commands...) },
		func(err error) []rueidis.RedisResult {
			results := make([]rueidis.RedisResult, len(commands))
			for i := range results {
				results[i] = rueidis.NewErrorResult(err)
			}
			return results
		})
}

// waitFor waits for a result as long as ctx says.
func waitFor[T any](ctx context.Context, do func() T, failed func(error) T) T {
	done := make(chan T, 1)
	go func() { done <- do() }()
	select {
	case result := <-done:
		return result
	case <-ctx.Done():
		return failed(ctx.Err())
	}
}

// options returns how the client is set.
func (c *Config) options(processors int) rueidis.ClientOption {
	dialer := net.Dialer{Timeout: ioTimeout, KeepAlive: ioTimeout / 2}
	multiplex := 0
	for 1<<(multiplex+1) <= processors && multiplex < maxMultiplex {
		multiplex++
	}
	o := rueidis.ClientOption{
		InitAddress: c.Engine.Hosts, TLSConfig: c.Engine.tlsConfig(), Dialer: dialer,
		Username: c.Engine.Username, Password: c.Engine.Password, SelectDB: c.Engine.DB, ClientName: "token-server",
		DisableCache: true, AlwaysPipelining: true, DisableRetry: true,
		RingScaleEachConn: ringScale, PipelineMultiplex: multiplex, MaxFlushDelay: flushDelay,
		ConnWriteTimeout: ioTimeout,
		ClusterOption:    rueidis.ClusterOption{ShardsRefreshInterval: refreshInterval},
	}
	if c.Engine.Sentinel != "" {
		o.Sentinel = rueidis.SentinelOption{
			MasterSet: c.Engine.Sentinel, Dialer: dialer, TLSConfig: o.TLSConfig,
			TopologyRefreshInterval: refreshInterval,
		}
	}
	return o
}
