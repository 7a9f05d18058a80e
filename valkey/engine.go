package valkey

import (
	"context"
	"net"
	"time"

	"github.com/redis/rueidis"
)

// ringScale says how many commands a connection's pipeline holds: its power of two.
const ringScale = 12

// do sends a command. It takes no longer than ctx: while an engine does not answer, a connection
// may have to be dialled, and that is waited for elsewhere.
func (s *Store) do(ctx context.Context, failing bool, command rueidis.Completed) rueidis.RedisResult {
	start := time.Now()
	defer func() { s.durations.add(time.Since(start)) }()
	if !failing {
		return s.client().Do(ctx, command)
	}
	return waitFor(ctx, func() rueidis.RedisResult { return s.client().Do(ctx, command) }, rueidis.NewErrorResult)
}

// doMulti is do for a pipeline.
func (s *Store) doMulti(ctx context.Context, failing bool, commands []rueidis.Completed) []rueidis.RedisResult {
	start := time.Now()
	defer func() { s.durations.add(time.Since(start)) }()
	if !failing {
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
