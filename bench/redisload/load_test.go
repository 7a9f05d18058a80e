package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tokenserver/internal/testneeds"
)

// fakeRedis answers every command by answer, which gets the command's arguments.
func fakeRedis(t *testing.T, answer func(arguments []string) string) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go serveFake(conn, answer)
		}
	}()
	return ln.Addr().String()
}

func serveFake(conn net.Conn, answer func([]string) string) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for {
		var count int
		if _, err := fmt.Fscanf(r, "*%d\r\n", &count); err != nil {
			return
		}
		arguments := make([]string, count)
		for i := range arguments {
			var size int
			if _, err := fmt.Fscanf(r, "$%d\r\n", &size); err != nil {
				return
			}
			b := make([]byte, size+2)
			if _, err := io.ReadFull(r, b); err != nil {
				return
			}
			arguments[i] = string(b[:size])
		}
		io.WriteString(conn, answer(arguments))
	}
}

const fakeSHA = "$40\r\n0123456789012345678901234567890123456789\r\n"

func TestWrongAnswersFail(t *testing.T) {
	cases := map[string]string{
		"nothing":        "$-1\r\n",
		"an error":       "-NOSCRIPT No matching script.\r\n",
		"other metadata": "$2\r\n{}\r\n",
	}
	for name, exchanged := range cases {
		address := fakeRedis(t, func(arguments []string) string {
			switch arguments[0] {
			case "SCRIPT":
				return fakeSHA
			case "SET":
				return "+OK\r\n"
			}
			return exchanged
		})
		stderr := &bytes.Buffer{}
		args := []string{"--address", address, "-c", "2", "--sessions", "10", "--warm-up", "0s", "-d", "10s"}
		if code := execute(t.Context(), args, io.Discard, stderr); code != exitFailed {
			t.Errorf("%s: exit code %d, want %d", name, code, exitFailed)
		}
		if !strings.Contains(stderr.String(), "wrong answer for session") {
			t.Errorf("%s: standard error = %q, want the wrong answer", name, stderr)
		}
	}
}

func TestBadFlags(t *testing.T) {
	cases := []string{"--pipeline=0", "--pipeline=65", "-c=0", "--sessions=1", "--meta-size=48", "--lifetime=1us", "--warm-up=-1s", "--none"}
	for _, flag := range cases {
		stderr := &bytes.Buffer{}
		if code := execute(t.Context(), []string{flag}, io.Discard, stderr); code != exitUsage {
			t.Errorf("execute(%q) = %d, want %d", flag, code, exitUsage)
		}
		if strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("execute(%q) wrote %q, want one line", flag, stderr)
		}
	}
}

func TestRequestsDontAllocate(t *testing.T) {
	l := newLoad(&Config{Connections: 1, Pipeline: 16, Sessions: 100, MetaSize: 115, Lifetime: time.Hour})
	w := l.workers[0]
	answers := bytes.Repeat(appendArgument(nil, l.meta.append(nil, 7)), 16)
	w.out = make([]byte, 0, 16<<10)
	source := bytes.NewReader(answers)
	w.answers.source = source
	allocs := testing.AllocsPerRun(100, func() {
		w.begin()
		source.Reset(answers)
		for range 16 {
			w.addExchange(7)
			if answer, err := w.answers.next(); err != nil || !isExchanged(answer, l.meta, 7) {
				t.Fatalf("answer %v, error %v", answer, err)
			}
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations for 16 requests, want none", allocs)
	}
}

// TestRealRedis proves the script: a batch may have the same session twice, and of two
// exchanges of one token one wins.
func TestRealRedis(t *testing.T) {
	address := startRedis(t)
	stdout, stderr := &bytes.Buffer{}, &bytes.Buffer{}
	args := []string{"--address", address, "-c", "4", "--pipeline", "16", "--sessions", "8", "--warm-up", "10ms", "-d", "50ms", "--json"}
	if code := execute(t.Context(), args, stdout, stderr); code != exitOK {
		t.Fatalf("exit code %d, standard error %q", code, stderr)
	}
	var r report
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if r.Requests == 0 || r.Throughput <= 0 || r.Latency.P50 <= 0 || r.Seconds < 0.05 || r.Sessions != 8 {
		t.Errorf("report = %+v, want requests and their latency", r)
	}

	l := newLoad(&Config{Address: address, Connections: 1, Sessions: 1, MetaSize: 115, Lifetime: time.Hour})
	defer l.disconnect()
	w := l.workers[0]
	for _, do := range []func() error{w.connect, w.preload} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"live", "spent"} {
		w.begin()
		w.exchanges[0] = 0
		w.addExchange(0)
		if err := w.send(); err != nil {
			t.Fatal(err)
		}
		answer, err := w.answers.next()
		if err != nil || isExchanged(answer, l.meta, 0) != (want == "live") || answer.null != (want == "spent") {
			t.Errorf("exchange of a %s token: %v, %v", want, answer, err)
		}
	}
}

func startRedis(t *testing.T) (address string) {
	t.Helper()
	program := testneeds.Program(t, "redis-server")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = ln.Addr().String()
	ln.Close()
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command(program, "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no")
	cmd.Dir = t.TempDir()
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if strings.Contains(lines.Text(), "Ready to accept connections") {
			go io.Copy(io.Discard, stdout)
			return address
		}
	}
	t.Fatal("redis-server ended before it was ready")
	return ""
}
