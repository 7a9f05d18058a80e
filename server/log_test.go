package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// logBuffer is what a log is written to.
type logBuffer struct {
	mu      sync.Mutex
	text    bytes.Buffer
	written chan struct{} // has room for one
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.signal() <- struct{}{}:
	default:
	}
	return b.text.Write(p)
}

func (b *logBuffer) signal() chan struct{} {
	if b.written == nil {
		b.written = make(chan struct{}, 1)
	}
	return b.written
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *logBuffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text.Reset()
}

func (b *logBuffer) lines() []string {
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

// await waits until the log has a text n times.
func (b *logBuffer) await(t testing.TB, text string, n int) {
	t.Helper()
	b.mu.Lock()
	written := b.signal()
	b.mu.Unlock()
	timeout := time.After(patience)
	for strings.Count(b.String(), text) < n {
		select {
		case <-written:
		case <-timeout:
			t.Fatalf("log has no %d times %q: %s", n, text, b.String())
		}
	}
}

// debugLog serves with a log of all levels, a JSON object a line.
func debugLog(t *testing.T, cfg Config) (*served, *logBuffer) {
	log := new(logBuffer)
	cfg.Logger = slog.New(slog.NewJSONHandler(log, withoutTime))
	return serve(t, cfg), log
}

func TestAccessLog(t *testing.T) {
	s, log := debugLog(t, Config{Dump: true, MaxBody: maxBody})
	c := s.dial(t)
	tok := c.create(`{"` + marker + `":1}`)
	log.Reset()
	tests := []struct{ text, want string }{
		{requestText("POST", "/token", `{"meta":{"`+marker+`":1}}`), "POST /token 200"},
		{requestText("POST", "/token/validate?"+marker, tokenBody(tok)), "POST /token/validate 200"},
		{requestText("PUT", "/token?token="+tok, tokenBody(tok)), "PUT /token 200"},
		{requestText("PUT", "/token", tokenBody(tok)), "PUT /token 200"},
		{requestText("DELETE", "/token", tokenBody(tok)), "DELETE /token 202"},
		{requestText("PUT", "/token", `{"token":1}`), "PUT /token 422"},
		{requestText("POST", "/subject/sessions?"+marker, subjectBody(marker)), "POST /subject/sessions 200"},
		{requestText("DELETE", "/subject?"+tok, subjectBody(marker)), "DELETE /subject 200"},
		{requestText("DELETE", "/subject/"+marker, subjectBody(marker)), "DELETE unknown 404"},
		{requestText("PUT", "/token/"+tok, tokenBody(tok)), "PUT unknown 404"},
		{requestText("GET", "/"+marker+"?"+tok, ""), "GET unknown 404"},
		{requestText(marker, "/token", ""), "other /token 405"},
		{requestText("PATCH", "/"+tok, ""), "other unknown 404"},
		{requestText("OPTIONS", "*", ""), "OPTIONS unknown 404"},
		{requestText("GET", "/healthz", "", "X-Token: "+tok), "GET /healthz 200"},
		{requestText("GET", "/readyz", ""), "GET /readyz 200"},
		{requestText("GET", "/auth?header="+marker+":X-A&cookie="+tok, "", "X-Token: "+tok), "GET /auth 401"},
		{requestText("GET", "/auth?x="+tok+"%", "", "Cookie: token="+tok), "GET /auth 422"},
		{head + "Transfer-Encoding: identity\r\n\r\n" + tok, "PUT /token 400"},
		{requestText("PUT", "/token", tokenBody(tok)+large(1)), "other /token 413"},
		{requestText("PUT", "/token", large(1), "Expect: 100-continue"), "PUT /token 413"},
		{head + "X: " + strings.Repeat(tok, 1000) + "\r\n\r\n", "other unknown 431"},
		{"GET /" + tok + "\r\nHost: test\r\n\r\n", "other unknown 400"},
	}
	var want []string
	for _, test := range tests {
		c := s.dial(t)
		c.send(test.text)
		c.tryReceive("PUT")
		c.conn.Close()
		want = append(want, test.want)
		log.await(t, `"msg":"request"`, len(want))
	}
	if got := requestsIn(t, log); !slices.Equal(got, want) {
		t.Errorf("access log has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	s.shutdown(t)
	for _, secret := range []string{tok[:10], tok[20:], marker} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("log shows %s: %s", secret, log.String())
		}
	}
}

// requestsIn returns method, path and status of each record of the access log.
func requestsIn(t *testing.T, log *logBuffer) (requests []string) {
	t.Helper()
	for _, line := range log.lines() {
		var record struct {
			Level, Msg, Method, Path string
			Status                   json.Number
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("log has %q: %v", line, err)
		}
		if record.Msg == "request" {
			requests = append(requests, record.Method+" "+record.Path+" "+record.Status.String())
			if record.Level != "DEBUG" {
				t.Errorf("record %s has level %s, want DEBUG", line, record.Level)
			}
		}
	}
	return requests
}

// fasthttp quotes a request that it can't read in its errors.
func TestLogShowsNothingOfBrokenRequests(t *testing.T) {
	s, log := debugLog(t, Config{MaxBody: maxBody, RequestTimeout: hurry})
	for _, text := range brokenHTTP {
		c := s.dial(t)
		c.send(text)
		c.receive("PUT")
		c.conn.Close()
	}
	tok := s.dial(t).create(`{}`)
	for _, text := range []string{
		"GET /token?token=" + tok + "\r\nAuthorization: Bearer " + tok + "\r\n\r\n",
		"PUT " + tok + " HTTP/1.1\r\nHost: test\r\n\r\n",
		"PUT /token " + tok + " HTTP/1.1\r\nHost: test\r\n\r\n",
		tok + "\r\n\r\n",
		head + tok + "\r\n\r\n",
		head + "X: \x01" + tok + "\r\n\r\n",
		head + tok + " : x\r\n\r\n",
		head + "Host: " + tok + "\r\n\r\n",
		head + "Content-Length: " + tok + "\r\n\r\n",
		head + "Transfer-Encoding: " + tok + "\r\n\r\n",
		head + "Transfer-Encoding: chunked\r\n\r\n0\r\n" + tok + "\r\n\r\n",
		// A body longer than it is said to be is the next request.
		requestText("GET", "/healthz", "", "Content-Length: 0") + tokenBody(tok) + "\r\n\r\n",
		requestText("GET", "/healthz", "", "Content-Length: 0") + "{\"token\": \"" + tok + "\"}\r\n\r\n",
		requestText("GET", "/healthz", "", "Content-Length: 0") + "token: " + tok + "\r\n\r\n",
	} {
		c := s.dial(t)
		c.send(text)
		c.conn.(interface{ CloseWrite() error }).CloseWrite()
		for {
			if _, err := c.tryReceive("PUT"); err != nil {
				break
			}
		}
	}
	s.shutdown(t)
	text := log.String()
	for _, secret := range []string{tok[:8], tok[8:16], tok[24:], marker} {
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("log shows %q: … %s", secret, text[max(i-200, 0):i+len(secret)])
		}
	}
	if !strings.Contains(text, `"msg":"connection"`) {
		t.Errorf("log says nothing of broken connections")
	}
}

func TestHTTPLoggerKeepsErrorsOfTheNetwork(t *testing.T) {
	var log logBuffer
	l := httpLogger{slog.New(slog.NewTextHandler(&log, withoutTime))}
	l.Printf("%d of %s: %v", 3, "test", errors.New(marker))
	l.Printf("%v", &slowError{})
	want := `level=DEBUG msg=connection error="3 of test: server: bad request"` + "\n" +
		`level=DEBUG msg=connection error="out of time"` + "\n"
	if got := log.String(); got != want {
		t.Errorf("log =\n%s, want\n%s", got, want)
	}
}

type slowError struct{}

func (*slowError) Error() string   { return "out of time" }
func (*slowError) Timeout() bool   { return true }
func (*slowError) Temporary() bool { return true }

// At info there is no record of requests that went as they should.
func TestNoAccessLogAtInfo(t *testing.T) {
	var log logBuffer
	s := serve(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	s.wantWorking(t)
	s.do(t, "PUT", "/"+marker, `{`).wantError(t, 404, "NotFound")
	c := s.dial(t)
	c.send(brokenHTTP["no Host"])
	c.wantRefused("no Host", 400, "BadRequest")
	if got := log.String(); got != "" {
		t.Errorf("log = %q, want nothing", got)
	}
}
