package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/scs/redisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/gomodule/redigo/redis"
	"github.com/gorilla/securecookie"
	"github.com/prometheus/procfs"

	goclient "tokenserver/client"
	"tokenserver/client/session"
	"tokenserver/internal/testneeds"
)

// BenchmarkMiddleware measures the processor time that a web application takes for a
// page of 4 KiB, alone in a process of its own: with sessions at a token server, in a
// cookie that it signs, and with scs in Redis. All of them renew the idle time-out of the
// session with each request.
func BenchmarkMiddleware(b *testing.B) {
	for _, by := range []string{"none", "securecookie", "session", "scs"} {
		b.Run("by="+by, func(b *testing.B) {
			s := startWebApp(b, by)
			s.visit(10 * webConnections) // connections, pools
			before := s.processorTime()
			b.ResetTimer()
			s.visit(b.N)
			b.StopTimer()
			b.ReportMetric(float64((s.processorTime()-before).Nanoseconds())/float64(b.N), "app-ns/op")
		})
	}
}

// webConnections is how many browsers there are, with a connection each.
const webConnections = 64

// What a web application of this benchmark is told by its environment.
const (
	webAppVariable = "BENCH_WEBAPP"        // how it keeps sessions
	behindVariable = "BENCH_WEBAPP_BEHIND" // the address of what keeps them
)

// profile is what an application keeps of a user.
type profile struct {
	User string `json:"user"`
	Year int    `json:"year"`
	Unit string `json:"unit"`
}

var ada = profile{"ada", 2026, "Sales"}

// runWebApp serves a page of 4 KiB with something of the session, until standard input ends.
func runWebApp(by string) {
	handler := webApps[by](os.Getenv(behindVariable))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	fmt.Println(ln.Addr())
	go http.Serve(ln, handler)
	io.Copy(io.Discard, os.Stdin)
}

var filler = bytes.Repeat([]byte("0123456789abcde\n"), 4096/16)

// writePage writes a page of 4 KiB.
func writePage(w http.ResponseWriter, p profile) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	head := fmt.Appendf(nil, "<p>%s %d %s\n", p.User, p.Year, p.Unit)
	w.Header().Set("Content-Length", strconv.Itoa(len(filler)))
	w.Write(head)
	w.Write(filler[len(head):])
}

// webApps has the handler of each: /in logs in, all else is the page.
var webApps = map[string]func(behind string) http.Handler{
	"none": func(string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { writePage(w, ada) })
	},
	"securecookie": func(string) http.Handler { return signedApp() },
	"session":      sessionApp,
	"scs":          scsApp,
}

func signedApp() http.Handler {
	codec := securecookie.New(securecookie.GenerateRandomKey(32), nil).SetSerializer(securecookie.JSONEncoder{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := ada
		if r.URL.Path != "/in" {
			cookie, err := r.Cookie("session")
			must(err)
			p = profile{}
			must(codec.Decode("session", cookie.Value, &p))
		}
		value, err := codec.Encode("session", p)
		must(err)
		http.SetCookie(w, &http.Cookie{Name: "session", Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
		writePage(w, p)
	})
}

func sessionApp(behind string) http.Handler {
	c, err := goclient.New(goclient.Config{Addresses: []string{behind}})
	must(err)
	m := &session.Manager{Client: c, Cookie: session.Cookie{Insecure: true}}
	return m.Optional(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if r.URL.Path == "/in" {
			must(session.Login(ctx, goclient.NewSession{Meta: []byte(`{"user":"ada","year":2026,"unit":"Sales"}`)}))
		}
		var p profile
		p.User, _ = session.Get[string](ctx, "user")
		p.Year, _ = session.Get[int](ctx, "year")
		p.Unit, _ = session.Get[string](ctx, "unit")
		writePage(w, p)
	}))
}

func scsApp(behind string) http.Handler {
	m := scs.New()
	m.IdleTimeout = lifetime
	m.Store = redisstore.New(&redis.Pool{MaxIdle: webConnections, Dial: func() (redis.Conn, error) { return redis.Dial("tcp", behind) }})
	return m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if r.URL.Path == "/in" {
			m.Put(ctx, "user", ada.User)
			m.Put(ctx, "year", ada.Year)
			m.Put(ctx, "unit", ada.Unit)
		}
		writePage(w, profile{m.GetString(ctx, "user"), m.GetInt(ctx, "year"), m.GetString(ctx, "unit")})
	}))
}

// webApp is a web application with its browsers.
type webApp struct {
	process  procfs.Proc
	browsers []*webBrowser
}

// startWebApp starts an application, with what it needs behind it, and logs browsers in.
func startWebApp(b *testing.B, by string) *webApp {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), webAppVariable+"="+by)
	switch by {
	case "session":
		g := new(guarded)
		g.start(b, []string{"--port=0", "--admin-address=off"})
		cmd.Env = append(cmd.Env, behindVariable+"="+g.address)
	case "scs":
		cmd.Env = append(cmd.Env, behindVariable+"="+startRedis(b))
	}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(err)
	out, err := cmd.StdoutPipe()
	must(err)
	must(cmd.Start())
	b.Cleanup(func() { in.Close(); cmd.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	must(err)
	s := new(webApp)
	s.process, err = procfs.NewProc(cmd.Process.Pid)
	must(err)
	for range webConnections {
		browser := newWebBrowser(b, strings.TrimSpace(address))
		browser.get("/in")
		s.browsers = append(s.browsers, browser)
	}
	return s
}

// startRedis starts one that keeps nothing, and returns its address.
func startRedis(b *testing.B) (address string) {
	program := testneeds.Program(b, "redis-server")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	address = ln.Addr().String()
	ln.Close()
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command(program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", b.TempDir())
	must(cmd.Start())
	b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for range 1000 {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return address
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.Fatal("redis-server does not listen")
	return ""
}

func (s *webApp) processorTime() time.Duration { return (&guarded{process: s.process}).processorTime() }

// visit gets the page n times in all.
func (s *webApp) visit(n int) {
	var wg sync.WaitGroup
	for i, browser := range s.browsers {
		wg.Go(func() {
			for range (i+1)*n/webConnections - i*n/webConnections {
				browser.get("/")
			}
		})
	}
	wg.Wait()
}

// webBrowser has a connection and a cookie.
type webBrowser struct {
	conn   net.Conn
	in     *bufio.Reader
	cookie string // as Cookie has it
	buf    []byte
}

func newWebBrowser(b *testing.B, address string) *webBrowser {
	conn, err := net.Dial("tcp", address)
	must(err)
	b.Cleanup(func() { conn.Close() })
	return &webBrowser{conn: conn, in: bufio.NewReaderSize(conn, 8<<10), buf: make([]byte, len(filler))}
}

// get gets a page, and checks that it is the one of a user.
func (b *webBrowser) get(path string) {
	_, err := fmt.Fprintf(b.conn, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: %s\r\nAccept: text/html\r\n\r\n", path, b.cookie)
	must(err)
	for {
		line, err := b.in.ReadSlice('\n')
		must(err)
		if len(line) == 2 {
			break
		}
		if set, ok := bytes.CutPrefix(line, []byte("Set-Cookie: ")); ok {
			cookie, _, _ := bytes.Cut(set, []byte(";"))
			b.cookie = string(cookie)
		}
	}
	_, err = io.ReadFull(b.in, b.buf)
	must(err)
	if !bytes.HasPrefix(b.buf, []byte("<p>ada 2026 Sales\n")) {
		panic("bench: a page without its session: " + string(b.buf[:64]))
	}
}
