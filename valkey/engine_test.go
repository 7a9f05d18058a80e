package valkey

import (
	"flag"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"tokenserver/internal/testneeds"
)

// engineProcess is a redis-server on a free loopback port, with a folder of its own.
type engineProcess struct {
	t    testing.TB
	dir  string
	port int
	args []string
	// command begins the arguments of what is no ordinary redis-server.
	command []string
	cmd     *exec.Cmd
}

var onEngines = flag.Bool("valkey.engines", false, "run the tests on real engines, which go by real time and take minutes: make engines")

// startEngine starts a redis-server, which lives until the end of t.
func startEngine(t testing.TB, args ...string) *engineProcess {
	t.Helper()
	if !*onEngines {
		t.Skip("without -valkey.engines")
	}
	testneeds.Program(t, "redis-server")
	e := &engineProcess{t: t, dir: t.TempDir(), port: freePort(t), args: append([]string{"--save", "", "--repl-diskless-sync-delay", "0"}, args...)}
	t.Cleanup(e.kill)
	e.start()
	return e
}

// freePort returns a port that was free a moment ago.
func freePort(t testing.TB) int {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		if port < 55000 { // a node of a cluster listens on a port 10000 higher, too
			return port
		}
	}
}

func (e *engineProcess) address() string { return fmt.Sprintf("127.0.0.1:%d", e.port) }

// start starts the process, and waits until it answers.
func (e *engineProcess) start() {
	e.t.Helper()
	args := append(append(e.command, "--port", fmt.Sprint(e.port), "--bind", "127.0.0.1", "--dir", e.dir, "--daemonize", "no"), e.args...)
	e.cmd = exec.Command("redis-server", args...)
	if err := e.cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for !strings.HasPrefix(e.ask("PING"), "+PONG") {
		if time.Now().After(deadline) {
			e.t.Fatal("redis-server does not answer")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// ask sends an inline command and returns the first line of the reply.
func (e *engineProcess) ask(command string) string {
	line, _, _ := strings.Cut(e.askAll(command), "\n")
	return line
}

// askAll returns the whole reply, as it comes.
func (e *engineProcess) askAll(command string) string {
	conn, err := net.DialTimeout("tcp", e.address(), time.Second)
	if err != nil {
		return ""
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintf(conn, "%s\r\nQUIT\r\n", command)
	reply, _ := io.ReadAll(conn)
	return string(reply)
}

func (e *engineProcess) signal(sig syscall.Signal) { e.cmd.Process.Signal(sig) }

// kill ends the process at once, if it runs.
func (e *engineProcess) kill() {
	if e.cmd == nil || e.cmd.Process == nil {
		return
	}
	e.signal(syscall.SIGKILL)
	e.cmd.Wait()
	e.cmd = nil
}
