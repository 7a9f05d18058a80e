package browsertest

import (
	"bufio"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// TestDemoEnds: make demo ends both of its programs if it is told to end. A web application
// that stays keeps the port, and goes on with what the next demo is not.
func TestDemoEnds(t *testing.T) {
	if err := build(); err != nil {
		t.Fatal(err)
	}
	command := exec.Command("make", "-C", "..", "demo", "BUILD=:", "BIN="+programs, "ARGS=--address=127.0.0.1:0")
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stderr, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer command.Wait()
	lines := bufio.NewScanner(stderr)
	for lines.Scan() && !opened.MatchString(lines.Text()) {
	}
	if !opened.MatchString(lines.Text()) {
		t.Fatal("the demo did not start")
	}
	ended := make(chan struct{}) // the pipe does once no process has it
	go func() {
		defer close(ended)
		for lines.Scan() {
		}
	}()
	command.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("a program of the demo stays")
		syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		<-ended
	}
}
