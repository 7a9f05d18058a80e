package enginetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tokenserver/internal/testneeds"
)

// Patient is a node time-out that no machine is too slow for: no replica takes over by itself.
const Patient = time.Minute

// StartCluster starts a cluster of primaries, each with a replica, which takes over from one
// that has not answered for nodeTimeout.
func StartCluster(t testing.TB, primaries int, nodeTimeout time.Duration, args ...string) (nodes []*Engine) {
	t.Helper()
	cli := testneeds.Program(t, "redis-cli")
	create := []string{"--cluster", "create"}
	args = append([]string{"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf",
		"--cluster-node-timeout", fmt.Sprint(nodeTimeout.Milliseconds())}, args...)
	for range 2 * primaries {
		e := Start(t, args...)
		nodes = append(nodes, e)
		create = append(create, e.Address())
	}
	create = append(create, "--cluster-replicas", "1", "--cluster-yes")
	if out, err := exec.Command(cli, create...).CombinedOutput(); err != nil {
		t.Fatalf("redis-cli --cluster create: %v\n%s", err, out)
	}
	for _, e := range nodes {
		Until(t, time.Minute, "the cluster", func() bool { return e.knows(primaries) })
	}
	return nodes
}

// knows says whether a node knows of a whole cluster of so many primaries and replicas.
func (e *Engine) knows(primaries int) bool {
	info := e.AskAll("CLUSTER INFO")
	return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", 2*primaries)) &&
		strings.Count(e.AskAll("CLUSTER NODES"), "slave") == primaries && (e.IsPrimary() || e.Replicates())
}

// Addresses returns the addresses of engines.
func Addresses(engines []*Engine) (addresses []string) {
	for _, e := range engines {
		addresses = append(addresses, e.Address())
	}
	return addresses
}

// Primaries returns the nodes of a cluster that are primaries.
func Primaries(nodes []*Engine) (primaries []*Engine) {
	for _, e := range nodes {
		if e.IsPrimary() {
			primaries = append(primaries, e)
		}
	}
	return primaries
}

// NodeID returns the id by which a cluster calls a node.
func (e *Engine) NodeID() string {
	_, id, _ := strings.Cut(e.AskAll("CLUSTER MYID"), "\r\n")
	id, _, _ = strings.Cut(id, "\r\n")
	return id
}

// Reshard moves so many slots from one primary to another.
func Reshard(t testing.TB, from, to *Engine, slots int) {
	t.Helper()
	out, err := exec.Command(testneeds.Program(t, "redis-cli"), "--cluster", "reshard", from.Address(),
		"--cluster-from", from.NodeID(), "--cluster-to", to.NodeID(), "--cluster-slots", fmt.Sprint(slots),
		"--cluster-yes", "--cluster-pipeline", "1").CombinedOutput()
	if err != nil {
		t.Errorf("redis-cli --cluster reshard: %v\n%s", err, out)
	}
}

// SentinelName is what Sentinels call the primary.
const SentinelName = "main"

// StartSentinels starts an engine with a replica, and Sentinels that watch them. The replica
// takes over from a primary that has not answered for downAfter.
func StartSentinels(t testing.TB, n int, downAfter time.Duration) (primary, replica *Engine, sentinels []*Engine) {
	t.Helper()
	primary = Start(t)
	replica = Start(t, "--replicaof", "127.0.0.1", fmt.Sprint(primary.Port))
	Until(t, time.Minute, "replication", replica.Replicates)
	for range n {
		sentinels = append(sentinels, startSentinel(t, primary.Port, downAfter))
	}
	for _, s := range sentinels {
		Until(t, time.Minute, "the Sentinels", func() bool {
			of := s.AskAll("SENTINEL MASTER " + SentinelName)
			return strings.Contains(of, "num-slaves\r\n$1\r\n1") && strings.Contains(of, fmt.Sprintf("num-other-sentinels\r\n$1\r\n%d", n-1))
		})
	}
	return primary, replica, sentinels
}

func startSentinel(t testing.TB, primary int, downAfter time.Duration) *Engine {
	t.Helper()
	e := newEngine(t, nil)
	config := filepath.Join(e.dir, "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor %[1]s 127.0.0.1 %[2]d 1\nsentinel down-after-milliseconds %[1]s %[3]d\nsentinel failover-timeout %[1]s 3000\n",
		SentinelName, primary, downAfter.Milliseconds())
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	e.first = []string{config, "--sentinel"}
	e.startAnywhere()
	return e
}
