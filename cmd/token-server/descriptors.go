package main

import (
	"fmt"
	"syscall"

	"tokenserver/admin"
	"tokenserver/durable"
	"tokenserver/server"
)

// descriptors is how the file descriptors of the process are divided.
type descriptors struct {
	connections int // of the server
	admin       int // connections of the admin listener
	store       int // files that the durable store keeps open
}

const (
	// ownDescriptors are left for what is neither a connection nor a file of the
	// store: standard streams, listeners, the runtime's poller, timers of purges.
	ownDescriptors = 16
	// minConnections is how many connections there may be whatever the limit is.
	minConnections = 4
)

// divideDescriptors divides a limit. The durable store gets up to a quarter, and
// without one the connections have it.
func divideDescriptors(limit int, isDurable bool) descriptors {
	d := descriptors{admin: min(admin.MaxConnections, max(2, limit/16))}
	if isDurable {
		d.store = min(max(limit/4, durable.MinOpenFiles), durable.DefaultMaxOpenFiles)
	}
	rest := limit - ownDescriptors - d.admin - d.store
	d.connections = max(minConnections, rest-server.SpareConnections(rest))
	return d
}

// descriptorLimit returns how many descriptors the process may have. The runtime
// has raised it as far as that is allowed.
func descriptorLimit() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("limit of file descriptors: %w", err)
	}
	return int(min(uint64(limit.Cur), maxDescriptors)), nil
}

// maxDescriptors stands for no limit.
const maxDescriptors = 1 << 30

// limitDescriptors divides the descriptors, and lowers Config.MaxConnections, or
// sets it if it is 0, to what they allow.
func (m *Main) limitDescriptors() descriptors {
	limit, err := descriptorLimit()
	if err != nil {
		m.logger.Warn("connections are limited by --max-connections alone", "error", err)
		limit = maxDescriptors
	}
	d := divideDescriptors(limit, m.Config.DataDir != "")
	switch c := &m.Config.MaxConnections; {
	case *c > d.connections:
		m.logger.Warn("max-connections is more than the limit of file descriptors allows",
			"max_connections", *c, "descriptors", limit, "allowed", d.connections)
		*c = d.connections
	case *c == 0:
		*c = min(d.connections, maxConnections)
	}
	return d
}
