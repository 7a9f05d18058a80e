package bench

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"tokenserver/access"
	"tokenserver/internal/testcert"
)

// BenchmarkCallers measures what it costs the server, a process of its own, to ask who
// calls and to speak TLS: its processor time an exchange, for exchanges one by one on each
// of a few connections, and in batches.
func BenchmarkCallers(b *testing.B) {
	for _, by := range []string{"anybody", "secret", "tls", "tls+secret", "certificate"} {
		for _, batch := range []int{1, 64} {
			b.Run(fmt.Sprintf("by=%s/batch=%d", by, batch), func(b *testing.B) {
				s := startGuarded(b, by)
				s.exchange(10*callerConnections*batch, batch) // connections, pools
				before := s.processorTime()
				b.ResetTimer()
				s.exchange(b.N, batch)
				b.StopTimer()
				b.ReportMetric(float64((s.processorTime()-before).Nanoseconds())/float64(b.N), "server-ns/op")
			})
		}
	}
}

// BenchmarkHandshakes measures how long an exchange takes for honest callers while others do
// nothing but handshakes, so many a second, beside the same without them.
func BenchmarkHandshakes(b *testing.B) {
	const each, pause = callerConnections, 2 * time.Millisecond // 4,000 exchanges a second
	for _, by := range []string{"tls", "certificate"} {
		b.Run("by="+by, func(b *testing.B) {
			s := startGuarded(b, by)
			s.exchange(1000, 1)
			var p99s [2]time.Duration
			for i, perSecond := range []int{0, 1000} {
				stop, made := s.shakeHands(perSecond)
				took := make([][]time.Duration, each)
				begun := time.Now()
				s.paced(b.N/2+each, pause, took)
				lasted := time.Since(begun)
				stop()
				p99s[i] = p99(took)
				if perSecond > 0 {
					b.ReportMetric(float64(made.Load())/lasted.Seconds(), "handshakes/s")
				}
			}
			b.ReportMetric(float64(p99s[0].Nanoseconds()), "quiet-p99-ns")
			b.ReportMetric(float64(p99s[1].Nanoseconds()), "p99-ns")
			b.ReportMetric(float64(p99s[1])/float64(p99s[0]), "p99-ratio")
		})
	}
}

// p99 returns the time that one of a hundred operations takes longer than.
func p99(took [][]time.Duration) time.Duration {
	all := slices.Concat(took...)
	slices.Sort(all)
	return all[len(all)*99/100]
}

// callerConnections is how many connections exchange at a time.
const callerConnections = 8

// guarded is a token-server with callers, and sessions at it.
type guarded struct {
	process procfs.Proc
	address string
	admin   string      // address of its admin listener; empty for none
	tls     *tls.Config // nil for none
	header  string      // that a request has, with its line's end
	callers []*guardedCaller
}

// guardedCaller is one connection, and the sessions that it exchanges.
type guardedCaller struct {
	conn   net.Conn
	in     *bufio.Reader
	tokens []string
	buf    []byte
}

// programDir has the program once it was built.
var programDir string

func TestMain(m *testing.M) {
	if by := os.Getenv(webAppVariable); by != "" {
		runWebApp(by)
		return
	}
	code := m.Run()
	if programDir != "" {
		os.RemoveAll(programDir)
	}
	os.Exit(code)
}

// tokenServer builds the program once.
var tokenServer = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "bench")
	must(err)
	programDir = dir
	path := filepath.Join(dir, "token-server")
	out, err := exec.Command("go", "build", "-o", path, "tokenserver/cmd/token-server").CombinedOutput()
	if err != nil {
		panic(string(out))
	}
	return path
})

// startGuarded starts a server, and connects callers to it.
func startGuarded(b *testing.B, by string) *guarded {
	dir, g, args := b.TempDir(), new(guarded), []string{"--port=0", "--admin-address=off"}
	if strings.Contains(by, "secret") {
		secret, line, err := access.NewSecret("bench")
		must(err)
		file := filepath.Join(dir, "callers")
		testcert.WriteFile(b, file, []byte(line+"\n"))
		g.header, args = "Authorization: Bearer "+secret+"\r\n", append(args, "--auth-file="+file)
	}
	if strings.Contains(by, "tls") || by == "certificate" {
		ca := testcert.NewAuthority(b)
		cert, key := ca.Issue("server").Write(b, dir)
		g.tls = &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1"}
		args = append(args, "--tls-cert="+cert, "--tls-key="+key)
		if by == "certificate" {
			file := filepath.Join(dir, "ca.pem")
			testcert.WriteFile(b, file, ca.PEM)
			args = append(args, "--tls-client-ca="+file)
			g.tls.Certificates = []tls.Certificate{ca.Issue("bench", testcert.For(x509.ExtKeyUsageClientAuth)).TLS(b)}
		}
	}
	g.start(b, args)
	for range callerConnections {
		g.callers = append(g.callers, g.newCaller(64))
	}
	return g
}

// start starts the program, and waits until it is ready.
func (g *guarded) start(b *testing.B, args []string) {
	cmd := exec.Command(tokenServer(), args...)
	log, err := cmd.StderrPipe()
	must(err)
	must(cmd.Start())
	b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewScanner(log)
	for lines.Scan() && !strings.HasSuffix(lines.Text(), "msg=ready") {
		if _, address, ok := strings.Cut(lines.Text(), " msg=listening address="); ok {
			g.address = address
		} else if _, address, ok := strings.Cut(lines.Text(), ` msg="admin listening" address=`); ok {
			g.admin = address
		}
	}
	go io.Copy(io.Discard, log)
	g.process, err = procfs.NewProc(cmd.Process.Pid)
	must(err)
}

// processorTime returns what the server has taken so far.
func (g *guarded) processorTime() time.Duration {
	stat, err := g.process.Stat()
	must(err)
	return time.Duration(stat.CPUTime() * float64(time.Second))
}

func (g *guarded) dial() net.Conn {
	conn, err := net.Dial("tcp", g.address)
	must(err)
	if g.tls == nil {
		return conn
	}
	c := tls.Client(conn, g.tls)
	must(c.Handshake())
	return c
}

func (g *guarded) newCaller(sessions int) *guardedCaller {
	c := &guardedCaller{conn: g.dial()}
	c.in = bufio.NewReaderSize(c.conn, 64<<10)
	for range sessions {
		c.tokens = append(c.tokens, string(c.do(g, "POST", "/token", fmt.Sprintf(`{"meta":%s}`, meta))))
	}
	return c
}

// do sends a request and returns the body of its answer, until the next one.
func (c *guardedCaller) do(g *guarded, method, path, body string) []byte {
	c.buf = fmt.Appendf(c.buf[:0], "%s %s HTTP/1.1\r\nHost: a\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", method, path, g.header, len(body), body)
	_, err := c.conn.Write(c.buf)
	must(err)
	return c.answer()
}

func (c *guardedCaller) answer() []byte {
	length := 0
	for {
		line, err := c.in.ReadSlice('\n')
		must(err)
		if len(line) == 2 {
			break
		}
		if text, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			fmt.Sscan(string(text), &length)
		}
	}
	if cap(c.buf) < length {
		c.buf = make([]byte, length)
	}
	c.buf = c.buf[:length]
	_, err := io.ReadFull(c.in, c.buf)
	must(err)
	return c.buf
}

// exchangeOnce exchanges as many sessions as given, in one request.
func (c *guardedCaller) exchangeOnce(g *guarded, batch int) {
	if batch == 1 {
		c.tokens[0] = nextTokens(c.do(g, "PUT", "/token", `{"token":"`+c.tokens[0]+`"}`), 1)[0]
		return
	}
	items := make([]string, batch)
	for i := range items {
		items[i] = `{"exchange":{"token":"` + c.tokens[i] + `"}}`
	}
	copy(c.tokens, nextTokens(c.do(g, "POST", "/token/batch", `{"batch":[`+strings.Join(items, ",")+`]}`), batch))
}

// nextTokens returns the tokens of an answer.
func nextTokens(answer []byte, n int) (tokens []string) {
	const before = `"token":"`
	for rest := string(answer); len(tokens) < n; {
		_, after, ok := strings.Cut(rest, before)
		if !ok {
			panic("bench: " + string(answer))
		}
		tokens, rest = append(tokens, after[:32]), after
	}
	return tokens
}

// exchange exchanges n times in all.
func (g *guarded) exchange(n, batch int) {
	var wg sync.WaitGroup
	for i, c := range g.callers {
		wg.Go(func() {
			for range ((i+1)*n/callerConnections - i*n/callerConnections + batch - 1) / batch {
				c.exchangeOnce(g, batch)
			}
		})
	}
	wg.Wait()
}

// paced exchanges n times in all, with a pause after each, and notes how long each took.
func (g *guarded) paced(n int, pause time.Duration, took [][]time.Duration) {
	var wg sync.WaitGroup
	for i, c := range g.callers {
		wg.Go(func() {
			for range n / callerConnections {
				begun := time.Now()
				c.exchangeOnce(g, 1)
				took[i] = append(took[i], time.Since(begun))
				time.Sleep(pause)
			}
		})
	}
	wg.Wait()
}

// shakeHands makes so many handshakes a second, each on a connection of its own, until it
// is stopped.
func (g *guarded) shakeHands(perSecond int) (stop func(), made *atomic.Int64) {
	made = new(atomic.Int64)
	if perSecond == 0 {
		return func() {}, made
	}
	const callers = 4
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			begun := time.Now()
			for n := 1; ; n++ {
				select {
				case <-done:
					return
				case <-time.After(time.Until(begun.Add(time.Duration(n) * time.Second * callers / time.Duration(perSecond)))):
				}
				g.dial().Close()
				made.Add(1)
			}
		})
	}
	return func() { close(done); wg.Wait() }, made
}
