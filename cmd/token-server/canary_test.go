package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenserver/internal/testcert"
	"tokenserver/server"
	"tokenserver/shard"
	"tokenserver/token"
)

// Canaries: each is somewhere in what callers send, and must be in nothing that operators
// see. Stacks have arguments as numbers, so that the canaries are looked for as those too.
const (
	canarySubject = "subject-canary-7f3a"
	canaryMember  = "member-canary-91bc"
	canaryValue   = "value-canary-5d2e"
	canaryBad     = "bad-secret-canary-e44b"
	canaryPath    = "path-canary-a05c"
)

// explosive is a store in which some calls panic, with all that they have in their arguments.
type explosive struct{ *shard.Store }

func (p explosive) EndSession(_ context.Context, subject []byte, name token.SessionName) (int, error) {
	return explode(subject, name), nil
}

//go:noinline
func explode(subject []byte, name token.SessionName) int { return int(subject[len(name)+len(subject)]) }

// TestCanaries: whatever is sent, at each level of the log, nothing secret is in the log,
// in metrics, profiles, stacks, errors or lists.
func TestCanaries(t *testing.T) {
	for _, each := range []struct{ level, format string }{{"debug", "text"}, {"debug", "json"}, {"info", "json"}, {"warn", "text"}, {"error", "text"}} {
		t.Run(each.level+" "+each.format, func(t *testing.T) { testCanaries(t, "--log-level="+each.level, "--log-format="+each.format) })
	}
}

func testCanaries(t *testing.T, args ...string) {
	s, c := authFile(t, "web", "ops:admin", "prometheus:metrics"), newCerts(t)
	args = append(args, "--auth-file="+s.file, "--dump", "--admin-address=0.0.0.0:0", "--grace=5s", "--on-reuse=revoke", c.clientCA)
	m, log := newMain(t, append(args, c.args...)...)
	store := explosive{shard.New(shard.Config{Grace: 5 * time.Second, RevokeOnReuse: true})}
	m.store = server.Store(store)
	if err := m.Run(); err != nil {
		t.Fatal(err)
	}
	closed := false
	defer func() {
		if !closed {
			m.Close()
		}
	}()
	transport := &http.Transport{TLSClientConfig: c.client(t, "")}
	defer transport.CloseIdleConnections()
	n := &canaries{t: t, transport: transport, m: m, base: "https" + strings.TrimPrefix(m.url(""), "http"), secrets: s.of}
	n.sendAll()
	n.lookAtAdmin()
	m.writeStacks()
	testcert.WriteFile(t, s.file, []byte(canaryBad+":"+canaryBad+"\n")) // a secret where a digest should be
	m.reload()
	closed = true
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	n.find("log", withoutDump(log.String()), canaryMember, canaryValue)
	n.find("log", log.String())
	if !strings.Contains(log.String(), "goroutine ") {
		t.Error("the log has no stacks, so that the test is worth little")
	}
}

// withoutDump returns a log without the records that have metadata by intent.
func withoutDump(log string) string {
	var kept strings.Builder
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "msg=dump ") && !strings.Contains(line, `"msg":"dump"`) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// canaries sends requests, and looks for what is in them elsewhere.
type canaries struct {
	t         *testing.T
	m         *Main
	transport *http.Transport
	base      string
	secrets   map[string]string
	tokens    []string
}

func (n *canaries) send(method, path, body, authorization string) (int, string) {
	n.t.Helper()
	return n.call(method, n.base+path, body, authorization)
}

// call sends a request, with headers as pairs of name and value.
func (n *canaries) call(method, url, body, authorization string, headers ...string) (int, string) {
	n.t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", authorization)
	for pair := range slices.Chunk(headers, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	res, err := n.transport.RoundTrip(req)
	if err != nil {
		return 0, err.Error() // such as a body that was refused while it was sent
	}
	return res.StatusCode, readAll(res)
}

// sendAll sends what succeeds and what fails to each endpoint, by each caller.
func (n *canaries) sendAll() {
	meta := fmt.Sprintf(`{%q:%q}`, canaryMember, canaryValue)
	web, admin := "Bearer "+n.secrets["web"], "Bearer "+n.secrets["ops"]
	_, tok := n.send("POST", "/token", `{"meta":`+meta+`,"subject":"`+canarySubject+`"}`, web)
	if len(tok) != token.EncodedLen {
		n.t.Fatalf("POST /token = %q", tok)
	}
	n.tokens = append(n.tokens, tok)
	subject := fmt.Sprintf(`"subject":%q`, canarySubject)
	bodies := []string{
		`{"token":"` + tok + `","meta":` + meta + `}`, `{"token":"` + tok + `"}`,
		`{` + subject + `}`, `{` + subject + `,"limit":0}`, `{` + subject + `,"session":"AAAAAAAAAAAAAAAA"}`, `{` + subject + `,"after":"` + canarySubject + `"}`,
		`{"batch":[{"validate":{"token":"` + tok + `"}},{"create":{"meta":` + meta + `,` + subject + `,"lifetime":"` + canaryValue + `"}},{"` + canaryMember + `":1}]}`,
		`{"meta":[` + meta + `],"token":1,` + subject + `}`, `{"meta":` + meta, canaryValue,
		`{"token":"` + tok + `","token":"` + tok + `"}`, `{"meta":{"` + canaryMember + `":"` + strings.Repeat(canaryValue, 10000) + `"}}`,
	}
	for _, path := range []string{"/token", "/token/validate", "/token/batch", "/subject", "/subject/sessions", "/dump", "/healthz", "/readyz", "/" + canaryPath, "/token/" + tok + "?" + canaryPath} {
		for _, method := range []string{"POST", "PUT", "DELETE", "HEAD", "GET", "PATCH"} {
			for i, body := range bodies {
				authorization := []string{web, admin, "Bearer " + canaryBad, "Basic " + base64.StdEncoding.EncodeToString([]byte("u:"+canaryBad)), canaryBad}[i%5]
				if i >= 5 || method == "PATCH" || method == "GET" {
					authorization = web // bad ones wait
				}
				status, answer := n.send(method, path, body, authorization)
				if status >= 400 || strings.HasPrefix(answer, `{"Err"`) {
					n.find("answer to "+method+" "+path, answer, canaryMember, canaryValue)
				}
				if path == "/subject/sessions" {
					n.find("list", answer)
				}
			}
		}
	}
	_, tok = n.send("POST", "/token", `{"meta":`+meta+`}`, web)
	n.tokens = append(n.tokens, tok)
	n.sendAuth(tok, web)
	n.sendBroken(tok)
}

// sendAuth asks /auth, with what has a session and what has not.
func (n *canaries) sendAuth(tok, web string) {
	const header = "?header=" + canaryMember + ":X-Canary"
	for _, query := range []string{"", header, header + "&x=" + canaryValue + "%", "?cookie=" + canaryPath, "?header=" + canaryMember + ":Connection"} {
		for _, cookie := range []string{"token=" + tok, "__Host-token=" + tok + canaryValue} {
			for _, authorization := range []string{web, "Bearer " + n.secrets["ops"], "Bearer " + n.secrets["prometheus"]} {
				_, answer := n.call("GET", n.base+"/auth"+query, "", authorization, "Cookie", cookie)
				n.find("answer to /auth", answer, canaryMember, canaryValue, canaryPath)
			}
		}
	}
}

// sendBroken sends what is no HTTP, over TLS and not.
func (n *canaries) sendBroken(tok string) {
	for _, text := range []string{
		"GET /" + canaryPath + " HTTP/1.1\r\nAuthorization: Bearer " + n.secrets["web"] + "\r\n\r\n",
		"PUT /token " + tok + "\r\nAuthorization: Bearer " + n.secrets["web"] + "\r\n\r\n" + canaryValue,
		n.secrets["web"] + "\r\n\r\n",
	} {
		plain, err := net.Dial("tcp", n.m.listeners[0].Addr().String())
		if err != nil {
			n.t.Fatal(err)
		}
		plain.SetDeadline(time.Now().Add(5 * time.Second))
		io.WriteString(plain, text)
		answer, _ := io.ReadAll(plain)
		plain.Close()
		n.find("answer to plain HTTP", string(answer), canaryValue)
	}
}

// lookAtAdmin reads all that the admin listener has, also what it says to those who may not.
func (n *canaries) lookAtAdmin() {
	_, port, _ := net.SplitHostPort(n.m.adminListener.Addr().String())
	paths := []string{"/metrics", "/healthz", "/readyz", "/" + canaryPath, "/debug/pprof/", "/debug/pprof/trace?seconds=0.01", "/debug/pprof/cmdline", "/debug/pprof/symbol"}
	for _, profile := range []string{"goroutine", "heap", "allocs", "block", "mutex", "threadcreate"} {
		for debug := range 3 {
			paths = append(paths, fmt.Sprintf("/debug/pprof/%s?debug=%d", profile, debug))
		}
	}
	for _, path := range paths {
		for _, authorization := range []string{"Bearer " + n.secrets["ops"], "Bearer " + n.secrets["prometheus"]} {
			_, answer := n.call("GET", "https://127.0.0.1:"+port+path, "", authorization)
			n.find("GET "+path, answer, canaryMember, canaryValue)
		}
	}
	status, answer := n.call("GET", "https://127.0.0.1:"+port+"/metrics", "", "Bearer "+canaryBad)
	if status != http.StatusUnauthorized {
		n.t.Errorf("a bad secret on the admin listener = %d, want 401", status)
	}
	n.find("refusal", answer)
}

// readAll returns a body, unpacked if that is needed.
func readAll(res *http.Response) string {
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if r, err := gzip.NewReader(bytes.NewReader(body)); err == nil {
		body, _ = io.ReadAll(r)
	}
	return string(body)
}

// find reports what is secret in a text, and further canaries.
func (n *canaries) find(where, text string, more ...string) {
	n.t.Helper()
	secret := append(more, canarySubject, canaryBad, canaryPath, base64.StdEncoding.EncodeToString([]byte("u:"+canaryBad)))
	for _, s := range n.secrets {
		secret = append(secret, s[:20], s[20:], fmt.Sprintf("%x", sha256.Sum256([]byte(s)))[:20])
	}
	for _, tok := range n.tokens {
		parsed, err := token.Parse([]byte(tok))
		if err != nil {
			n.t.Fatal(err)
		}
		secret = append(secret, tok[:11], tok[11:21], tok[21:], fmt.Sprintf("%x", parsed.Nonce[:8]), fmt.Sprintf("%x", parsed.ID[:]))
	}
	for _, each := range secret {
		if i := strings.Index(text, each); i >= 0 {
			n.t.Errorf("%s shows %q: … %.300q", where, each, text[max(0, i-100):])
		}
	}
}
