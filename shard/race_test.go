//go:build race

package shard

// raceEnabled says that the race detector slows everything down and adds
// allocations of its own.
const raceEnabled = true
