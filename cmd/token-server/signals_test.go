package main

import (
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A terminal that is closed, or a habit from other servers, ends nothing.
func TestHangupIsLogged(t *testing.T) {
	p := startProcess(t)
	p.signal(syscall.SIGHUP)
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(p.log.String(), "SIGHUP") && time.Now().Before(deadline); {
		create(t, "http://"+p.address)
	}
	p.wantLog("SIGHUP changes nothing")
	p.signal(syscall.SIGTERM)
	if got := p.wait(); got != exitOK {
		t.Errorf("exit code = %d, want %d:\n%s", got, exitOK, p.log)
	}
}

// Nor does it during a stop.
func TestHangupDuringAStop(t *testing.T) {
	p := startProcess(t, "--drain-delay=5min")
	p.signal(syscall.SIGTERM)
	for status := 200; status != 503; {
		status, _ = do(t, "GET", "http://"+p.address+"/readyz", "")
	}
	for range 2 {
		before := len(linesWith("SIGHUP", p.log.String()))
		p.signal(syscall.SIGHUP)
		for deadline := time.Now().Add(10 * time.Second); len(linesWith("SIGHUP", p.log.String())) == before; {
			if time.Now().After(deadline) {
				t.Fatalf("a SIGHUP during a stop is not logged:\n%s", p.log)
			}
			create(t, "http://"+p.address) // all goes on
		}
	}
}

// argument is an argument of a function as the runtime prints it in a stack.
var argument = regexp.MustCompile(`\(.*0x[0-9a-f]+.*\)`)

func TestQuitWritesStacksWithoutArguments(t *testing.T) {
	p := startProcess(t)
	create(t, "http://"+p.address)
	p.signal(syscall.SIGQUIT)
	if got := p.wait(); got != exitQuit {
		t.Errorf("exit code = %d, want %d", got, exitQuit)
	}
	p.wantLog("goroutine 1 [")
	p.wantLog("main.(*Main).Execute(…)")
	for line := range strings.Lines(p.log.String()) {
		if argument.MatchString(line) {
			t.Errorf("a stack has arguments: %s", line)
		}
	}
}
