package main

import (
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tokenserver/server"
)

func TestDivideDescriptors(t *testing.T) {
	tests := []struct {
		limit   int
		durable bool
		want    descriptors
	}{
		{64, false, descriptors{connections: 37, admin: 4}},
		{64, true, descriptors{connections: 22, admin: 4, store: 16}},
		{28, false, descriptors{connections: 4, admin: 2}},
		{44, true, descriptors{connections: 4, admin: 2, store: 16}},
		{1024, false, descriptors{connections: 878, admin: 64}},
		{1024, true, descriptors{connections: 622, admin: 64, store: 256}},
		{1 << 20, true, descriptors{connections: 1<<20 - 16 - 64 - 1000 - 66, admin: 64, store: 1000}},
	}
	for _, test := range tests {
		if got, err := divideDescriptors(test.limit, test.durable); got != test.want || err != nil {
			t.Errorf("divideDescriptors(%d, %v) = %+v, %v, want %+v", test.limit, test.durable, got, err, test.want)
		}
	}
	for limit := range 1 << 16 { // what the parts add up to is never more
		for _, isDurable := range []bool{false, true} {
			d, err := divideDescriptors(limit, isDurable)
			sum := ownDescriptors + d.admin + d.store + d.connections + server.SpareConnections(d.connections)
			if err == nil && (sum > limit || d.connections < minConnections) {
				t.Fatalf("divideDescriptors(%d, %v) = %+v, %d in all", limit, isDurable, d, sum)
			}
		}
	}
}

// With too few descriptors for a connection nobody would be answered.
func TestTooFewDescriptors(t *testing.T) {
	for _, test := range []struct {
		limit int
		args  []string
		needs string
	}{{27, nil, "28"}, {16, nil, "28"}, {43, []string{"--data-dir=" + filepath.Join(t.TempDir(), "data")}, "44"}} {
		cmd := fewDescriptors(command(t, append([]string{"--port=0", "--admin-address=off"}, test.args...)...), test.limit)
		out, _ := cmd.CombinedOutput()
		line := regexp.MustCompile(fmt.Sprintf(`^time=\S+ level=ERROR msg="the limit of file descriptors .* is %d, and at least %s are needed"\n$`, test.limit, test.needs))
		if code := cmd.ProcessState.ExitCode(); code != exitFailed || !line.Match(out) {
			t.Errorf("with %d descriptors, %q: exit code %d and %q, want %d and one line", test.limit, test.args, code, out, exitFailed)
		}
	}
}

// The fewest are enough, however many come.
func TestFewestDescriptors(t *testing.T) {
	for _, test := range []struct {
		limit int
		args  []string
	}{{28, nil}, {44, []string{"--data-dir=" + filepath.Join(t.TempDir(), "data")}}} {
		cmd := command(t, append([]string{"--port=0", "--admin-address=127.0.0.1:0"}, test.args...)...)
		p := startCommand(t, fewDescriptors(cmd, test.limit))
		for range 30 {
			c, err := net.Dial("tcp", p.address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
		for range 10 {
			create(t, "http://"+p.address)
		}
		if log := p.log.String(); strings.Contains(log, "descriptor") || strings.Contains(log, "can't accept") {
			t.Errorf("%d descriptors have run out:\n%s", test.limit, log)
		}
	}
}
