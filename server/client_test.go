package server

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// marker is put into bad inputs. No answer and no log may show it.
const marker = "m4rk3r"

const invalidToken = `{"Err":"InvalidToken"}`

// client is one connection to a server, on which anything may be sent.
type client struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

func (s *served) dial(t testing.TB) *client {
	t.Helper()
	return newClient(t, dialAddress(t, s.addr))
}

func newClient(t testing.TB, conn net.Conn) *client {
	c := &client{t, conn, bufio.NewReader(conn)}
	c.renewPatience()
	return c
}

// renewPatience lets a test that goes on for long wait as long for each answer.
func (c *client) renewPatience() { c.conn.SetDeadline(time.Now().Add(patience)) }

// requestText returns the text of a request. Its body is said to be JSON unless
// headers say something else of it.
func requestText(method, path, body string, headers ...string) string {
	lines := append([]string{method + " " + path + " HTTP/1.1", "Host: test"}, headers...)
	if setting.authorization != "" && !slices.ContainsFunc(headers, isAuthorization) {
		lines = append(lines, "Authorization: "+setting.authorization)
	}
	if body != "" {
		lines = append(lines, fmt.Sprintf("Content-Length: %d", len(body)))
		if !slices.ContainsFunc(headers, isContentType) {
			lines = append(lines, "Content-Type: application/json")
		}
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n" + body
}

func isContentType(header string) bool {
	return strings.HasPrefix(strings.ToLower(header), "content-type:")
}

// authorization returns the header of the setting, with the end of its line, or nothing.
func authorization() string {
	if setting.authorization == "" {
		return ""
	}
	return "Authorization: " + setting.authorization + "\r\n"
}

func isAuthorization(header string) bool { return strings.HasPrefix(header, "Authorization:") }

// chunkedText returns the text of a request whose body is as given on the wire.
func chunkedText(method, path, wire string, headers ...string) string {
	headers = append(headers, "Content-Type: application/json", "Transfer-Encoding: chunked")
	return requestText(method, path, "", headers...) + wire
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.t.Fatalf("sending %.200q: %v", text, err)
	}
}

// reply is the answer to a request.
type reply struct {
	status int
	header http.Header
	body   string
	closes bool // it says that it is the connection's last
}

// receive reads the answer to a request with the given method. It checks what
// every answer has.
func (c *client) receive(method string) reply {
	c.t.Helper()
	r, err := c.tryReceive(method)
	if err != nil {
		c.t.Fatalf("reading the answer: %v", err)
	}
	if got := r.header["Cache-Control"]; len(got) != 1 || got[0] != "no-store" {
		c.t.Errorf("answer %d has Cache-Control %q, want no-store", r.status, got)
	}
	if r.contains(marker) {
		c.t.Errorf("answer %v echoes its request", r)
	}
	return r
}

func (c *client) tryReceive(method string) (reply, error) {
	c.renewPatience()
	response, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err != nil {
		return reply{}, err
	}
	body, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header, string(body), response.Close}, err
}

// do sends a request and receives the answer.
func (c *client) do(method, path, body string, headers ...string) reply {
	c.t.Helper()
	if inBatches && len(headers) == 0 {
		if r, ok := c.doInBatch(method, path, body); ok {
			return r
		}
	}
	c.send(requestText(method, path, body, headers...))
	r := c.receive(method)
	r.wantContract(c.t, method, path)
	return r
}

// wantClosed checks that the server ends the connection, in an orderly way.
func (c *client) wantClosed() {
	c.t.Helper()
	if b, err := c.in.ReadByte(); err != io.EOF {
		c.t.Errorf("after the answer: %q, %v, want the connection closed", b, err)
	}
}

// wantRefused checks the last answer on a connection whose request could not be
// read. It ends its side of the connection, which spares the server to linger.
func (c *client) wantRefused(name string, status int, code string) {
	c.t.Helper()
	r := c.receive("PUT")
	if r.status != status || r.code() != code || r.contentType() != "application/json" || !r.closes {
		c.t.Errorf("%s: answer %v, closes %v, want %d %s and the connection closed", name, r, r.closes, status, code)
	}
	c.conn.(interface{ CloseWrite() error }).CloseWrite()
	c.wantClosed()
}

// wantOpen checks that the connection is still good for a request.
func (c *client) wantOpen() {
	c.t.Helper()
	if r := c.do("GET", "/healthz", ""); r.status != 200 || r.body != "ok\n" {
		c.t.Errorf("next request on the connection: %v", r)
	}
}

// do sends a request on a connection of its own.
func (s *served) do(t testing.TB, method, path, body string, headers ...string) reply {
	t.Helper()
	c := s.dial(t)
	defer c.conn.Close()
	return c.do(method, path, body, headers...)
}

// create begins a session and returns its token.
func (c *client) create(meta string) string {
	c.t.Helper()
	r := c.do("POST", "/token", `{"meta":`+meta+`}`)
	if r.status != 200 || !isToken(r.body) {
		c.t.Fatalf("POST of metadata %.200s: %v", meta, r)
	}
	return r.body
}

var isToken = regexp.MustCompile(`^[A-Za-z0-9_-]{32}$`).MatchString

// exchange spends a token and returns the next one and the metadata. patch is
// empty for none.
func (c *client) exchange(tok, patch string) (next, meta string) {
	c.t.Helper()
	r := c.do("PUT", "/token", exchangeBody(tok, patch))
	next, meta, ok := r.exchanged()
	if !ok {
		c.t.Fatalf("PUT with patch %.200q: %v", patch, r)
	}
	return next, meta
}

func exchangeBody(tok, patch string) string {
	if patch == "" {
		return tokenBody(tok)
	}
	return `{"token":"` + tok + `","meta":` + patch + `}`
}

func tokenBody(tok string) string { return `{"token":"` + tok + `"}` }

var exchangedText = regexp.MustCompile(`(?s)^\{"Ok":\{"token":"([A-Za-z0-9_-]{32})","meta":(\{.*\})\}\}$`)

// exchanged takes the answer to an exchange that succeeded apart.
func (r reply) exchanged() (next, meta string, ok bool) {
	parts := exchangedText.FindStringSubmatch(r.body)
	if parts == nil || r.status != 200 || r.contentType() != "application/json" {
		return "", "", false
	}
	return parts[1], parts[2], true
}

// wantWorking checks that the server still does its work, on a new connection.
func (s *served) wantWorking(t testing.TB) {
	t.Helper()
	c := s.dial(t)
	defer c.conn.Close()
	next, meta := c.exchange(c.create(`{"a":1}`), `{"b":2}`)
	if want := `{"a":1,"b":2}`; meta != want {
		t.Errorf("metadata of a good exchange = %s, want %s", meta, want)
	}
	if r := c.do("DELETE", "/token", tokenBody(next)); r.status != 202 {
		t.Errorf("good DELETE: %v", r)
	}
}

// contentType returns all values of Content-Type, so that one is as it should be.
func (r reply) contentType() string { return strings.Join(r.header["Content-Type"], " and ") }

func (r reply) contains(text string) bool { return strings.Contains(r.String(), text) }

func (r reply) String() string { return fmt.Sprintf("%d %v %.500q", r.status, r.header, r.body) }

// wantError checks an answer to a request that failed.
func (r reply) wantError(t testing.TB, status int, code string) {
	t.Helper()
	if r.status != status || r.code() != code || r.contentType() != "application/json" {
		t.Errorf("answer %v, want %d %s", r, status, code)
	}
	if got, want := r.header.Get("Retry-After"), map[bool]string{true: "1"}[code == "StoreUnavailable"]; got != want {
		t.Errorf("answer %v has Retry-After %q, want %q", r, got, want)
	}
	if r.header["Allow"] != nil && status != 405 {
		t.Errorf("answer %v has Allow", r)
	}
}

// code returns the code of an error whose body has exactly the contract's shape, or "".
func (r reply) code() string {
	var e struct {
		Err, Message string
		Done         *bool
	}
	decoder := json.NewDecoder(strings.NewReader(r.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&e); err != nil || e.Message == "" {
		return ""
	}
	done := ""
	if e.Done != nil {
		done = `,"done":false`
	}
	if r.body != fmt.Sprintf(`{"Err":%q,"message":%q%s}`, e.Err, e.Message, done) {
		return ""
	}
	return e.Err
}

// wantRefusal checks an answer that says that nothing was carried out.
func (r reply) wantRefusal(t testing.TB, code string) {
	t.Helper()
	r.wantError(t, 503, code)
	if !r.notDone() {
		t.Errorf(`answer %v, want "done":false`, r)
	}
}

// notDone reports whether an answer says that nothing was carried out.
func (r reply) notDone() bool { return strings.HasSuffix(r.body, `,"done":false}`) }

// wantInvalidToken checks the answer to a token that is not valid.
func (r reply) wantInvalidToken(t testing.TB) {
	t.Helper()
	if r.status != 200 || r.contentType() != "application/json" || r.body != invalidToken {
		t.Errorf("answer %v, want %s", r, invalidToken)
	}
}
