package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// server is one address, and the connections to it.
type server struct {
	address   string // as configured
	base      url.URL
	connect   func(ctx context.Context, network, address string) (net.Conn, error)
	meet      func(id string) error // of servers, about a new connection
	transport *http.Transport
	auth      *auth
	kicked    chan struct{} // has room for one: probe now

	// Guarded by servers.mu.
	state
	flights int // counted requests that are under way
}

// state is what is known of a server.
type state struct {
	probed bool // at least once
	up     bool
	id     string // of its store; empty if it does not say
	err    error  // why it is not up
}

// idleTimeout is how long a connection may lie idle. Servers close theirs after five
// minutes, and must not come first.
const idleTimeout = 4 * time.Minute

// dialTimeout is how long it may take to connect, and to get the first answer.
const dialTimeout = time.Second

func newServer(address string, cfg *Config, a *auth) (*server, error) {
	s := &server{address: address, connect: cfg.dial, auth: a, kicked: make(chan struct{}, 1)}
	network, target, err := s.parse(address)
	if err != nil {
		return nil, err
	}
	s.transport = &http.Transport{
		Proxy:               cfg.Proxy,
		TLSHandshakeTimeout: dialTimeout,
		DisableCompression:  true,
		MaxIdleConnsPerHost: max(cfg.MaxInFlight, 2) + 2, // beside those in flight, probes and single calls
		IdleConnTimeout:     idleTimeout,
		Protocols:           new(http.Protocols),
		WriteBufferSize:     bufferSize,
		ReadBufferSize:      bufferSize,
	}
	s.transport.Protocols.SetHTTP1(true) // sent counts on one request at a time
	secure, err := tlsConfig(cfg)
	if err != nil {
		return nil, err
	}
	s.transport.TLSClientConfig = secure
	s.transport.DialContext = func(ctx context.Context, _, to string) (net.Conn, error) {
		if network == "unix" {
			to = target
		}
		return s.dial(ctx, network, to, nil, cfg.Proxy == nil)
	}
	if cfg.Proxy == nil {
		secure = secure.Clone()
		secure.NextProtos = nil // HTTP/1
		if secure.ServerName == "" {
			secure.ServerName = s.base.Hostname()
		}
		s.transport.DialTLSContext = func(ctx context.Context, _, to string) (net.Conn, error) {
			return s.dial(ctx, network, to, secure, true)
		}
	}
	return s, nil
}

// bufferSize is how many bytes are read and written at once.
const bufferSize = 16 << 10

// parse reads an address, and returns how to reach it.
func (s *server) parse(address string) (network, target string, err error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok && strings.HasPrefix(path, "/") {
		s.base = url.URL{Scheme: "http", Host: "localhost"}
		return "unix", path, nil
	}
	full := address
	if !strings.Contains(full, "://") {
		full = "http://" + full
	}
	u, err := url.Parse(full)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.HasSuffix(u.Host, ":") || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return "", "", fmt.Errorf("token server: address %q: must be http://host:port, https://host:port, host:port or unix:/path", address)
	}
	s.base = url.URL{Scheme: u.Scheme, Host: u.Host}
	return "tcp", u.Host, nil
}

// conn counts what is written, so that it can be told whether a request has left.
type conn struct {
	net.Conn
	written atomic.Int64
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.written.Add(int64(n))
	return n, err
}

// dial connects. A kernel accepts connections that its server never will, as when it
// is stopping. So no request is sent before the server has said that it is ready.
// Through a proxy it is not asked, and only a handshake of TLS shows that it is there.
func (s *server) dial(ctx context.Context, network, to string, secure *tls.Config, greet bool) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	nc, err := s.connect(ctx, network, to)
	if err != nil {
		return nil, err
	}
	nc = &conn{Conn: nc}
	if secure != nil {
		layered := tls.Client(nc, secure)
		err = layered.HandshakeContext(ctx)
		nc = layered
	}
	if err == nil && greet {
		err = s.greet(ctx, nc)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return nc, nil
}

// errNotReady says what a server has answered to a look at /readyz.
var errNotReady = errors.New("not ready")

// reply is what has come of a request.
type reply struct {
	status int
	body   []byte // in the buffer that was given
	reused bool   // by the header Token-Reused
	id     string // by the header Store-Id
	closes bool   // the connection ends with this answer
	kept   bool   // the request's body may still be read

	err  error // there is no whole answer; of its body there may be a part
	sent bool  // the request may have been carried out all the same
}

// trip is one request, and what becomes of it.
type trip struct {
	body   bytes.Reader
	read   atomic.Bool // the transport has done with the body
	trace  httptrace.ClientTrace
	conn   *conn
	before int64 // what had been written to conn
}

func newTrip(body []byte) *trip {
	t := new(trip)
	t.body.Reset(body)
	t.trace.GotConn = t.gotConn
	t.trace.WroteRequest = func(httptrace.WroteRequestInfo) { t.read.Store(true) }
	return t
}

// reader is the body as the transport knows it: to one of any other type it would send
// the head in a packet of its own.
func (t *trip) reader() io.ReadCloser { return io.NopCloser(&t.body) }

// gotConn is called before each try to send the request.
func (t *trip) gotConn(info httptrace.GotConnInfo) {
	t.read.Store(false)
	nc := info.Conn
	if layered, ok := nc.(*tls.Conn); ok {
		nc = layered.NetConn()
	}
	t.conn, _ = nc.(*conn)
	if t.conn != nil {
		t.before = t.conn.written.Load()
	}
}

// minHead is less than what each request has before its body, and with that more than
// a farewell of TLS.
const minHead = len("PUT /token HTTP/1.1\r\nHost: \r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n")

// sent says whether the server may have got the whole request. It can't have carried
// out what it has only a part of.
func (t *trip) sent(size int) bool {
	return t.conn != nil && t.conn.written.Load()-t.before >= int64(minHead+size)
}

// roundTrip sends a request once and reads its answer into buf.
//
// The transport does not send it again by itself: it does so with requests of which it
// has written something only if they are idempotent by their method, and with none that
// has a body and no GetBody.
func (s *server) roundTrip(ctx context.Context, method, path string, body []byte, buf *[]byte) (rep reply) {
	headers, err := s.auth.headers(ctx)
	if err != nil {
		return reply{err: err}
	}
	t := newTrip(body)
	u := s.base
	u.Path = path
	req := (&http.Request{
		Method: method, URL: &u, Host: u.Host, Header: headers, Body: t.reader(), ContentLength: int64(len(body)),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(httptrace.WithClientTrace(ctx, &t.trace))
	rep = s.read(req, buf)
	rep.sent = rep.err != nil && (rep.status != 0 || t.sent(len(body)))
	rep.kept = !t.read.Load()
	if rep.closes {
		s.probe() // it drains, perhaps
	}
	return rep
}

// read sends a request and reads the answer.
func (s *server) read(req *http.Request, buf *[]byte) (rep reply) {
	res, err := s.transport.RoundTrip(req)
	if err != nil {
		return reply{err: err}
	}
	defer res.Body.Close()
	rep = reply{status: res.StatusCode, closes: res.Close, id: res.Header.Get("Store-Id")}
	rep.reused = res.Header.Get("Token-Reused") == "true"
	rep.body, rep.err = readBody(res, (*buf)[:0])
	*buf = rep.body[:0]
	return rep
}

// maxAnswer is the size in bytes beyond which nothing is an answer.
const maxAnswer = 128 << 20

func readBody(res *http.Response, dst []byte) ([]byte, error) {
	if res.ContentLength > maxAnswer {
		return dst, errAnswer
	}
	w := bytes.NewBuffer(dst)
	if n := int(res.ContentLength); n > 0 {
		w.Grow(n + bytes.MinRead)
	}
	n, err := w.ReadFrom(io.LimitReader(res.Body, maxAnswer+1))
	if err == nil && n > maxAnswer {
		err = errAnswer
	}
	return w.Bytes(), err
}

// probe has the server looked at soon.
func (s *server) probe() {
	select {
	case s.kicked <- struct{}{}:
	default:
	}
}

// statusError says why a look at /readyz was no success.
func statusError(address string, status int, body []byte) error {
	a, ok := parseSingle(endSubject, &reply{status: status, body: body})
	if !ok || a.code == "" {
		a.code, a.message = "status "+strconv.Itoa(status), "no answer of a token server that is ready"
	}
	return &Error{Kind: ErrUnavailable, Cause: errNotReady, Status: status, Code: a.code, Message: a.message, Address: address}
}
