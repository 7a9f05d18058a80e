package valkey

import "sync/atomic"

// counters count since the start of the process, each what this server has done.
type counters struct {
	created, exchanged, invalid, deleted atomic.Int64
	replayed, reused, revoked, ended     atomic.Int64
	retries                              atomic.Int64 // commands that were sent again
	late                                 atomic.Int64 // calls that the engine refused since they came too late
}
