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
	// minAdmin is how many connections of the admin listener there may be at least.
	minAdmin = 2
	// minConnections is how many connections must be possible for a start.
	minConnections = 4
)

// divideDescriptors divides a limit. The durable store gets up to a quarter, and
// without one the connections have it. It fails if too few are left for those.
func divideDescriptors(limit int, isDurable bool) (descriptors, error) {
	d := descriptors{admin: min(admin.MaxConnections, max(minAdmin, limit/16))}
	needed := ownDescriptors + minAdmin + minConnections + server.SpareConnections(minConnections)
	if isDurable {
		d.store = min(max(limit/4, durable.MinOpenFiles), durable.DefaultMaxOpenFiles)
		needed += durable.MinOpenFiles
	}
	if limit < needed {
		return d, fmt.Errorf("the limit of file descriptors (ulimit -n) is %d, and at least %d are needed", limit, needed)
	}
	rest := limit - ownDescriptors - d.admin - d.store
	d.connections = rest - server.SpareConnections(rest)
	return d, nil
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
// sets it if it is 0, to what they allow. It fails if they are too few.
func (m *Main) limitDescriptors() (descriptors, error) {
	limit, err := descriptorLimit()
	if err != nil {
		m.logger.Warn("connections are limited by --max-connections alone", "error", err)
		limit = maxDescriptors
	}
	d, err := divideDescriptors(limit, m.Config.DataDir != "")
	if err != nil {
		return d, err
	}
	switch c := &m.Config.MaxConnections; {
	case *c > d.connections:
		m.logger.Warn("max-connections is more than the limit of file descriptors allows",
			"max_connections", *c, "descriptors", limit, "allowed", d.connections)
		*c = d.connections
	case *c == 0:
		*c = min(d.connections, maxConnections)
	}
	return d, nil
}
