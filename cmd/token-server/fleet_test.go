package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tokenserver/internal/enginetest"
	"tokenserver/internal/testneeds"
)

// nginxConfig is what stands before token servers. Each request goes to one of them: nginx would
// send a PUT again that may have been carried out, and its second answer would be InvalidToken.
const nginxConfig = `daemon off;
master_process off;
pid nginx.pid;
error_log stderr error;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path body; proxy_temp_path proxy;
	fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	keepalive_requests 1000000;
	upstream servers {
		%s
		keepalive 64;
	}
	server {
		listen 127.0.0.1:%d;
		location / {
			proxy_pass http://servers;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_next_upstream off;
		}
	}
}
`

// startNginx starts nginx in front of servers, and returns where it listens.
func startNginx(t *testing.T, ports []int) (address string) {
	t.Helper()
	var servers strings.Builder
	for _, port := range ports {
		fmt.Fprintf(&servers, "server 127.0.0.1:%d max_fails=1 fail_timeout=1s;\n", port)
	}
	port := enginetest.FreePort(t)
	address = fmt.Sprintf("127.0.0.1:%d", port)
	runNginx(t, fmt.Sprintf(nginxConfig, &servers, port), address)
	return address
}

// runNginx runs nginx with a configuration until the test ends. It listens at address.
func runNginx(t *testing.T, config, address string) {
	t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		path = "/usr/sbin/nginx"
	}
	_, err = os.Stat(path)
	testneeds.That(t, err == nil, "nginx is not installed")
	dir := t.TempDir()
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	runProxy(t, exec.Command(path, "-p", dir, "-c", file, "-e", "stderr"), address)
}

// runProxy runs a proxy until the test ends, and returns when it listens.
func runProxy(t *testing.T, cmd *exec.Cmd, address string) {
	t.Helper()
	var log buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", cmd, log.String())
		}
	})
	enginetest.Until(t, time.Minute, filepath.Base(cmd.Path), func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// fleet is workers, with a ledger, before token servers on one engine.
type fleet struct {
	t       *testing.T
	ledger  *ledger
	workers []*worker
	stop    chan struct{}
	running sync.WaitGroup
}

// newFleet makes workers that dial a pair of servers that dial names.
func newFleet(t *testing.T, workers int) *fleet {
	t.Helper()
	f := &fleet{t: t, ledger: &ledger{t: t}, stop: make(chan struct{})}
	seed := *tortureSeed
	if seed == 0 {
		seed = mathrand.Uint64()
	}
	t.Logf("-torture.seed=%d", seed)
	for i := range workers {
		f.workers = append(f.workers, &worker{ledger: f.ledger, rng: mathrand.New(mathrand.NewPCG(seed, uint64(i)))})
	}
	return f
}

// run has all workers send requests until halt, on new connections whenever one has failed.
func (f *fleet) run(addresses ...string) {
	for _, w := range f.workers {
		f.running.Go(func() {
			for {
				select {
				case <-f.stop:
					return
				default:
				}
				if err := w.dialEach(addresses...); err != nil {
					f.ledger.violation("dial: %v", err)
					return
				}
				w.loadUntil(f.stop)
				w.close()
			}
		})
	}
}

// halt stops the load, and compares what a server has, and answers, with the ledger.
func (f *fleet) halt(s *process, addresses ...string) {
	f.t.Helper()
	close(f.stop)
	f.running.Wait()
	f.ledger.compare(s.dump())
	var checked sync.WaitGroup
	for _, w := range f.workers {
		checked.Go(func() {
			if err := w.dialEach(addresses...); err != nil {
				f.ledger.violation("dial: %v", err)
				return
			}
			defer w.close()
			w.check()
		})
	}
	checked.Wait()
	f.t.Logf("%d sessions, %d requests", len(f.ledger.accounts), f.ledger.requested())
}

// reaches waits until so many more requests have been sent.
func (f *fleet) reaches(more int) {
	f.t.Helper()
	want := f.ledger.requested() + more
	enginetest.Until(f.t, time.Minute, "load", func() bool { return f.ledger.requested() >= want || f.t.Failed() })
}

// TestTwoServersMixedLoad: each worker has a connection to each of two servers, and sends single
// requests about one session to both at once, and batches to one of them. The ledger explains all
// answers.
func TestTwoServersMixedLoad(t *testing.T) {
	e := enginetest.Start(t)
	for _, test := range []struct {
		name string
		args []string
	}{{"plain", nil}, {"with policies", []string{"--max-lifetime=12h"}}} {
		t.Run(test.name, func(t *testing.T) {
			args := append([]string{"--dump", "--valkey-timeout=10s", "--valkey=valkey://" + e.Address() + "?prefix=" + test.name[:4] + ":"}, test.args...)
			a, b := startProcess(t, args...), startProcess(t, args...)
			f := newFleet(t, 32)
			f.run(a.address, b.address)
			f.reaches(6000)
			f.halt(a, b.address, a.address)
		})
	}
}

// TestTwoServersRace: of many clients that exchange one token at two servers at once, one wins.
func TestTwoServersRace(t *testing.T) {
	const rounds, contestants = 1000, 64
	url := "--valkey=valkey://" + enginetest.Start(t).Address()
	servers := []*process{startProcess(t, url, "--valkey-timeout=10s"), startProcess(t, url, "--valkey-timeout=10s")}
	var clients [contestants]*client
	for i := range clients {
		c, err := dialClient(servers[i%len(servers)].address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		clients[i] = c
	}
	tok, won := create(t, "http://"+servers[0].address), make([]int, len(servers))
	for round := range rounds {
		winner, next, err := race(clients[:], tok)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		tok = next
		won[winner%len(servers)]++
	}
	t.Logf("won by server: %v", won)
}

// race has all clients exchange a token at once, and returns which one has won, and its next token.
func race(clients []*client, tok string) (winner int, next string, err error) {
	requests, errs := make([]request, len(clients)), make([]error, len(clients))
	var all sync.WaitGroup
	for i, c := range clients {
		all.Go(func() {
			requests[i] = request{kind: kindExchange, token: tok}
			c.send(&requests[i])
			errs[i] = c.receive(&requests[i])
		})
	}
	all.Wait()
	winners := 0
	for i, r := range requests {
		switch {
		case errs[i] != nil:
			return 0, "", errs[i]
		case r.answer.token != "":
			winner, next = i, r.answer.token
			winners++
		case !r.answer.invalid:
			return 0, "", fmt.Errorf("%v, want a token or InvalidToken", &r)
		}
	}
	if winners != 1 {
		return 0, "", fmt.Errorf("%d winners, want 1", winners)
	}
	return winner, next, nil
}

// TestFleet is the picture of a full deployment: three token servers on a cluster of six, behind
// nginx. Servers are killed, stopped and started under load, and a primary is replaced. No
// answer is taken back.
func TestFleet(t *testing.T) {
	nodes := enginetest.StartCluster(t, 3, enginetest.Patient)
	args := []string{"--admin-address=off", "--dump", "--valkey-timeout=10s", "--valkey=valkey://" + strings.Join(enginetest.Addresses(nodes), ",")}
	var ports []int
	var servers []*process
	start := func(port int) *process {
		return startCommand(t, command(t, append([]string{fmt.Sprintf("--port=%d", port)}, args...)...))
	}
	for range 3 {
		ports = append(ports, enginetest.FreePort(t))
		servers = append(servers, start(ports[len(ports)-1]))
	}
	front := startNginx(t, ports)
	f := newFleet(t, 24)
	f.run(front)
	for i, s := range []os.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL} {
		f.reaches(1000)
		servers[i].signal(s)
		servers[i].wait()
		f.reaches(1000)
		servers[i] = start(ports[i])
	}
	f.reaches(500)
	for _, e := range nodes {
		if !e.IsPrimary() {
			e.Must("CLUSTER FAILOVER")
			break
		}
	}
	f.reaches(1000)
	f.halt(servers[0], front)
}

// TestEngineOverTLS: the engine's certificate is checked, and user and password go with it.
func TestEngineOverTLS(t *testing.T) {
	dir := t.TempDir()
	ca := writeCertificate(t, dir)
	port := enginetest.FreePort(t)
	enginetest.Start(t, "--tls-port", fmt.Sprint(port), "--tls-cert-file", filepath.Join(dir, "cert.pem"),
		"--tls-key-file", filepath.Join(dir, "key.pem"), "--tls-ca-cert-file", ca, "--tls-auth-clients", "no",
		"--user", "app", "on", ">right", "~*", "+@all")
	url := fmt.Sprintf("--valkey=valkeys://app@127.0.0.1:%d", port)
	run := func(variables ...string) *exec.Cmd {
		return withEnv(command(t, "--port=0", "--admin-address=off", url), variables...)
	}
	p := startCommand(t, run("SSL_CERT_FILE="+ca, passwordVariable+"=right"))
	tok := create(t, "http://"+p.address)
	p.exchange(tok)
	for name, test := range map[string]struct {
		cmd  *exec.Cmd
		want string
	}{
		"an unknown certificate": {run("SSL_CERT_FILE=/dev/null", passwordVariable+"=right"), "certificate"},
		"a wrong password":       {run("SSL_CERT_FILE="+ca, passwordVariable+"=wrong"), "WRONGPASS"},
	} {
		out, err := test.cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), test.want) {
			t.Errorf("%s: error %v, want one that tells of %q:\n%s", name, err, test.want, out)
		}
	}
}

// TestClusterOverTLS: certificates of all nodes are checked, also of those that the cluster tells
// of, and their buses are encrypted, too.
func TestClusterOverTLS(t *testing.T) {
	dir := t.TempDir()
	ca := writeCertificate(t, dir)
	var nodes []*enginetest.Engine
	var hosts []string
	for first := range 3 {
		port := enginetest.FreePort(t)
		e := enginetest.Start(t, "--cluster-enabled", "yes", "--tls-cluster", "yes", "--tls-port", fmt.Sprint(port),
			"--tls-cert-file", filepath.Join(dir, "cert.pem"), "--tls-key-file", filepath.Join(dir, "key.pem"),
			"--tls-ca-cert-file", ca, "--tls-auth-clients", "no")
		e.Must(fmt.Sprintf("CLUSTER ADDSLOTSRANGE %d %d", first*5462, min(first*5462+5461, 16383)))
		nodes, hosts = append(nodes, e), append(hosts, fmt.Sprintf("127.0.0.1:%d", port))
		nodes[0].Must(fmt.Sprintf("CLUSTER MEET 127.0.0.1 %d %d", port, port+10000))
	}
	for _, e := range nodes {
		enginetest.Until(t, time.Minute, "the cluster", func() bool {
			info := e.AskAll("CLUSTER INFO")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_size:3")
		})
	}
	for _, url := range []string{strings.Join(hosts, ","), hosts[0]} {
		p := startCommand(t, withEnv(command(t, "--port=0", "--admin-address=off", "--valkey-timeout=10s", "--valkey=valkeys://"+url), "SSL_CERT_FILE="+ca))
		for range 20 {
			p.exchange(create(t, "http://"+p.address))
		}
	}
	for _, e := range nodes {
		if got := e.AskAll("DBSIZE"); strings.HasPrefix(got, ":0") {
			t.Errorf("a primary has no sessions: %s", got)
		}
	}
	out, err := withEnv(command(t, "--port=0", "--admin-address=off", "--valkey=valkeys://"+hosts[0]), "SSL_CERT_FILE=/dev/null").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "certificate") {
		t.Errorf("an unknown certificate: error %v, want one that tells of it:\n%s", err, out)
	}
}

// writeCertificate writes a certificate for 127.0.0.1 that is its own authority, and its key, and
// returns the name of the certificate's file.
func writeCertificate(t *testing.T, dir string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "engine"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, // a node is both
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "cert.pem")
	for name, block := range map[string]*pem.Block{path: {Type: "CERTIFICATE", Bytes: der}, filepath.Join(dir, "key.pem"): {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}
