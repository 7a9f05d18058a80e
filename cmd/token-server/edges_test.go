package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tokenserver/server"
)

// fewDescriptors runs a command that may have n file descriptors.
func fewDescriptors(cmd *exec.Cmd, n int) *exec.Cmd {
	limited := exec.Command("/bin/sh", append([]string{"-c", fmt.Sprintf(`ulimit -n %d && exec "$@"`, n), "sh"}, cmd.Args...)...)
	limited.Env = cmd.Env
	return limited
}

// A crowd of idle connections takes neither the connections of those who come to
// work nor the descriptors of the store.
func TestIdleConnectionsBeyondTheDescriptors(t *testing.T) {
	p := startCommand(t, fewDescriptors(command(t, "--port=0", "--admin-address=off", "--data-dir="+filepath.Join(t.TempDir(), "data")), 64))
	tok := create(t, "http://"+p.address)
	for range 100 {
		c, err := net.Dial("tcp", p.address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	for range 20 {
		c := dial(t, p.address)
		c.beginCreate()
		c.send(createBody)
		if got := c.readAnswer(); got != 200 {
			t.Errorf("POST /token beside 100 idle connections = %d, want 200", got)
		}
		c.Close()
	}
	p.exchange(tok)
	p.signal(syscall.SIGTERM)
	if got := p.wait(); got != exitOK || strings.Contains(p.log.String(), "level=ERROR") {
		t.Errorf("exit code = %d, want %d and no error in the log:\n%s", got, exitOK, p.log)
	}
}

// What has arrived while the whole process stood still is read before anything is
// called too slow.
func TestPauseOfTheProcess(t *testing.T) {
	p := startProcess(t)
	late, idle := dial(t, p.address), dial(t, p.address)
	late.beginCreate()
	p.signal(syscall.SIGSTOP)
	late.send(createBody)
	idle.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	time.Sleep(server.DefaultRequestTimeout + 2*time.Second) // the clock of a process can't be faked
	p.signal(syscall.SIGCONT)
	for _, c := range []*conn{late, idle} {
		c.SetDeadline(time.Now().Add(10 * time.Second))
	}
	for name, c := range map[string]*conn{"begun before": late, "sent meanwhile": idle} {
		if got := c.readAnswer(); got != 200 {
			t.Errorf("answer to a request %s the pause = %d, want 200", name, got)
		}
	}
}

// answerOrRefusal reads what came for a create, and says if that was neither an answer
// nor a refusal.
func answerOrRefusal(c *client, r *request) error {
	err := c.receive(r)
	switch {
	case err == nil && r.answer.token != "", errors.Is(err, errUnavailable) && r.notDone:
		return nil
	case err == nil:
		return fmt.Errorf("%v", r)
	}
	return err
}

// Beyond the limit of connections nobody is cut off who has asked: neither those whose
// requests have come while the process stood still, nor those who come all the time.
func TestCrowdIsRefusedInWords(t *testing.T) {
	p := startProcess(t, "--max-connections=50")
	p.signal(syscall.SIGSTOP)
	var waiting []*client
	var asked []*request
	for range 300 {
		c, err := dialClient(p.address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		r := &request{kind: kindCreate}
		c.send(r)
		waiting, asked = append(waiting, c), append(asked, r)
	}
	p.signal(syscall.SIGCONT)
	for i, c := range waiting {
		if err := answerOrRefusal(c, asked[i]); err != nil {
			t.Errorf("connection %d of the backlog: %v", i, err)
		}
	}
	for _, c := range waiting {
		c.Close()
	}
	var crowd sync.WaitGroup
	for range 40 {
		crowd.Go(func() {
			for range 50 {
				began := time.Now()
				c, err := dialClient(p.address)
				if err != nil {
					t.Error(err)
					return
				}
				r := &request{kind: kindCreate}
				c.send(r)
				inTime := time.Since(began) < 50*time.Millisecond // on a busy machine it may not be
				if err := answerOrRefusal(c, r); err != nil && inTime {
					t.Errorf("one of many: %v", err)
				}
				c.Close()
			}
		})
	}
	crowd.Wait()
}

// wantReplaced checks that the process ends because its data directory is gone, and
// that it says so in one line.
func (p *process) wantReplaced(dir string) {
	p.t.Helper()
	start := time.Now()
	if got := p.wait(); got != exitDisk {
		p.t.Errorf("exit code = %d, want %d:\n%s", got, exitDisk, p.log)
	}
	if took := time.Since(start); took > 4*time.Second {
		p.t.Errorf("it ended after %v, want 3 s at most", took)
	}
	if lines := linesWith("level=ERROR", p.log.String()); len(lines) != 1 || !strings.Contains(lines[0], "the data directory is gone") || !strings.Contains(lines[0], dir) {
		p.t.Errorf("errors in the log are %q, want one that says what became of %s", lines, dir)
	}
}

func TestDataDirIsReplaced(t *testing.T) {
	for _, ending := range []string{"idle", "at a stop"} {
		t.Run(ending, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			p := startProcess(t, "--data-dir="+dir)
			tok := create(t, "http://"+p.address)
			if err := os.Rename(dir, dir+".away"); err != nil {
				t.Fatal(err)
			}
			next := startProcess(t, "--data-dir="+dir)
			nextTok := create(t, "http://"+next.address)
			if ending == "at a stop" {
				p.signal(syscall.SIGTERM)
			}
			p.wantReplaced(dir)
			nextTok = next.exchange(nextTok) // nobody has touched its files
			next.signal(syscall.SIGKILL)
			next.wait()
			startProcess(t, "--data-dir="+dir).exchange(nextTok)
			startProcess(t, "--data-dir="+dir+".away").exchange(tok)
		})
	}
}

func TestDataDirIsRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	p := startProcess(t, "--data-dir="+dir)
	create(t, "http://"+p.address)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	p.wantReplaced(dir)
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the data directory is there again: %v", err)
	}
}
