package enginetest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tokenserver/internal/testneeds"
)

// startTimeout is how long an engine may take until it answers, on a machine that is busy.
const startTimeout = 30 * time.Second

// Engine is a redis-server.
type Engine struct {
	Port int

	t   testing.TB
	dir string
	// first has the arguments that stand before all others, and args those behind them.
	first, args []string
	cmd         *exec.Cmd
	ended       chan struct{} // closed when the process has ended
}

// Start starts a redis-server with arguments of its own, which lives until the end of t.
func Start(t testing.TB, args ...string) *Engine {
	t.Helper()
	e := newEngine(t, append([]string{"--save", "", "--repl-diskless-sync-delay", "0"}, args...))
	e.startAnywhere()
	return e
}

func newEngine(t testing.TB, args []string) *Engine {
	t.Helper()
	testneeds.Program(t, "redis-server")
	e := &Engine{t: t, dir: t.TempDir(), args: args}
	t.Cleanup(e.Kill)
	return e
}

// startAnywhere starts the engine on a free port. Somebody else may take it first.
func (e *Engine) startAnywhere() {
	e.t.Helper()
	for range 5 {
		e.Port = FreePort(e.t)
		if e.run(); e.answers() {
			return
		}
	}
	e.t.Fatalf("redis-server does not start:\n%s", e.log())
}

// Start starts an engine again that was killed, and waits until it answers.
func (e *Engine) Start() {
	e.t.Helper()
	if e.run(); !e.answers() {
		e.t.Fatalf("redis-server does not start:\n%s", e.log())
	}
}

func (e *Engine) run() {
	e.t.Helper()
	args := append(append(e.first, "--port", fmt.Sprint(e.Port), "--bind", "127.0.0.1", "--dir", e.dir,
		"--logfile", "log", "--daemonize", "no"), e.args...)
	e.cmd, e.ended = exec.Command("redis-server", args...), make(chan struct{})
	if err := e.cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	go func(cmd *exec.Cmd, ended chan struct{}) {
		cmd.Wait()
		close(ended)
	}(e.cmd, e.ended)
}

// answers waits until the engine answers, and returns false if it ends instead.
func (e *Engine) answers() bool {
	deadline := time.Now().Add(startTimeout)
	for !strings.HasPrefix(e.Ask("PING"), "+PONG") {
		select {
		case <-e.ended:
			return false
		case <-time.After(2 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// log returns what the engine has logged.
func (e *Engine) log() string {
	text, _ := os.ReadFile(filepath.Join(e.dir, "log"))
	return string(text)
}

// FreePort returns a port that was free a moment ago, as was the one 10000 higher, on which a
// node of a cluster listens, too. Both are below those that the system gives to connections.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		if port := 10000 + rand.IntN(12000); isFree(port) && isFree(port+10000) {
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

func isFree(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}

// Address returns the engine's host and port.
func (e *Engine) Address() string { return fmt.Sprintf("127.0.0.1:%d", e.Port) }

// Signal sends the process a signal.
func (e *Engine) Signal(sig syscall.Signal) { e.cmd.Process.Signal(sig) }

// Kill ends the process at once, if it runs.
func (e *Engine) Kill() {
	if e.cmd == nil || e.cmd.Process == nil {
		return
	}
	e.Signal(syscall.SIGKILL)
	<-e.ended
	e.cmd = nil
}

// PID returns the process's id.
func (e *Engine) PID() int { return e.cmd.Process.Pid }

// IsPrimary says whether the engine says so.
func (e *Engine) IsPrimary() bool { return strings.Contains(e.AskAll("ROLE"), "master") }

// Replicates says whether the engine is a replica that has all that its primary had.
func (e *Engine) Replicates() bool {
	return strings.Contains(e.AskAll("INFO replication"), "master_link_status:up")
}

// Until waits until ok, and fails t if that takes too long. It returns how long it took.
func Until(t testing.TB, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > limit {
			t.Fatalf("%s: not within %v", what, limit)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return time.Since(start)
}
