package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenserver/internal/enginetest"
	"tokenserver/internal/testneeds"
	"tokenserver/server"
	"tokenserver/shard"
	"tokenserver/token"
)

// awayStore is a store that can be away.
type awayStore struct {
	*shard.Store
	away atomic.Bool
}

func (s *awayStore) Validate(ctx context.Context, t token.Token, dst []byte) ([]byte, time.Time, error) {
	if s.away.Load() {
		return nil, time.Time{}, &token.UnavailableError{Reason: "away"}
	}
	return s.Store.Validate(ctx, t, dst)
}

// guardedSite is a web application behind a proxy that asks a token server.
type guardedSite struct {
	t       *testing.T
	server  *Main
	stop    func() // the server, once
	store   *awayStore
	secret  string
	app     *httptest.Server // answers with what it has got
	address string           // of the proxy
}

func newGuardedSite(t *testing.T) *guardedSite {
	t.Helper()
	callers := authFile(t, "proxy")
	s := &guardedSite{t: t, store: &awayStore{Store: shard.New(shard.Config{})}, secret: callers.of["proxy"]}
	s.server, _ = newMain(t, "--auth-file="+callers.file)
	s.server.store = server.Store(s.store)
	if err := s.server.Run(); err != nil {
		t.Fatal(err)
	}
	s.stop = sync.OnceFunc(func() {
		if err := s.server.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.stop)
	s.app = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s user=%q roles=%q body=%q", r.Method, r.URL, asCGI(r.Header, "X-User"), asCGI(r.Header, "X-Roles"), readAll(&http.Response{Body: r.Body}))
	}))
	t.Cleanup(s.app.Close)
	s.address = fmt.Sprintf("127.0.0.1:%d", enginetest.FreePort(t))
	return s
}

// asCGI returns a header as PHP and WSGI have it, to whom an underscore is a hyphen.
func asCGI(h http.Header, name string) (value string) {
	for n, values := range h {
		if strings.EqualFold(strings.ReplaceAll(n, "_", "-"), name) {
			value += strings.Join(values, ",")
		}
	}
	return value
}

// config returns an example's configuration with the addresses and the secret of s.
func (s *guardedSite) config(example, secret string) string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join("../../examples", example))
	if err != nil {
		s.t.Fatal(err)
	}
	config := string(text)
	for from, to := range map[string]string{
		"127.0.0.1:3666": s.server.listeners[0].Addr().String(), "127.0.0.1:8080": s.app.Listener.Addr().String(),
		"127.0.0.1:8000": s.address, "SECRET": secret,
	} {
		if !strings.Contains(config, from) {
			s.t.Fatalf("%s has no %s", example, from)
		}
		config = strings.ReplaceAll(config, from, to)
	}
	return config
}

// send sends a browser's request, and returns the answer and its body.
func (s *guardedSite) send(method, path, body string, headers ...string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequest(method, "http://"+s.address+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		req.Header.Add(name, value)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	return res, readAll(res)
}

// create begins a session and returns its cookie.
func (s *guardedSite) create(name, meta string) string {
	s.t.Helper()
	tok, err := s.store.Create(context.Background(), token.NewSession{Meta: []byte(meta)})
	if err != nil {
		s.t.Fatal(err)
	}
	return "Cookie: theme=dark; " + name + "=" + string(tok.Append(nil))
}

func (s *guardedSite) wantUnavailable(what string, headers ...string) {
	s.t.Helper()
	res, body := s.send("GET", "/cart", "", headers...)
	if res.StatusCode != 503 || !strings.Contains(body, "You are still logged in") || res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Location") != "" {
		s.t.Errorf("%s: %d %v %q, want 503 and a clear page", what, res.StatusCode, res.Header, body)
	}
}

// check checks what a browser sees, and what the web application.
func (s *guardedSite) check() {
	s.t.Helper()
	full := s.create("__Host-token", `{"user":"ann é","roles":["a","b"]}`)
	small := s.create("token", `{"user":"bob"}`)
	spoofed := []string{"X-User: root", "x-roles: admin", "X_User: root", "x_roles: admin", "Authorization: Basic dTpw"}
	tests := []struct{ method, path, body, cookie, want string }{
		{"GET", "/cart?a=b", "", full, `GET /cart?a=b user="ann %C3%A9" roles="[\"a\",\"b\"]" body=""`},
		{"GET", "/", "", small, `GET / user="bob" roles="" body=""`},
		{"POST", "/cart", "item=1", full, `POST /cart user="ann %C3%A9" roles="[\"a\",\"b\"]" body="item=1"`},
		{"DELETE", "/cart", "", small, `DELETE /cart user="bob" roles="" body=""`},
		{"GET", "/login", "", small, `GET /login user="" roles="" body=""`},
		{"POST", "/login", "user=ann", "Cookie: a=b", `POST /login user="" roles="" body="user=ann"`},
	}
	for range 3 { // on connections that are kept
		for _, test := range tests {
			res, body := s.send(test.method, test.path, test.body, append(spoofed, test.cookie)...)
			if res.StatusCode != 200 || body != test.want {
				s.t.Errorf("%s %s with %s: %d %q, want %s", test.method, test.path, test.cookie, res.StatusCode, body, test.want)
			}
		}
	}
	for _, cookie := range []string{"X: 1", "Cookie: token=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "Cookie: token=; a=b"} {
		for _, method := range []string{"GET", "POST"} {
			res, _ := s.send(method, "/cart", "", append(spoofed, cookie)...)
			if res.StatusCode != 303 || !strings.HasSuffix(res.Header.Get("Location"), "/login?from=/cart") || res.Header.Get("Cache-Control") != "no-store" {
				s.t.Errorf("%s with %s: %d %v, want the login page", method, cookie, res.StatusCode, res.Header)
			}
		}
	}
	if res, body := s.send("GET", "/logins", ""); res.StatusCode != 303 {
		s.t.Errorf("a page whose path begins as the login page's: %d %q, want 303", res.StatusCode, body)
	}
	s.checkPaths()
	s.store.away.Store(true)
	s.wantUnavailable("the store is away", full)
	s.store.away.Store(false)
	if res, body := s.send("GET", "/", "", full); res.StatusCode != 200 {
		s.t.Errorf("the store is back: %d %s, want 200", res.StatusCode, body)
	}
}

// checkPaths checks that without a session the application gets no path but those that are
// written as the public ones are: it may read others as pages that need a session.
func (s *guardedSite) checkPaths() {
	s.t.Helper()
	for _, path := range []string{"/login", "/login?next=/a/../b&c=%2f..", "/login/style.css", "/login/a/b-c_d.js?v=1"} {
		if got := s.sendRaw(path); !strings.Contains(got, "GET "+path+" user=") {
			s.t.Errorf("%s: %q, want the public page", path, got)
		}
	}
	for _, path := range []string{
		"/admin/../login", "/admin/../login/style.css", "/admin/%2e%2e/login", "/admin/..%2flogin", "/admin/%2e%2e%2flogin", "/admin//../../login",
		"/login/../admin", "/login/%2e%2e/admin", "/login/..%2fadmin", "/login/..%5cadmin", "/login/..\\admin", "/login/..;/admin", "/login/;/../admin", "/login/.;/a",
		"//login", "/./login", "/%6cogin", "/login%2f..%2fadmin", "/login;/../admin", "/login;a=b", "/login%00", "/login/%00/../admin", "/login/a%3fb", "/login%3f/../admin",
		"/LOGIN/../admin", "/login/a..b/c", "/login/%252e%252e/admin", "/login#/../admin", "//login@evil/../login", "/admin?/../login",
		"http://" + s.address + "/admin/../login",
	} {
		if got := s.sendRaw(path); strings.Contains(got, " user=") || strings.HasPrefix(got, "HTTP/1.1 2") {
			s.t.Errorf("%s without a session: %q, want another answer than the application's", path, got)
		}
	}
}

// sendRaw sends a request of no session for a path as it is, and returns the whole answer.
func (s *guardedSite) sendRaw(path string) string {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, s.address)
	answer, err := io.ReadAll(conn)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(answer)
}

// checkStopped checks what a browser sees when the token server has stopped.
func (s *guardedSite) checkStopped() {
	s.t.Helper()
	cookie := s.create("token", `{}`)
	s.stop()
	s.wantUnavailable("the token server has stopped", cookie)
	s.wantUnavailable("the token server has stopped, and there is no cookie")
}

func TestNginxAsks(t *testing.T) {
	s := newGuardedSite(t)
	config := func(secret string) string {
		return strings.Replace("daemon off; master_process off; pid nginx.pid; error_log stderr error;\n"+s.config("nginx/nginx.conf", secret), "http {",
			"http {\naccess_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;", 1)
	}
	runNginx(t, config(s.secret), s.address)
	s.check()
	good := s.address
	s.address = fmt.Sprintf("127.0.0.1:%d", enginetest.FreePort(t))
	runNginx(t, config("wrong"), s.address)
	s.wantUnavailable("nginx may not ask", s.create("token", `{}`))
	s.address = good
	s.checkStopped()
}

func TestCaddyAsks(t *testing.T) {
	path := testneeds.Program(t, "caddy")
	s := newGuardedSite(t)
	start := func(secret string) {
		dir := t.TempDir()
		file := filepath.Join(dir, "Caddyfile")
		if err := os.WriteFile(file, []byte("{\nadmin off\n}\n"+s.config("caddy/Caddyfile", secret)), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(path, "run", "--config", file, "--adapter", "caddyfile")
		cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
		runProxy(t, cmd, s.address)
	}
	start(s.secret)
	s.check()
	good := s.address
	s.address = fmt.Sprintf("127.0.0.1:%d", enginetest.FreePort(t))
	start("wrong")
	s.wantUnavailable("Caddy may not ask", s.create("token", `{}`))
	s.address = good
	s.checkStopped()
}
