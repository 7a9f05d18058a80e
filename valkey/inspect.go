package valkey

import (
	"context"
	"strconv"

	"github.com/redis/rueidis"
)

// inspectEvery is how many looks at the engine there are for one at what its sessions take.
const inspectEvery = 10

// inspect looks at what nobody's call depends on: what the engine is, once it answers again, and
// how much memory a session takes, now and then. It is no failure if the engine does not tell.
func (s *Store) inspect(again bool, look int) {
	ctx, cancel := context.WithTimeout(s.closing, s.timeout)
	defer cancel()
	nodes, err := s.primaries(ctx)
	if err != nil {
		return
	}
	if again {
		s.readVersion(ctx, nodes[0])
	}
	if look%inspectEvery == 0 {
		s.sample(ctx, nodes[look/inspectEvery%len(nodes)])
		s.readUsage(ctx, nodes)
	}
}

// engineUsage is the memory of all primaries together.
type engineUsage struct {
	memory, limit int64  // bytes; the limit is 0 if one of them has none
	eviction      string // the policy of the first one
}

// readUsage notes how full the primaries are.
func (s *Store) readUsage(ctx context.Context, nodes []primary) {
	var sum engineUsage
	limited := true
	for i, node := range nodes {
		info, err := send(ctx, node, node.B().Info().Section("memory").Build()).ToString()
		if err != nil {
			return
		}
		used, _ := strconv.ParseInt(field(info, "used_memory"), 10, 64)
		limit, _ := strconv.ParseInt(field(info, "maxmemory"), 10, 64)
		limited = limited && limit > 0
		sum.memory, sum.limit = sum.memory+used, sum.limit+limit
		if i == 0 {
			sum.eviction = field(info, "maxmemory_policy")
		}
	}
	if !limited {
		sum.limit = 0
	}
	s.usage.Store(&sum)
}

// readVersion notes which version a node has.
func (s *Store) readVersion(ctx context.Context, node rueidis.Client) {
	info, err := send(ctx, node, node.B().Info().Section("server").Build()).ToString()
	if err != nil {
		return
	}
	if name, err := checkVersion(info); err == nil {
		s.found.Store(&name)
	}
}

// sample measures some session of a node, if it hits upon one.
func (s *Store) sample(ctx context.Context, node rueidis.Client) {
	key, err := send(ctx, node, node.B().Randomkey().Build()).ToString()
	if _, ok := s.keys.sessionID(key); err != nil || !ok {
		return
	}
	size, err := send(ctx, node, node.B().MemoryUsage().Key(key).Build()).AsInt64()
	switch {
	case err != nil:
	case s.memory.bytes.Load() == 0:
		s.memory.bytes.Store(size)
	default:
		s.memory.observe(int(size))
	}
}
