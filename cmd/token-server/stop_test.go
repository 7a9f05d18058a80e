package main

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestExecuteEndsWithItsContext(t *testing.T) {
	keepMemoryLimit(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	log := new(buffer)
	m := &Main{Stdout: io.Discard, Stderr: log}
	if got := m.Execute(ctx, []string{"--port=0", "--admin-address=127.0.0.1:0"}); got != exitOK {
		t.Errorf("Execute(canceled) = %d, want %d; log:\n%s", got, exitOK, log)
	}
	if !strings.Contains(log.String(), "msg=stopping") || !strings.HasSuffix(log.String(), "msg=stopped\n") {
		t.Errorf("log = %q, want the stop", log)
	}
}

func TestWaitTellsThatTheServerFailed(t *testing.T) {
	m, _ := newMain(t, "--drain-delay=5min") // not waited for: nobody is left to be told
	if err := m.Run(); err != nil {
		t.Fatal(err)
	}
	m.listeners[0].Close()
	if err := m.Wait(context.Background()); err == nil {
		t.Error("Wait() = nil, want the failure of the server")
	}
	if err := m.Close(); err != nil {
		t.Errorf("Close() = %v, want nil", err)
	}
}

func TestCloseDrains(t *testing.T) {
	m, _ := newMain(t, "--drain-delay=1s")
	if err := m.Run(); err != nil {
		t.Fatal(err)
	}
	if status, _ := do(t, "GET", m.url("/readyz"), ""); status != 200 {
		t.Errorf("GET /readyz = %d, want 200", status)
	}
	start := time.Now()
	closed := make(chan error, 1)
	go func() { closed <- m.Close() }()
	for status := 200; status != 503; {
		status, _ = do(t, "GET", m.url("/readyz"), "")
	}
	create(t, m.url("")) // all else goes on
	if err := <-closed; err != nil {
		t.Errorf("Close() = %v, want nil", err)
	}
	if took := time.Since(start); took < m.Config.DrainDelay {
		t.Errorf("Close() took %v, want %v at least", took, m.Config.DrainDelay)
	}
	if c, err := net.Dial("tcp", m.listeners[0].Addr().String()); err == nil {
		c.Close()
		t.Error("a connection was accepted after Close")
	}
}

// A keep-alive connection without a request holds up no stop.
func TestCloseEndsIdleConnections(t *testing.T) {
	m, _ := newMain(t)
	if err := m.Run(); err != nil {
		t.Fatal(err)
	}
	c := dial(t, m.listeners[0].Addr().String())
	c.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	if status := c.readAnswer(); status != 200 {
		t.Errorf("GET /healthz = %d, want 200", status)
	}
	start := time.Now()
	if err := m.Close(); err != nil {
		t.Errorf("Close() = %v, want nil", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Close() took %v, want no wait for an idle connection", took)
	}
	if _, err := c.r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("read from the idle connection: %v, want EOF", err)
	}
}
