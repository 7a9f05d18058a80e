package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// kind is what a request asks for.
type kind string

const (
	kindCreate   kind = "create"
	kindExchange kind = "exchange"
	kindValidate kind = "validate"
	kindDelete   kind = "delete"
)

// request is one request of a ledger and what became of it.
type request struct {
	kind    kind
	token   string
	patch   meta // of a create, and of an exchange if patched
	patched bool

	began, ended time.Time
	answer       *answer // nil if none has come
	notDone      bool    // it is certain that nothing was carried out
}

// answer is what a client was told.
type answer struct {
	invalid bool
	reused  bool
	token   string
	meta    string
}

func (r *request) String() string {
	got := "no answer"
	if r.answer != nil {
		got = fmt.Sprintf("%+.200v", *r.answer)
	}
	return fmt.Sprintf("%s %s patched=%v change=%d: %s", r.kind, r.token, r.patched, r.patch.change, got)
}

// text returns the request as it goes over the wire.
func (r *request) text() string {
	method, path, body := "PUT", "/token", fmt.Sprintf(`{"token":%q}`, r.token)
	switch {
	case r.kind == kindCreate:
		method, body = "POST", fmt.Sprintf(`{"meta":%v}`, r.patch)
	case r.kind == kindValidate:
		method, path = "POST", "/token/validate"
	case r.kind == kindDelete:
		method = "DELETE"
	case r.patched:
		body = fmt.Sprintf(`{"token":%q,"meta":%s}`, r.token, r.patch.patch())
	}
	return textOf(method, path, body)
}

func textOf(method, path, body string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		method, path, len(body), body)
}

// errUnavailable says that the server could not answer: as good as no answer.
var errUnavailable = errors.New("503, or 502 or 504 of a proxy")

// client sends requests on one connection, each of them once, whatever happens.
type client struct {
	net.Conn
	r *bufio.Reader
}

func dialClient(address string) (*client, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &client{c, bufio.NewReader(c)}, nil
}

func (c *client) send(r *request) {
	c.write(r.text(), r)
}

// write writes the text of some requests.
func (c *client) write(text string, rs ...*request) {
	now := time.Now()
	for _, r := range rs {
		r.began = now
	}
	c.SetDeadline(now.Add(20 * time.Second)) // for a server that hangs
	io.WriteString(c, text)                  // its failure shows when the answer is read
}

// receive reads the answer to r.
func (c *client) receive(r *request) error {
	res, body, err := c.read(r)
	if err == nil {
		r.answer = parseAnswer(r.kind, res, body)
	}
	return err
}

// read reads the answer to what was sent for rs.
func (c *client) read(rs ...*request) (res *http.Response, body string, err error) {
	defer func() {
		for _, r := range rs {
			r.ended = time.Now()
		}
	}()
	if res, err = http.ReadResponse(c.r, nil); err != nil {
		return nil, "", err
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, "", err
	}
	switch res.StatusCode {
	case http.StatusBadGateway, http.StatusGatewayTimeout: // of a proxy before the server
		return nil, "", errUnavailable
	case http.StatusServiceUnavailable:
		for _, r := range rs {
			r.notDone = strings.Contains(string(text), `"done":false`)
		}
		return nil, "", errUnavailable
	}
	return res, string(text), nil
}

var bodies = map[kind]*regexp.Regexp{
	kindCreate:   regexp.MustCompile(`^(?<token>[\w-]{32})$`),
	kindExchange: regexp.MustCompile(`^(?:\{"Ok":\{"token":"(?<token>[\w-]{32})","meta":(?<meta>\{.*\})\}\}|(?<invalid>\{"Err":"InvalidToken"\}))$`),
	kindValidate: regexp.MustCompile(`^(?:\{"Ok":\{"meta":(?<meta>\{.*\}),"expires_in":\d+\}\}|(?<invalid>\{"Err":"InvalidToken"\}))$`),
	kindDelete:   regexp.MustCompile(`^$`),
}

// parseAnswer returns what an answer tells. One that the contract does not have
// is put where the metadata belongs, so that no state explains it.
func parseAnswer(k kind, res *http.Response, body string) *answer {
	status := http.StatusOK
	if k == kindDelete {
		status = http.StatusAccepted
	}
	m := bodies[k].FindStringSubmatch(body)
	if res.StatusCode != status || m == nil {
		return &answer{meta: fmt.Sprintf("%d %s", res.StatusCode, body)}
	}
	part := func(name string) string {
		if i := bodies[k].SubexpIndex(name); i > 0 {
			return m[i]
		}
		return ""
	}
	return &answer{
		invalid: part("invalid") != "",
		reused:  res.Header.Get("Token-Reused") == "true",
		token:   part("token"),
		meta:    part("meta"),
	}
}
