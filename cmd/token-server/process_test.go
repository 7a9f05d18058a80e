package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var binaryDir string

// binary builds the command once.
var binary = sync.OnceValues(func() (path string, err error) {
	if binaryDir, err = os.MkdirTemp("", "token-server"); err != nil {
		return "", err
	}
	path = filepath.Join(binaryDir, "token-server")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

func removeBinary() {
	if binaryDir != "" {
		os.RemoveAll(binaryDir)
	}
}

// process is a running command.
type process struct {
	t       *testing.T
	cmd     *exec.Cmd
	address string // where it listens, once it is ready
	// listening is the address, for the goroutine that reads the log.
	listening string
	log       *buffer
	exited    chan struct{} // closed when it has ended
}

// command prepares a run of the built binary without any variables of this package's flags.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(path, args...)
}

// startProcess starts the command on a free port and waits until it is ready.
func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	return startCommand(t, command(t, append([]string{"--port=0", "--admin-address=off"}, args...)...))
}

// startCommand starts a command and waits until it is ready.
func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd, log: new(buffer), exited: make(chan struct{})}
	ready := make(chan string, 1)
	go p.follow(stderr, ready)
	t.Cleanup(func() { cmd.Process.Kill(); <-p.exited })
	select {
	case p.address = <-ready:
	case <-p.exited:
		t.Fatalf("the command ended before it was ready:\n%s", p.log)
	}
	return p
}

// follow copies the log, reports the address in it, and waits for the end.
func (p *process) follow(stderr io.Reader, ready chan<- string) {
	defer close(p.exited)
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		p.note(lines.Text(), ready)
	}
	p.cmd.Wait()
}

// note keeps a line of the log, and reports the address once the command is ready.
func (p *process) note(line string, ready chan<- string) {
	fmt.Fprintln(p.log, line)
	if _, address, ok := strings.Cut(line, " msg=listening address="); ok {
		p.listening = address
	}
	if strings.HasSuffix(line, " msg=ready") {
		ready <- p.listening
	}
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait returns the exit code.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
		p.t.Fatalf("the command has not ended within 10 s:\n%s", p.log)
	}
	return p.cmd.ProcessState.ExitCode()
}

// awaitRefusal waits until new connections are refused.
func (p *process) awaitRefusal() {
	p.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		c, err := net.Dial("tcp", p.address)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if err == nil {
			c.Close()
		}
	}
	p.t.Fatal("connections are still accepted after 10 s")
}

// conn is a connection on which requests are written by hand.
type conn struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func dial(t *testing.T, address string) *conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return &conn{c, t, bufio.NewReader(c)}
}

func (c *conn) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

// readAnswer reads one answer and returns its status.
func (c *conn) readAnswer() int {
	c.t.Helper()
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		c.t.Fatal(err)
	}
	return res.StatusCode
}

const createBody = `{"meta":{"user":1}}`

// beginCreate sends a POST /token without its body. When it returns, the
// server has read the headers and waits for the body.
func (c *conn) beginCreate() {
	c.t.Helper()
	c.send(fmt.Sprintf("POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+
		"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(createBody)))
	if status := c.readAnswer(); status != 100 {
		c.t.Fatalf("answer to Expect = %d, want 100", status)
	}
}

func TestSignalsStopCleanly(t *testing.T) {
	for _, s := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		p := startProcess(t)
		p.signal(s)
		if got := p.wait(); got != exitOK {
			t.Errorf("exit code after %v = %d, want %d:\n%s", s, got, exitOK, p.log)
		}
	}
}

func TestRequestInFlightIsAnswered(t *testing.T) {
	p := startProcess(t)
	c := dial(t, p.address)
	c.beginCreate()
	p.signal(syscall.SIGTERM)
	p.awaitRefusal()
	c.send(createBody)
	if got := c.readAnswer(); got != 200 {
		t.Errorf("answer to a request in flight at SIGTERM = %d, want 200", got)
	}
	if got := p.wait(); got != exitOK {
		t.Errorf("exit code = %d, want %d:\n%s", got, exitOK, p.log)
	}
}

func TestSecondSignal(t *testing.T) {
	for _, first := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(fmt.Sprintf("%v, then an interrupt while a request is in flight", first), func(t *testing.T) {
			p := startProcess(t)
			dial(t, p.address).beginCreate()
			p.signal(first)
			p.awaitRefusal()
			p.signal(os.Interrupt)
			if got := p.wait(); got != exitFailed {
				t.Errorf("exit code = %d, want %d:\n%s", got, exitFailed, p.log)
			}
		})
	}
	t.Run("SIGTERM changes nothing", func(t *testing.T) {
		p := startProcess(t)
		c := dial(t, p.address)
		c.beginCreate()
		for range 3 {
			p.signal(syscall.SIGTERM)
		}
		p.awaitRefusal()
		p.signal(syscall.SIGTERM)
		c.send(createBody)
		if got := c.readAnswer(); got != 200 {
			t.Errorf("answer to a request in flight = %d, want 200", got)
		}
		if got := p.wait(); got != exitOK {
			t.Errorf("exit code = %d, want %d:\n%s", got, exitOK, p.log)
		}
	})
	t.Run("during the drain delay", func(t *testing.T) {
		p := startProcess(t, "--drain-delay=5min")
		p.signal(syscall.SIGTERM)
		for status := 200; status != 503; {
			status, _ = do(t, "GET", "http://"+p.address+"/readyz", "")
		}
		create(t, "http://"+p.address)
		p.signal(os.Interrupt)
		if got := p.wait(); got != exitFailed {
			t.Errorf("exit code = %d, want %d:\n%s", got, exitFailed, p.log)
		}
	})
}

func TestProcessOutlivesTheReaderOfItsLog(t *testing.T) {
	log, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := command(t, "--port=0", "--admin-address=off", "--log-level=debug")
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	ready := make(chan string, 1)
	p := &process{t: t, cmd: cmd, log: new(buffer), exited: make(chan struct{})}
	lines := bufio.NewScanner(log)
	for len(ready) == 0 && lines.Scan() {
		p.note(lines.Text(), ready)
	}
	log.Close()
	go func() { cmd.Wait(); close(p.exited) }()
	t.Cleanup(func() { cmd.Process.Kill(); <-p.exited })
	create(t, "http://"+<-ready) // logs in vain
	p.signal(syscall.SIGTERM)
	if got := p.wait(); got != exitOK {
		t.Errorf("exit code = %d, want %d", got, exitOK)
	}
}

func TestProcessStreamsAndExitCodes(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	tests := []struct {
		args           []string
		env            string
		code           int
		stdout, stderr string // how they begin, or "" for nothing
	}{
		{[]string{"--help"}, "", exitOK, "Usage: token-server", ""},
		{[]string{"--version"}, "", exitOK, "token-server ", ""},
		{[]string{"--port=x"}, "", exitUsage, "", `token-server: --port "x"`},
		{[]string{"extra"}, "", exitUsage, "", `token-server: unexpected argument "extra"`},
		{nil, "TOKEN_SERVER_SHARDS=3", exitUsage, "", `token-server: TOKEN_SERVER_SHARDS "3"`},
		{[]string{"--port=" + port}, "TOKEN_SERVER_ADMIN_ADDRESS=off", exitFailed, "", "time="},
	}
	for _, tt := range tests {
		var stdout, stderr bytes.Buffer
		cmd := command(t, tt.args...)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		cmd.Env = append(cmd.Environ(), tt.env)
		cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != tt.code {
			t.Errorf("%q with %q: exit code %d, want %d", tt.args, tt.env, got, tt.code)
		}
		checkStream(t, fmt.Sprintf("%q with %q: stdout", tt.args, tt.env), stdout.String(), tt.stdout)
		checkStream(t, fmt.Sprintf("%q with %q: stderr", tt.args, tt.env), stderr.String(), tt.stderr)
	}
}

func checkStream(t *testing.T, name, got, prefix string) {
	t.Helper()
	if !strings.HasPrefix(got, prefix) || (prefix == "") != (got == "") {
		t.Errorf("%s = %q, want %q", name, got, prefix)
	}
}

func TestProcessVersion(t *testing.T) {
	out, err := command(t, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	info, ok := debug.ReadBuildInfo()
	if want := ", " + info.GoVersion + ")\n"; !ok || !strings.HasSuffix(string(out), want) {
		t.Errorf("version = %q, want the end %q", out, want)
	}
}
