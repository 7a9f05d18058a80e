package enginetest

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// Control is a connection on which a test tells an engine what to do.
type Control struct {
	net.Conn
	t testing.TB
}

// replyTimeout is how long a reply may take, on a machine that is busy.
const replyTimeout = 30 * time.Second

// Control returns a connection that was made before the engine refuses others.
func (e *Engine) Control() *Control {
	e.t.Helper()
	conn, err := net.DialTimeout("tcp", e.Address(), replyTimeout)
	if err != nil {
		e.t.Fatal(err)
	}
	return &Control{conn, e.t}
}

// Must sends an inline command that has to go well.
func (c *Control) Must(command string) {
	c.t.Helper()
	c.SetDeadline(time.Now().Add(replyTimeout))
	fmt.Fprintf(c, "%s\r\n", command)
	reply := make([]byte, 1024)
	if n, err := c.Read(reply); err != nil || reply[0] == '-' {
		c.t.Fatalf("%s: %q, error %v", command, reply[:n], err)
	}
}

// Ask sends an inline command on a connection of its own and returns the first line of the
// reply, or nothing if there is none.
func (e *Engine) Ask(command string) string {
	line, _, _ := strings.Cut(e.AskAll(command), "\n")
	return line
}

// AskAll returns the whole reply, as it comes.
func (e *Engine) AskAll(command string) string {
	conn, err := net.DialTimeout("tcp", e.Address(), replyTimeout)
	if err != nil {
		return ""
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(replyTimeout))
	fmt.Fprintf(conn, "%s\r\n", command)
	conn.(*net.TCPConn).CloseWrite() // Sentinels know no QUIT
	reply, _ := io.ReadAll(conn)
	return string(reply)
}

// Must sends a command that has to go well.
func (e *Engine) Must(command string) {
	e.t.Helper()
	if got := e.Ask(command); got == "" || got[0] == '-' {
		e.t.Fatalf("%s: %q", command, got)
	}
}
