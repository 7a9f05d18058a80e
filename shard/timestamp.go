package shard

import "tokenserver/internal/clock"

// timestamp is a point in time on the store's clock. Lengths of time are a
// time.Duration.
type timestamp = clock.Timestamp
