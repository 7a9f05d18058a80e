package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// network is one of pipes, on which all time is fake.
type network struct {
	mu      sync.Mutex
	servers map[string]chan net.Conn
	wrap    func(net.Conn) net.Conn // of the client's side of new connections
}

func newNetwork() *network { return &network{servers: make(map[string]chan net.Conn)} }

func (n *network) dial(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	ln, wrap := n.servers[address], n.wrap
	n.mu.Unlock()
	if ln == nil {
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	}
	ours, theirs := net.Pipe()
	select {
	case ln <- theirs:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if wrap != nil {
		return wrap(ours), nil
	}
	return ours, nil
}

// listener is a server's end of a network.
type listener struct {
	n       *network
	address string
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func (n *network) listen(address string) *listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	conns := make(chan net.Conn, 16)
	n.servers[address] = conns
	return &listener{n: n, address: address, conns: conns, closed: make(chan struct{})}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		l.n.mu.Lock()
		if l.n.servers[l.address] == l.conns {
			delete(l.n.servers, l.address)
		}
		l.n.mu.Unlock()
		close(l.closed)
	})
	return nil
}

func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: l.address} }

// fake is a server that keeps to the contract in the simplest way. What is done with a
// token is counted.
type fake struct {
	mu       sync.Mutex
	id       string
	ready    bool
	sessions map[string]json.RawMessage // by token
	seen     map[string]int             // by token: exchanges that were carried out
	made     int
	looks    int                         // at /readyz
	fits     int                         // how many items of a batch are carried out; 0 for all
	grace    map[string]string           // spent tokens, if there is a grace
	requests []string                    // method, path and body, but for /readyz
	before   func(r *http.Request) error // nil to go on; an *answerWith; another closes the connection
	after    func(r *http.Request, answer *[]byte)
}

// answerWith is an answer in place of the right one.
type answerWith struct {
	status int
	body   string
}

func (a *answerWith) Error() string { return a.body }

func newFake(id string) *fake {
	return &fake{id: id, ready: true, sessions: make(map[string]json.RawMessage), seen: make(map[string]int)}
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if r.URL.Path == "/readyz" {
		f.serveReady(w)
		return
	}
	f.mu.Lock()
	f.requests = append(f.requests, r.Method+" "+r.URL.Path+" "+string(body))
	before, after := f.before, f.after
	f.mu.Unlock()
	if before != nil {
		var with *answerWith
		switch err := before(r); {
		case errors.As(err, &with):
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(with.status)
			io.WriteString(w, with.body)
			return
		case err != nil:
			panic(http.ErrAbortHandler)
		}
	}
	status, answer, reused := 200, []byte(nil), false
	if r.URL.Path == "/token/batch" {
		answer = f.carryOutBatch(body)
	} else {
		status, answer, reused = f.carryOut(r.Method+" "+r.URL.Path, body)
	}
	if after != nil {
		after(r, &answer)
	}
	if reused {
		w.Header().Set("Token-Reused", "true")
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(answer)))
	w.WriteHeader(status)
	w.Write(answer)
}

func (f *fake) serveReady(w http.ResponseWriter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looks++
	if f.id != "" {
		w.Header().Set("Store-Id", f.id)
	}
	if !f.ready {
		w.Header().Set("Connection", "close")
		w.WriteHeader(503)
		io.WriteString(w, `{"Err":"Draining","message":"The server is about to stop.","done":false}`)
	}
}

// fields are those of all requests.
type fields struct {
	Token string          `json:"token"`
	Meta  json.RawMessage `json:"meta"`
	Batch []map[string]json.RawMessage
}

func (f *fake) carryOut(route string, body []byte) (status int, answer []byte, reused bool) {
	var in fields
	if err := json.Unmarshal(body, &in); err != nil {
		return 400, []byte(`{"Err":"MalformedJSON","message":"no JSON"}`), false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	invalid := []byte(`{"Err":"InvalidToken"}`)
	switch route {
	case "POST /token":
		return 200, []byte(f.makeLocked(in.Meta)), false
	case "PUT /token":
		if next, ok := f.grace[in.Token]; ok {
			return 200, fmt.Appendf(nil, `{"Ok":{"token":%q,"meta":%s}}`, next, f.sessions[next]), true
		}
		meta, ok := f.sessions[in.Token]
		if !ok {
			return 200, invalid, false
		}
		delete(f.sessions, in.Token)
		f.seen[in.Token]++
		if in.Meta != nil {
			meta = in.Meta
		}
		next := f.makeLocked(meta)
		if f.grace != nil {
			f.grace[in.Token] = next
		}
		return 200, fmt.Appendf(nil, `{"Ok":{"token":%q,"meta":%s}}`, next, meta), false
	case "POST /token/validate":
		meta, ok := f.sessions[in.Token]
		if !ok {
			return 200, invalid, false
		}
		return 200, fmt.Appendf(nil, `{"Ok":{"meta":%s,"expires_in":7200}}`, meta), false
	case "DELETE /token":
		delete(f.sessions, in.Token)
		return 202, nil, false
	}
	return 404, []byte(`{"Err":"NotFound","message":"There is nothing at this path."}`), false
}

func (f *fake) makeLocked(meta json.RawMessage) string {
	f.made++
	token := fmt.Sprintf("%s-%032d", f.id, f.made)
	f.sessions[token] = meta
	return token
}

// carryOutBatch carries out the items one by one.
func (f *fake) carryOutBatch(body []byte) []byte {
	var in fields
	if err := json.Unmarshal(body, &in); err != nil {
		return []byte(`no JSON`)
	}
	routes := map[string]string{"create": "POST /token", "exchange": "PUT /token", "validate": "POST /token/validate", "delete": "DELETE /token"}
	var answers []string
	for i, item := range in.Batch {
		for name, body := range item {
			if f.fits > 0 && i >= f.fits {
				answers = append(answers, `{"Err":"BatchTooLarge","message":"m"}`)
				continue
			}
			_, answer, reused := f.carryOut(routes[name], body)
			text := string(answer)
			switch {
			case name == "create":
				text = fmt.Sprintf(`{"Ok":{"token":%q}}`, answer)
			case name == "delete":
				text = `{"Ok":{}}`
			case reused:
				text = strings.TrimSuffix(text, "}}") + `,"reused":true}}`
			}
			answers = append(answers, text)
		}
	}
	return []byte(`{"Ok":[` + strings.Join(answers, ",") + `]}`)
}

// bubble is a client with its servers, on a network where all time is fake.
type bubble struct {
	*testing.T
	network *network
	client  *Client
	stops   []func()
}

// inBubble runs a test with servers at the addresses a:1, b:1 and so on, and a client
// of them.
func inBubble(t *testing.T, cfg Config, test func(b *bubble), fakes ...*fake) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{T: t, network: newNetwork()}
		for i, f := range fakes {
			address := string(rune('a'+i)) + ":1"
			cfg.Addresses = append(cfg.Addresses, address)
			b.stops = append(b.stops, b.start(f, address))
		}
		cfg.dial = b.network.dial
		var err error
		if b.client, err = New(cfg); err != nil {
			t.Fatal(err)
		}
		test(b)
		b.client.Close()
		for _, stop := range b.stops {
			stop()
		}
		time.Sleep(time.Minute) // what still goes on ends
		synctest.Wait()
	})
}

// start serves a fake at an address.
func (b *bubble) start(f *fake, address string) (stop func()) {
	return b.serve(f, address)
}

func (b *bubble) serve(h http.Handler, address string) (stop func()) {
	return serveOn(b.network.listen(address), h)
}

func serveOn(ln net.Listener, h http.Handler) (stop func()) {
	s := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(ln) }()
	return func() { s.Close(); <-done }
}

// create makes a session, or ends the test.
func (b *bubble) create() string {
	b.Helper()
	token, err := b.client.Create(b.Context(), NewSession{Meta: json.RawMessage(`{"user":1}`)})
	if err != nil {
		b.Fatal(err)
	}
	return token
}
