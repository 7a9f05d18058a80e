package sampler

import "time"

// Sample is the state of the server at one moment. What a mode does not have is nil.
type Sample struct {
	Number   uint64    `json:"sample"` // from 1 on
	Time     time.Time `json:"time"`   // by the wall clock
	Server   Server    `json:"server"`
	Capacity Capacity  `json:"capacity"`
	Rates    Rates     `json:"rates"`
	Latency  Latency   `json:"latency"`
	Shards   *Shards   `json:"shards,omitempty"`
	Expiring *Expiring `json:"expiring,omitempty"`
	Security Security  `json:"security"`
	Disk     *Disk     `json:"disk,omitempty"`
	Engine   *Engine   `json:"engine,omitempty"`
	// Last has the newest value of each series of the history that has one.
	Last map[string]float64 `json:"last"`
}

// Server says what runs, and whether it is ready.
type Server struct {
	Mode      string    `json:"mode"` // memory, durable or shared
	Version   string    `json:"version"`
	Commit    string    `json:"commit"`
	GoVersion string    `json:"go_version"`
	Started   time.Time `json:"started"`
	Uptime    float64   `json:"uptime_seconds"`
	Ready     bool      `json:"ready"`
	Reason    string    `json:"reason,omitempty"` // why it is not ready
	Warnings  []string  `json:"warnings"`
	LogLevel  string    `json:"log_level"`
}

// Capacity says how full the server is. While a store loads only connections are known.
type Capacity struct {
	Sessions    *Gauge `json:"sessions,omitempty"`
	Memory      *Gauge `json:"memory_bytes,omitempty"` // reserved for sessions
	Disk        *Gauge `json:"disk_bytes,omitempty"`   // of the sessions, and with those that are free
	Connections Gauge  `json:"connections"`
}

// Gauge is how much of something there is.
type Gauge struct {
	Used  int64 `json:"used"`
	Limit int64 `json:"limit"` // 0 for none
	// GrowthTime is over how many seconds growth was measured. It is 0 if that is too short.
	GrowthTime float64 `json:"growth_seconds"`
	// UntilFull is the time until the limit is reached, if it goes on as in the last ten
	// minutes, in seconds. It is nil if there is no growth, no limit, or more than a week
	// left.
	UntilFull *float64 `json:"until_full_seconds,omitempty"`
}

// Rates are what was done, each a second.
type Rates struct {
	Exchanged  float64 `json:"exchanged"`
	Replayed   float64 `json:"replayed"`
	Invalid    float64 `json:"invalid"`
	Created    float64 `json:"created"`
	Deleted    float64 `json:"deleted"`
	Batches    float64 `json:"batches"`
	BatchItems float64 `json:"batch_items"`
	Requests   float64 `json:"requests"`
}

// Latency is how long requests took, of all that the last 15 minutes had.
type Latency struct {
	Window   float64 `json:"window_seconds"`
	Requests uint64  `json:"requests"`
	P50      float64 `json:"p50_seconds"`
	P99      float64 `json:"p99_seconds"`
	P999     float64 `json:"p999_seconds"`
}

// Shards says how the sessions are spread. Where there are more than maxBars shards, a bar
// stands for several.
type Shards struct {
	Count    int       `json:"count"`
	PerBar   int       `json:"shards_per_bar"`
	Sessions []int64   `json:"sessions"`   // of each bar
	LockWait []float64 `json:"lock_wait"`  // of each bar: seconds of waiting a second, over the last ten or so
	Waiting  float64   `json:"waiting"`    // the part of the store's calls that had to wait for a lock, over the last minute or so
	WaitTime float64   `json:"wait_ratio"` // seconds of waiting a second, over the last minute or so
	Advice   string    `json:"advice"`
}

// Expiring says when sessions expire, and what the purges did.
type Expiring struct {
	Step     float64   `json:"step_seconds"`
	Sessions []float64 `json:"sessions"` // in each step from now on
	Later    float64   `json:"later"`
	Exact    bool      `json:"exact"` // not estimated from some of the sessions
	Purges   []Purge   `json:"purges"`
}

// Purge is one of the last purges.
type Purge struct {
	Ended    time.Time `json:"ended"`
	Took     float64   `json:"took_seconds"`
	Sessions int       `json:"sessions"`
}

// Security counts what may be somebody who steals tokens.
type Security struct {
	Invalid      Count `json:"invalid"`
	Replayed     Count `json:"replayed"`
	Reused       Count `json:"reused"`
	Revoked      Count `json:"revoked"`
	Unauthorized Count `json:"unauthorized"`
}

// Count is a counter.
type Count struct {
	Rate  float64 `json:"rate"`  // a second
	Total uint64  `json:"total"` // since the start
}

// Disk is the state of the disk in durable mode.
type Disk struct {
	Bytes    int64   `json:"bytes"`
	Free     int64   `json:"free_bytes"` // -1 if it is not known
	Syncs    float64 `json:"syncs"`      // a second
	SyncTime float64 `json:"sync_seconds"`
	Group    float64 `json:"group_size"` // changes that were written together, on average
}

// Engine is the state of the engine in shared mode.
type Engine struct {
	Up        bool    `json:"up"`
	Version   string  `json:"version"`
	Mode      string  `json:"mode"`
	Role      string  `json:"role"`
	Latency   float64 `json:"latency_seconds"` // of a command, on average over the last ten seconds or so
	Commands  float64 `json:"commands"`        // a second
	Errors    float64 `json:"errors"`          // a second
	Memory    int64   `json:"memory_bytes"`
	MaxMemory int64   `json:"max_memory_bytes"` // 0 for no limit
	Eviction  string  `json:"eviction_policy"`
}
