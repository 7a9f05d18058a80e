package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// The servers have one processor for themselves, and the loads the other, or both may use all.
const (
	serverCPU = 0
	loadCPU   = 1
	anyCPU    = -1
)

// stopTimeout is how long a program may take to end when told to, and a server to listen.
const stopTimeout = 10 * time.Second

// command makes a command on a processor, with nothing of this one's environment that could
// change its settings.
func command(ctx context.Context, cpu int, program string, args ...string) *exec.Cmd {
	env, words := commandOn(cpu, program, args)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Env = append(env, "PATH="+os.Getenv("PATH"))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	return cmd
}

// commandOn returns what runs a program on a processor: environment and words.
func commandOn(cpu int, program string, args []string) (env, words []string) {
	words = append([]string{program}, args...)
	if cpu == anyCPU {
		return nil, words
	}
	return []string{"GOMAXPROCS=1"}, append([]string{"taskset", "--cpu-list", strconv.Itoa(cpu)}, words...)
}

// process is a running server. taskset turns into it, so that they are one process.
type process struct {
	cmd     *exec.Cmd
	address string
	stdin   io.WriteCloser
	output  bytes.Buffer // may be read after exited
	exited  chan struct{}
}

// startServer starts a server on a processor and a free port of the loopback interface, and
// waits until it listens. args makes its arguments.
func startServer(ctx context.Context, cpu int, program string, args func(host, port string) []string) (*process, error) {
	host, port, err := freeAddress()
	if err != nil {
		return nil, err
	}
	s := &process{
		cmd:     command(ctx, cpu, program, args(host, port)...),
		address: net.JoinHostPort(host, port),
		exited:  make(chan struct{}),
	}
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = s.cmd.Wait() // how it ends does not matter, only that it has not done so early
		close(s.exited)
	}()
	if err := s.waitUntilListening(); err != nil {
		s.stop()
		return nil, fmt.Errorf("%s: %w\n%s", filepath.Base(program), err, s.output.Bytes())
	}
	return s, nil
}

// freeAddress returns a port that is free now and, as nobody else looks for one, stays so.
func freeAddress() (host, port string, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer ln.Close()
	return net.SplitHostPort(ln.Addr().String())
}

func (s *process) waitUntilListening() error {
	for deadline := time.Now().Add(stopTimeout); time.Now().Before(deadline); {
		if conn, err := net.DialTimeout("tcp", s.address, time.Second); err == nil {
			return conn.Close()
		}
		select {
		case <-s.exited:
			return errors.New("ended before it listened")
		case <-time.After(5 * time.Millisecond):
		}
	}
	return errors.New("does not listen")
}

// stop ends the server and returns when it has ended.
func (s *process) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it fails if the server has ended
	select {
	case <-s.exited:
	case <-time.After(stopTimeout):
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
}

// resident returns how many bytes of memory the server takes.
func (s *process) resident() (int64, error) {
	proc, err := procfs.NewProc(s.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	status, err := proc.NewStatus()
	if err == nil && status.VmRSS == 0 {
		err = errors.New("the process has ended") // and nobody has waited for it yet
	}
	return int64(status.VmRSS), err
}
