package shard

import "time"

// timestamp is a point in time: nanoseconds since the store's start, on the
// monotonic clock. Lengths of time are a time.Duration.
type timestamp int64

func (t timestamp) add(d time.Duration) timestamp { return t + timestamp(d) }

// clock tells timestamps.
type clock struct{ start time.Time }

func (c *clock) now() timestamp                  { return timestamp(time.Since(c.start)) }
func (c *clock) time(t timestamp) time.Time      { return c.start.Add(time.Duration(t)) }
func (c *clock) timestamp(t time.Time) timestamp { return timestamp(t.Sub(c.start)) }
