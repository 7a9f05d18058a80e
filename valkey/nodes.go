package valkey

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

// clusterSlots is how many slots a cluster has.
const clusterSlots = 16384

// primary is a node that has sessions.
type primary struct {
	rueidis.Client
	address string      // in a cluster
	slots   []slotRange // those that it has; none where there is no cluster
}

type slotRange struct{ first, last int64 }

// has says whether a primary has a slot.
func (p *primary) has(slot int64) bool {
	return p.slots == nil || slices.ContainsFunc(p.slots, func(r slotRange) bool { return r.first <= slot && slot <= r.last })
}

// errUncovered says that a cluster has slots that no node serves.
var errUncovered = errors.New("CLUSTERDOWN: some slots of the cluster have no primary")

// primaries returns the nodes that have sessions: all of them, or an error.
func (s *Store) primaries(ctx context.Context) ([]primary, error) {
	if err := s.notConnected(); err != nil {
		return nil, err
	}
	if s.client().Mode() != rueidis.ClientModeCluster {
		return []primary{{Client: s.client()}}, nil
	}
	nodes := s.client().Nodes()
	err := errUncovered
	for _, address := range s.bulkheads.primariesFirst(nodes) {
		var slots []rueidis.RedisMessage
		if slots, err = slotsOf(ctx, nodes[address]); err == nil {
			s.identity.see(slots)
			return s.seePrimaries(slots, address, nodes)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

// slotsOf asks a node for the slots of all. One that does not answer takes half of the time that is
// left: the next one may.
func slotsOf(ctx context.Context, node rueidis.Client) ([]rueidis.RedisMessage, error) {
	end, ok := ctx.Deadline()
	if ok {
		part, cancel := context.WithTimeout(ctx, time.Until(end)/2)
		defer cancel()
		ctx = part
	}
	return send(ctx, node, node.B().ClusterSlots().Build()).ToArray()
}

// seePrimaries takes in a reply to CLUSTER SLOTS, and returns the primaries if all slots have one.
func (s *Store) seePrimaries(slots []rueidis.RedisMessage, from string, nodes map[string]rueidis.Client) ([]primary, error) {
	list, err := primariesOf(slots, from, nodes)
	if err != nil && err != errUncovered {
		return nil, err
	}
	s.bulkheads.see(list, err == nil)
	if err != nil {
		return nil, err
	}
	return list, nil
}

// primariesOf returns the nodes that a reply to CLUSTER SLOTS names as primaries. Its error is
// errUncovered if some slots have none that the client knows.
func primariesOf(slots []rueidis.RedisMessage, from string, nodes map[string]rueidis.Client) (list []primary, err error) {
	covered, known := int64(0), make(map[string]int)
	for i := range slots {
		entry, err := slots[i].ToArray()
		if err != nil || len(entry) < 3 {
			return nil, errReply
		}
		first, err1 := entry[0].AsInt64()
		last, err2 := entry[1].AsInt64()
		address, err3 := addressIn(&entry[2], from)
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, err
		}
		node, ok := nodes[address]
		if !ok {
			continue // the client does not know it yet
		}
		covered += last - first + 1
		if at, again := known[address]; again {
			list[at].slots = append(list[at].slots, slotRange{first, last})
			continue
		}
		known[address] = len(list)
		list = append(list, primary{node, address, []slotRange{{first, last}}})
	}
	if covered != clusterSlots {
		return list, errUncovered
	}
	return list, nil
}

// addressIn returns the address of a node in a reply from another one.
func addressIn(node *rueidis.RedisMessage, from string) (string, error) {
	fields, err := node.ToArray()
	if err != nil || len(fields) < 2 {
		return "", errReply
	}
	host, _ := fields[0].ToString()
	port, err := fields[1].AsInt64()
	if host == "" || host == "?" {
		host, _, _ = net.SplitHostPort(from)
	}
	return net.JoinHostPort(host, strconv.FormatInt(port, 10)), err
}

// send sends a command to a node, and waits for the reply no longer than ctx says.
func send(ctx context.Context, node rueidis.Client, command rueidis.Completed) rueidis.RedisResult {
	return waitFor(ctx, func() rueidis.RedisResult { return node.Do(ctx, command) }, rueidis.NewErrorResult)
}
