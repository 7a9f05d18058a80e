package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenserver/token"
)

// fakeServer keeps the contract, as far as the load generator can see, but for what a test
// makes it break.
type fakeServer struct {
	address     string
	connections atomic.Int64
	batches     atomic.Int64

	mu       sync.Mutex
	sessions map[string]string // metadata by live token
	spent    map[string]string // metadata by spent token
	counts   [operationCount]int

	acceptSpent bool
	stallAfter  time.Duration // from the first exchange on
	stall       time.Duration
	firstAt     time.Time
	// spoil may change the answer to an operation, or hijack its connection and return false.
	spoil func(op operation, a *fakeAnswer, w http.ResponseWriter) bool
}

type fakeAnswer struct {
	status       int
	contentType  string
	cacheControl string
	body         string
}

func startFake(t *testing.T, f *fakeServer) *fakeServer {
	t.Helper()
	f.sessions, f.spent = map[string]string{}, map[string]string{}
	s := httptest.NewUnstartedServer(f)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			f.connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	f.address = s.Listener.Addr().String()
	return f
}

// received returns how many requests of each operation came.
func (f *fakeServer) received() [operationCount]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts
}

func (f *fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/readyz" { // which the client asks
		fmt.Fprintln(w, "ok")
		return
	}
	if r.URL.Path == "/token/batch" {
		f.serveBatch(w, r)
		return
	}
	var body struct {
		Token string
		Meta  json.RawMessage
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	op, a := f.answer(r.Method+" "+r.URL.Path, body.Token, string(body.Meta))
	if f.spoil != nil && !f.spoil(op, &a, w) {
		return
	}
	h := w.Header()
	h.Set("Content-Length", fmt.Sprint(len(a.body)))
	h["Content-Type"] = []string{a.contentType}
	h.Set("Cache-Control", a.cacheControl)
	w.WriteHeader(a.status)
	_, _ = w.Write([]byte(a.body))
}

// serveBatch answers each item as the request of its own would be.
func (f *fakeServer) serveBatch(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Batch []map[string]struct {
			Token string
			Meta  json.RawMessage
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	routes := map[string]string{"create": "POST /token", "exchange": "PUT /token", "validate": "POST /token/validate", "delete": "DELETE /token"}
	var items []string
	for _, item := range body.Batch {
		for kind, each := range item {
			op, a := f.answer(routes[kind], each.Token, string(each.Meta))
			if f.spoil != nil && !f.spoil(op, &a, w) {
				return
			}
			switch kind {
			case "create":
				a.body = okTokenStart + a.body + `"}}`
			case "delete":
				a.body = `{"Ok":{}}`
			}
			items = append(items, a.body)
		}
	}
	f.batches.Add(1)
	h := w.Header()
	h.Set("Content-Type", jsonType)
	h.Set("Cache-Control", "no-store")
	text := answersStart + strings.Join(items, ",") + answersEnd
	h.Set("Content-Length", fmt.Sprint(len(text)))
	_, _ = w.Write([]byte(text))
}

func (f *fakeServer) answer(route, token, meta string) (operation, fakeAnswer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := fakeAnswer{200, jsonType, "no-store", invalidTokenBody}
	op := opCreate
	switch route {
	case "POST /token":
		a.contentType, a.body = tokenType, f.addLocked(meta)
	case "POST /token/validate":
		op = opValidate
		if old, ok := f.sessions[token]; ok {
			a.body = validStart + old + validExpires + "7200" + okEnd
		}
	case "PUT /token":
		f.maybeStallLocked()
		op, a.body = f.exchangeLocked(token, meta)
	case "DELETE /token":
		op, a.status, a.contentType, a.body = opDelete, 202, "", ""
		f.spendLocked(token)
	}
	f.counts[op]++
	return op, a
}

func (f *fakeServer) maybeStallLocked() {
	if f.firstAt.IsZero() {
		f.firstAt = time.Now()
	}
	if f.stall > 0 && time.Since(f.firstAt) >= f.stallAfter {
		time.Sleep(f.stall) // with the lock: nobody is served
		f.stall = 0
	}
}

func (f *fakeServer) addLocked(meta string) string {
	var raw [token.Size]byte
	_, _ = rand.Read(raw[:])
	text := base64.RawURLEncoding.EncodeToString(raw[:])
	f.sessions[text] = meta
	return text
}

func (f *fakeServer) spendLocked(token string) {
	if meta, ok := f.sessions[token]; ok {
		f.spent[token] = meta
		delete(f.sessions, token)
	}
}

func (f *fakeServer) exchangeLocked(token, patch string) (operation, string) {
	op := opExchange
	if patch != "" {
		op = opPatch
	}
	meta, live := f.sessions[token]
	if !live {
		op = opReplay
		if meta, live = f.spent[token]; !live || !f.acceptSpent {
			return op, invalidTokenBody
		}
	}
	if visits, ok := strings.CutPrefix(patch, patchStart); ok {
		at := strings.Index(meta, metaVisits) + len(metaVisits)
		meta = meta[:at] + visits[:hexSize] + meta[at+hexSize:]
	}
	f.spendLocked(token)
	return op, okTokenStart + f.addLocked(meta) + okMeta + meta + okEnd
}

// hijack takes the connection over, writes text and closes it.
func hijack(w http.ResponseWriter, text string) {
	conn, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	_, _ = buffered.WriteString(text)
	_ = buffered.Flush()
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}
