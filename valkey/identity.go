package valkey

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redis/rueidis"
)

// errOther says that an engine is not the one that had the sessions.
var errOther = errors.New("another engine is at its address, or it has lost what it had: it has not the identity of the sessions")

// identity is what tells the engine from others that may be at its address some day: in a cluster
// its nodes, and else the identity of the sessions.
type identity struct {
	id atomic.Pointer[string] // of the sessions: see Store.ID
	// keeps says that the engine writes each change to its disk: it never comes back with nothing.
	keeps atomic.Bool
	nodes atomic.Pointer[[]string] // the ids of a cluster's nodes, as it was seen last

	mu   sync.Mutex
	runs map[string]string // which process was at an address: its run_id. Without a cluster at ""
}

// validID is what an identity is like: it becomes a header.
var validID = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)

// ID returns the identity of the sessions under this prefix of the engine: all stores that have
// them have the same, and no others. It is empty until there was an engine.
func (s *Store) ID() string {
	if id := s.identity.id.Load(); id != nil {
		return *id
	}
	return ""
}

// openID reads the identity, which the first store makes. An engine that has none any more, or
// another one, has lost the sessions: it was emptied while we were connected to it.
func (s *Store) openID(ctx context.Context) error {
	known, key := s.ID(), s.keys.id()
	id, err := send(ctx, s.client(), s.client().B().Get().Key(key).Build()).ToString()
	if rueidis.IsRedisNil(err) {
		fresh := known
		if known == "" {
			fresh = rand.Text()
		}
		if id, err = send(ctx, s.client(), s.client().B().Eval().Script(scriptID.text).Numkeys(1).Key(key).Arg(fresh).Build()).ToString(); known != "" && err == nil {
			s.lost(s.howIDWent())
		}
	} else if known != "" && err == nil && id != known {
		s.lost("it was emptied")
	}
	switch {
	case err != nil:
		return err
	case !validID.MatchString(id):
		return errFormat
	}
	s.identity.id.Store(&id)
	return nil
}

// howIDWent says why an engine to which we are connected has no identity any more.
func (s *Store) howIDWent() string {
	if usage := s.usage.Load(); usage != nil && strings.HasPrefix(usage.eviction, "allkeys-") {
		return "it was emptied, or it evicts sessions, and has evicted their identity, too"
	}
	return "it was emptied, or its identity was deleted"
}

// lost takes in that the engine has lost its sessions.
func (s *Store) lost(how string) {
	s.counters.lost.Add(1)
	s.log.Warn("the engine has lost its sessions, or those of a primary: their tokens are invalid", "how", how)
}

// meet asks on a new connection, before any call is sent over it, whether it leads to the engine
// that has the sessions. Before there was one, each is taken.
func (s *Store) meet(c net.Conn, address string) error {
	client := s.client()
	if client == nil || s.ID() == "" {
		return nil
	}
	g := &greeting{c, bufio.NewReader(c)}
	info, err := g.info("server", "persistence", "replication", "keyspace")
	switch {
	case err != nil, field(info, "redis_mode") == "sentinel":
		return err
	case field(info, "loading") == "1":
		return &replyError{"LOADING the engine reads its file"}
	}
	if client.Mode() == rueidis.ClientModeCluster {
		return s.meetNode(g, address, info)
	}
	return s.meetEngine(g, info)
}

// meetEngine accepts an engine that has the identity of the sessions, and Sentinels. One without the
// identity is the right one all the same if it is the process that had it, if it has sessions, or if
// it may come back with nothing, and has. No lock is held while the engine is asked.
func (s *Store) meetEngine(g *greeting, info string) error {
	i, key := &s.identity, s.keys.id()
	id, err := g.get(key)
	switch {
	case isUnknownCommand(err) && s.client().Mode() == rueidis.ClientModeSentinel:
		return nil // a Sentinel that may not say so
	case err != nil:
		return err
	}
	run := field(info, "run_id")
	isNew := !i.keeps.Load() && isEmpty(info)
	if id == "" && !i.isProcess("", run) {
		had, err := g.hasKeys(s.keys.sessions())
		switch {
		case err != nil:
			return err
		case !had && !isNew:
			return errOther
		}
		if id, err = s.giveID(g, had); err != nil {
			return err
		}
	}
	if id != s.ID() && !i.isProcess("", run) {
		return errOther
	}
	i.note("", run)
	return nil
}

// giveID gives an engine the identity again, and returns the one that it has then: another server may
// have been faster.
func (s *Store) giveID(g *greeting, had bool) (id string, err error) {
	fresh := s.ID()
	given, err := g.ask("EVAL", scriptGiveID.text, "1", s.keys.id(), fresh)
	switch {
	case err != nil:
		return "", err
	case len(given) == 0:
		return g.get(s.keys.id())
	case had:
		s.log.Warn("the engine had sessions, but not their identity: it has got it again")
	default:
		s.lost("it came back with nothing")
	}
	return fresh, nil
}

// isUnknownCommand says that whoever was asked has no such command.
func isUnknownCommand(err error) bool {
	said, ok := err.(*replyError)
	return ok && strings.HasPrefix(said.text, "unknown command")
}

// noCluster is what an engine says that is no node of a cluster.
const noCluster = "cluster support disabled"

// meetNode accepts a node of a cluster that has one of the nodes that are known, or none, and so
// no slots either. One that came back with nothing is taken also if it keeps all on disk: what the
// cluster knows it by lies beside its data, so it is no other one; and it may have had nothing, which
// an engine that has the identity never has.
func (s *Store) meetNode(g *greeting, address, info string) error {
	ids, err := g.nodes()
	switch said, ok := err.(*replyError); {
	case ok && strings.Contains(said.text, noCluster):
		return errOther
	case err != nil:
		return err
	}
	i := &s.identity
	known := i.nodes.Load()
	if known != nil && len(ids) > 0 && !slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(*known, id) }) {
		return errOther
	}
	run := field(info, "run_id")
	was := i.note(address, run)
	if was != "" && run != "" && run != was && field(info, "role") == "master" && isEmpty(info) {
		s.lost(address + " came back with nothing")
	}
	return nil
}

// see takes in a reply to CLUSTER SLOTS: ranges, each with its nodes behind the first and last
// slot, and the id of a node behind its host and port.
func (i *identity) see(slots []rueidis.RedisMessage) {
	var ids []string
	for at := range slots {
		entry, err := slots[at].ToArray()
		if err != nil || len(entry) < 3 {
			return
		}
		for n := range entry[2:] {
			if node, err := entry[2+n].ToArray(); err == nil && len(node) > 2 {
				id, _ := node[2].ToString()
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	i.nodes.Store(&ids)
}

// note notes which process is at an address, if it tells, and returns which one was.
func (i *identity) note(address, run string) (was string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.runs == nil {
		i.runs = make(map[string]string)
	}
	if was = i.runs[address]; run != "" {
		i.runs[address] = run
	}
	return was
}

// isProcess says whether the process that was at an address is there.
func (i *identity) isProcess(address, run string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return run != "" && run == i.runs[address]
}

// isEmpty says whether an engine says that it has no keys at all.
func isEmpty(info string) bool {
	return info != "" && !strings.Contains(info, "\ndb")
}

// learn takes in what an engine says of itself at the start.
func (s *Store) learn(p primary, info string) {
	i := &s.identity
	if field(info, "aof_enabled") == "1" {
		i.keeps.Store(true)
	}
	i.note(p.address, field(info, "run_id"))
}
