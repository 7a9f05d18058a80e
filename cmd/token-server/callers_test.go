package main

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenserver/access"
	"tokenserver/internal/testcert"
)

// secrets are an auth file and the secrets in it, by the names of callers.
type secrets struct {
	file string
	of   map[string]string
}

// authFile makes an auth file of callers: a name, or name:ROLE.
func authFile(t *testing.T, callers ...string) secrets {
	t.Helper()
	s := secrets{filepath.Join(t.TempDir(), "callers"), make(map[string]string)}
	s.write(t, callers...)
	return s
}

// write replaces the file, with new secrets.
func (s *secrets) write(t *testing.T, callers ...string) {
	t.Helper()
	text := "# callers\n"
	for _, each := range callers {
		name, roles, _ := strings.Cut(each, ":")
		secret, line, err := access.NewSecret(name)
		if err != nil {
			t.Fatal(err)
		}
		if roles != "" {
			line += ":" + roles
		}
		s.of[name], text = secret, text+line+"\n"
	}
	testcert.WriteFile(t, s.file, []byte(text))
}

// certs are the files of a server's certificate and of an authority for clients.
type certs struct {
	authority *testcert.Authority
	dir       string
	args      []string // --tls-cert and --tls-key
	clientCA  string   // --tls-client-ca
}

func newCerts(t *testing.T) certs {
	t.Helper()
	c := certs{authority: testcert.NewAuthority(t), dir: t.TempDir()}
	cert, key := c.authority.Issue("server").Write(t, c.dir)
	ca := filepath.Join(c.dir, "ca.pem")
	testcert.WriteFile(t, ca, c.authority.PEM)
	c.args, c.clientCA = []string{"--tls-cert=" + cert, "--tls-key=" + key}, "--tls-client-ca="+ca
	return c
}

// client returns the settings of a client, with a certificate of a name, or none for "".
func (c certs) client(t *testing.T, name string) *tls.Config {
	cfg := &tls.Config{RootCAs: c.authority.Pool(), ServerName: "127.0.0.1"}
	if name != "" {
		cfg.Certificates = []tls.Certificate{c.authority.Issue(name).TLS(t)}
	}
	return cfg
}

// call sends one request, and returns the status of its answer and the answer, or 0 and
// the error.
func call(t *testing.T, method, url, body string, with *tls.Config, authorization string) (int, string) {
	t.Helper()
	res, err := tryCall(t, method, url, body, with, authorization)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(text)
}

func tryCall(t *testing.T, method, url, body string, with *tls.Config, authorization string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	transport := &http.Transport{TLSClientConfig: with, DisableKeepAlives: true}
	return transport.RoundTrip(req)
}

const newSession = `{"meta":{"user":1}}`

func TestAuthFile(t *testing.T) {
	s := authFile(t, "web", "ops:admin", "prometheus:metrics")
	m, log := run(t, "--auth-file="+s.file, "--dump")
	tests := []struct {
		who, method, path string
		want              int
	}{
		{"", "POST", "/token", 401},
		{"web", "POST", "/token", 200},
		{"ops", "POST", "/token", 200},
		{"prometheus", "POST", "/token", 403},
		{"web", "HEAD", "/dump", 403},
		{"ops", "HEAD", "/dump", 202},
		{"", "GET", "/healthz", 200},
		{"", "GET", "/readyz", 200},
	}
	for _, tt := range tests {
		if got, answer := call(t, tt.method, m.url(tt.path), newSession, nil, "Bearer "+s.of[tt.who]); got != tt.want {
			t.Errorf("%s %s by %q = %d %s, want %d", tt.method, tt.path, tt.who, got, answer, tt.want)
		}
	}
	// On loopback looking needs nobody.
	if got, _ := call(t, "GET", m.adminURL("/metrics"), "", nil, ""); got != 200 {
		t.Errorf("GET /metrics on loopback = %d, want 200", got)
	}
	if !strings.Contains(log.String(), " callers=secrets tls=false") {
		t.Errorf("the log does not say who may call:\n%s", log)
	}
}

// TestAuthFileIsPrivate: who may write it makes callers, and who may read it could guess.
func TestAuthFileIsPrivate(t *testing.T) {
	s := authFile(t, "web")
	for mode, want := range map[os.FileMode]string{
		0o600: "", 0o400: "", 0o640: "", 0o440: "", 0o644: "its mode is 0644", 0o660: "its mode is 0660", 0o602: "its mode is 0602",
	} {
		if err := os.Chmod(s.file, mode); err != nil {
			t.Fatal(err)
		}
		_, _, err := parse([]string{"--auth-file=" + s.file}, nil)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("an auth file of mode %04o: %v, want %q", mode, err, want)
		}
	}
}

// TestBadAuthFile: an error says where, and nothing of what is there.
func TestBadAuthFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "callers")
	testcert.WriteFile(t, file, []byte("# ours\nweb:plain-secret\n"))
	_, _, err := parse([]string{"--auth-file=" + file}, nil)
	if err == nil || !strings.Contains(err.Error(), `--auth-file "`+file+`": line 2 must be`) || strings.Contains(err.Error(), "plain-secret") {
		t.Errorf("ParseFlags = %v, want the line and nothing of it", err)
	}
}

func TestClientCertificates(t *testing.T) {
	c := newCerts(t)
	m, log := run(t, append(c.args, c.clientCA, "--tls-admin=ops", "--tls-admin=root", "--dump")...)
	base := "https" + strings.TrimPrefix(m.url(""), "http")
	tests := []struct {
		who, method, path string
		want              int
	}{
		{"web", "POST", "/token", 200},
		{"web", "GET", "/healthz", 200},
		{"web", "HEAD", "/dump", 403},
		{"ops", "HEAD", "/dump", 202},
		{"root", "HEAD", "/dump", 202},
		{"", "POST", "/token", 0},
		{"", "GET", "/healthz", 0},
	}
	for _, tt := range tests {
		if got, answer := call(t, tt.method, base+tt.path, newSession, c.client(t, tt.who), ""); got != tt.want {
			t.Errorf("%s %s by %q = %d %s, want %d", tt.method, tt.path, tt.who, got, answer, tt.want)
		}
	}
	if got, answer := call(t, "GET", m.url("/healthz"), "", nil, ""); got != 400 || !strings.Contains(answer, "https") {
		t.Errorf("plain HTTP = %d %s, want 400 that says so", got, answer)
	}
	if !strings.Contains(log.String(), " callers=certificates tls=true") {
		t.Errorf("the log does not say who may call:\n%s", log)
	}
}

// TestSecretsAndCertificates: with both, either is good, and health checks need neither.
func TestSecretsAndCertificates(t *testing.T) {
	c, s := newCerts(t), authFile(t, "web")
	m, _ := run(t, append(c.args, c.clientCA, "--auth-file="+s.file)...)
	base := "https" + strings.TrimPrefix(m.url(""), "http")
	for _, tt := range []struct {
		certificate, secret, path string
		want                      int
	}{
		{"", "", "/token", 401}, {"web", "", "/token", 200}, {"", s.of["web"], "/token", 200}, {"web", "bad", "/token", 200},
	} {
		if got, answer := call(t, "POST", base+tt.path, newSession, c.client(t, tt.certificate), "Bearer "+tt.secret); got != tt.want {
			t.Errorf("certificate %q, secret %v = %d %s, want %d", tt.certificate, tt.secret != "", got, answer, tt.want)
		}
	}
	if got, answer := call(t, "GET", base+"/healthz", "", c.client(t, ""), ""); got != 200 {
		t.Errorf("GET /healthz = %d %s, want 200", got, answer)
	}
}

// TestAdminBeyondLoopback: with callers, all of it needs an admin but metrics and health.
func TestAdminBeyondLoopback(t *testing.T) {
	c, s := newCerts(t), authFile(t, "web", "ops:admin", "prometheus:metrics")
	m, _ := run(t, append(c.args, c.clientCA, "--tls-admin=ops", "--auth-file="+s.file, "--admin-address=0.0.0.0:0")...)
	_, port, _ := net.SplitHostPort(m.adminListener.Addr().String())
	base := "https://127.0.0.1:" + port
	basic := func(secret string) string {
		r, _ := http.NewRequest("GET", base, nil)
		r.SetBasicAuth("anybody", secret)
		return r.Header.Get("Authorization")
	}
	tests := []struct {
		name, certificate, authorization string
		metrics, pprof, health           int
	}{
		{"nobody", "", "", 401, 401, 200},
		{"a bad secret", "", "Bearer bad", 401, 401, 200},
		{"a secret for tokens", "", "Bearer " + s.of["web"], 403, 403, 200},
		{"a secret for metrics", "", "Bearer " + s.of["prometheus"], 200, 403, 200},
		{"an admin's secret", "", "Bearer " + s.of["ops"], 200, 200, 200},
		{"an admin's secret as a password", "", basic(s.of["ops"]), 200, 200, 200},
		{"a bad password", "", basic("bad"), 401, 401, 200},
		{"a certificate", "web", "", 403, 403, 200},
		{"an admin's certificate", "ops", "", 200, 200, 200},
		{"a certificate, and a bad secret", "web", "Bearer bad", 401, 401, 200},
		{"a certificate, and a bad password", "web", basic("bad"), 401, 401, 200},
		{"an admin's certificate, and a bad secret", "ops", "Bearer bad", 200, 200, 200},
		{"a certificate, and an admin's secret", "web", "Bearer " + s.of["ops"], 200, 200, 200},
		{"a certificate, and a secret for metrics", "web", "Bearer " + s.of["prometheus"], 200, 403, 200},
	}
	for _, tt := range tests {
		for path, want := range map[string]int{
			"/metrics": tt.metrics, "/debug/pprof/": tt.pprof, "/nowhere": 404, "/healthz": tt.health, "/readyz": tt.health,
		} {
			if got, answer := call(t, "GET", base+path, "", c.client(t, tt.certificate), tt.authorization); got != want {
				t.Errorf("GET %s by %s = %d %.200s, want %d", path, tt.name, got, answer, want)
			}
		}
	}
	res, err := tryCall(t, "GET", base+"/metrics", "", c.client(t, ""), "")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if got := strings.Join(res.Header["Www-Authenticate"], "; "); !strings.Contains(got, "Bearer") || !strings.Contains(got, `Basic realm=`) {
		t.Errorf("WWW-Authenticate = %q, want both schemes", got)
	}
	if got, _ := call(t, "GET", "http://127.0.0.1:"+port+"/metrics", "", nil, ""); got != 400 {
		t.Errorf("plain HTTP = %d, want 400", got)
	}
}

// TestAdminBeyondLoopbackWithoutCallers is open for looking.
func TestAdminBeyondLoopbackWithoutCallers(t *testing.T) {
	m, _ := run(t, "--admin-address=0.0.0.0:0", "--insecure")
	_, port, _ := net.SplitHostPort(m.adminListener.Addr().String())
	req, _ := http.NewRequest("GET", "http://127.0.0.1:"+port+"/metrics", nil)
	req.Host = "metrics.example" // whatever name it has
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 {
		t.Errorf("GET /metrics = %d, want 200", res.StatusCode)
	}
}

// TestProfilesCanBeOff, and names of the loopback listener be given.
func TestProfilesCanBeOff(t *testing.T) {
	m, _ := run(t, "--pprof=off", "--admin-host=metrics.example")
	for _, tt := range []struct {
		host, path string
		want       int
	}{
		{"127.0.0.1", "/debug/pprof/", 404}, {"127.0.0.1", "/debug/pprof/heap", 404}, {"127.0.0.1", "/metrics", 200},
		{"metrics.example:1", "/metrics", 200}, {"evil.example", "/metrics", 403},
	} {
		req, _ := http.NewRequest("GET", m.adminURL(tt.path), nil)
		req.Host = tt.host
		res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != tt.want {
			t.Errorf("GET %s of %s = %d, want %d", tt.path, tt.host, res.StatusCode, tt.want)
		}
	}
}
