package valkey

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tokenserver/internal/storetest"
	"tokenserver/internal/testneeds"
)

// startCluster starts a cluster of primaries, each with a replica.
func startCluster(t testing.TB, primaries int) (nodes []*engineProcess) {
	t.Helper()
	cli := testneeds.Program(t, "redis-cli")
	args := []string{"--cluster", "create"}
	for range 2 * primaries {
		e := startEngine(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-config-file", "nodes.conf")
		nodes = append(nodes, e)
		args = append(args, e.address())
	}
	args = append(args, "--cluster-replicas", "1", "--cluster-yes")
	if out, err := exec.Command(cli, args...).CombinedOutput(); err != nil {
		t.Fatalf("redis-cli --cluster create: %v\n%s", err, out)
	}
	for _, e := range nodes {
		until(t, 30*time.Second, "the cluster", func() bool {
			info := e.askAll("CLUSTER INFO")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", 2*primaries)) &&
				strings.Count(e.askAll("CLUSTER NODES"), "slave") == primaries &&
				(isPrimary(e) || strings.Contains(e.askAll("INFO replication"), "master_link_status:up"))
		})
	}
	return nodes
}

func addressesOf(nodes []*engineProcess) (addresses []string) {
	for _, e := range nodes {
		addresses = append(addresses, e.address())
	}
	return addresses
}

func TestStoreInACluster(t *testing.T) {
	nodes := startCluster(t, 3)
	storetest.Run(t, harness(Engine{Hosts: addressesOf(nodes)}))
}

const sentinelName = "main"

// startSentinels starts an engine with a replica, and Sentinels that watch them.
func startSentinels(t testing.TB, sentinels int) (primary, replica *engineProcess, hosts []string) {
	t.Helper()
	primary = startEngine(t)
	replica = startEngine(t, "--replicaof", "127.0.0.1", fmt.Sprint(primary.port))
	for range sentinels {
		hosts = append(hosts, startSentinel(t, primary.port))
	}
	until(t, 30*time.Second, "replication", func() bool {
		return strings.Contains(replica.askAll("INFO replication"), "master_link_status:up")
	})
	return primary, replica, hosts
}

func startSentinel(t testing.TB, primary int) (host string) {
	t.Helper()
	e := &engineProcess{t: t, dir: t.TempDir(), port: freePort(t)}
	config := filepath.Join(e.dir, "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor %[1]s 127.0.0.1 %[2]d 1\nsentinel down-after-milliseconds %[1]s 1000\nsentinel failover-timeout %[1]s 3000\n", sentinelName, primary)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	e.command = []string{config, "--sentinel"}
	t.Cleanup(e.kill)
	e.start()
	return e.address()
}

func TestStoreThroughSentinels(t *testing.T) {
	_, _, hosts := startSentinels(t, 3)
	storetest.Run(t, harness(Engine{Hosts: hosts, Sentinel: sentinelName}))
}
