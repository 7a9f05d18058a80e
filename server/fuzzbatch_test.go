package server

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tokenserver/shard"
)

// FuzzBatch sends a batch to one server, and its items one by one to another that is in
// the same state: each has to get the same answer, but for the tokens. TOKEN stands for
// the current token of a session of each, and OTHER for that of another one.
func FuzzBatch(f *testing.F) {
	for _, items := range []string{
		`{"create":{"meta":{}}},{"exchange":{"token":"TOKEN"}},{"validate":{"token":"TOKEN"}},{"delete":{"token":"TOKEN"}}`,
		`{"exchange":{"token":"TOKEN","meta":{"a":[1.0],"a":{"\u0061":"}"}},"unset":["first"]}},{"exchange":{"token":"OTHER"}}`,
		`{"exchange":{"token":"TOKEN"}},{"exchange":{"token":"TOKEN"}},{"validate":{"token":"OTHER"}},{"delete":{"token":"OTHER"}},{"validate":{"token":"OTHER"}}`,
		`5,{},[],{"x":{"token":"TOKEN"}},{"validate":null},{"validate":{"token":"TOKEN"},"delete":{"token":"TOKEN"}}`,
		`{"create":{"meta":{"a":"` + strings.Repeat("x", 600) + `"}}},{"create":{"meta":{},"lifetime":"1h","subject":"s"}}`,
		`{"v\u0061lidate":{"t\u006fken":"TOKEN"}},{"exchange":{"token":"TOKEN","token":"OTHER"}},{"exchange":{"token":"x"}},{"delete":{"token":"x"}}`,
	} {
		f.Add([]byte(`{"batch":[` + items + `]}`))
		f.Add([]byte("{\n\"x\" : [ ] , \"batch\" : [ " + items + " ]\t}"))
	}
	for _, body := range malformed {
		f.Add([]byte(`{"batch":[{"create":` + body + `},{"exchange":{"token":"TOKEN"}}]}`))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		together, apart := newFuzzServer(), newFuzzServer()
		defer together.store.Close()
		defer apart.store.Close()
		r := together.d.do(t, "POST", batchPath, together.fill(t, body))
		switch r.status {
		case 200:
			compareBatch(t, r, apart, apart.fill(t, body))
		case 400, 422:
		default:
			t.Errorf("batch %q: %v", body, r)
		}
	})
}

type fuzzServer struct {
	store *shard.Store
	d     *direct
}

func newFuzzServer() *fuzzServer {
	store := shard.New(shard.Config{Shards: 2, MaxSessions: 4, MaxMeta: 500})
	return &fuzzServer{store, newDirect(Config{Store: store, MaxBatch: 20})}
}

// fill makes the two sessions of a server, and puts their tokens into a body.
func (s *fuzzServer) fill(t *testing.T, body []byte) string {
	first := s.d.do(t, "POST", "/token", `{"meta":{"first":1}}`).body
	second := s.d.do(t, "POST", "/token", `{"meta":{"second":{}}}`).body
	return strings.NewReplacer("TOKEN", first, "OTHER", second).Replace(string(body))
}

// random is what is never the same in two answers.
var random = regexp.MustCompile(`"token":"[A-Za-z0-9_-]{32}"|"expires_in":[0-9]+`)

// compareBatch carries the items of a body out one by one, and compares the answers with
// that to the batch.
func compareBatch(t *testing.T, r reply, s *fuzzServer, body string) {
	var answer struct{ Ok []json.RawMessage }
	if err := json.Unmarshal([]byte(r.body), &answer); err != nil {
		t.Fatalf("the answer to %q is %q: %v", body, r.body, err)
	}
	var outermost map[string]json.RawMessage
	var items []json.RawMessage
	if json.Unmarshal([]byte(body), &outermost) != nil || json.Unmarshal(outermost["batch"], &items) != nil || len(items) != len(answer.Ok) {
		t.Fatalf("%q has %d items and %d answers", body, len(items), len(answer.Ok))
	}
	for i, item := range items {
		got := random.ReplaceAllString(string(answer.Ok[i]), "random")
		if want := random.ReplaceAllString(s.carryOut(t, item), "random"); got != want {
			t.Fatalf("item %d of %q got %s, and alone %s", i, body, got, want)
		}
	}
}

// carryOut carries an item out as a request of its own, and returns the answer that it
// has to get.
func (s *fuzzServer) carryOut(t *testing.T, item json.RawMessage) string {
	kind, body := kindOf(item)
	if kind == "" {
		return errNoKind.answer.body
	}
	for request, each := range kindsOfRequests {
		if each != kind {
			continue
		}
		method, path, _ := strings.Cut(request, " ")
		switch r := s.d.do(t, method, path, string(body)); {
		case r.status == 202:
			return `{"Ok":{}}`
		case kind == "create" && r.status == 200:
			return `{"Ok":{"token":"` + r.body + `"}}`
		default:
			return r.body
		}
	}
	panic("no request of the kind " + kind)
}

// kindOf returns the kind of an item, and the body of it, or "" if it has not exactly
// one.
func kindOf(item json.RawMessage) (kind string, body json.RawMessage) {
	d := json.NewDecoder(bytes.NewReader(item))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return "", nil
	}
	kinds := 0
	for d.More() {
		name, _ := d.Token()
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return "", nil
		}
		if slices.Contains([]string{"create", "exchange", "validate", "delete"}, name.(string)) {
			kinds++
			kind, body = name.(string), value
		}
	}
	if kinds != 1 || body[0] != '{' {
		return "", nil
	}
	return kind, body
}
