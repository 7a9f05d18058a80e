package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenserver/internal/stats"
	"tokenserver/shard"
	"tokenserver/token"
)

// batchText returns the body of a batch of items.
func batchText(items ...string) string { return `{"batch":[` + strings.Join(items, ",") + `]}` }

func exchangeItem(tok string) string { return `{"exchange":` + tokenBody(tok) + `}` }

// batch sends items and returns the answer to each.
func (c *client) batch(items ...string) []string {
	c.t.Helper()
	return c.batchAnswers(c.do("POST", "/token/batch", batchText(items...)))
}

func (c *client) batchAnswers(r reply) (answers []string) {
	c.t.Helper()
	var answer struct{ Ok []json.RawMessage }
	if err := json.Unmarshal([]byte(r.body), &answer); err != nil || r.status != 200 || r.contentType() != "application/json" {
		c.t.Fatalf("batch: %v, %v", r, err)
	}
	for _, a := range answer.Ok {
		answers = append(answers, string(a))
	}
	return answers
}

func TestBatch(t *testing.T) {
	c := serve(t, Config{Store: newStore(t, shard.Config{Grace: time.Minute})}).dial(t)
	a, b := c.create(`{"a":1}`), c.create(`{"b":{"c":[1.0]}}`)
	answers := c.batch(
		`{"create":{"meta":{"n":1}}}`,
		`{"exchange":{"token":"`+a+`","meta":{"x":"\u00e9"},"unset":["a"]}}`,
		`{"validate":{"token":"`+b+`"}}`,
		`{"exchange":{"token":"`+a+`"}}`,
		`{"delete":{"token":"`+b+`"}}`,
		`{"validate":{"token":"`+b+`"}}`,
		`{"delete":{"token":"no token"}}`,
		`{"exchange":{"token":"no token"}}`,
	)
	var ok struct {
		Ok struct{ Token string }
	}
	tokenIn := func(answer string) string {
		if err := json.Unmarshal([]byte(answer), &ok); err != nil || !isToken(ok.Ok.Token) {
			t.Fatalf("answer %s has no token: %v", answer, err)
		}
		return ok.Ok.Token
	}
	created, next := tokenIn(answers[0]), tokenIn(answers[1])
	want := []string{
		`{"Ok":{"token":"` + created + `"}}`,
		`{"Ok":{"token":"` + next + `","meta":{"x":"\u00e9"}}}`,
		`{"Ok":{"meta":{"b":{"c":[1.0]}},"expires_in":7200}}`,
		`{"Ok":{"token":"` + next + `","meta":{"x":"\u00e9"},"reused":true}}`,
		`{"Ok":{}}`, invalidToken, `{"Ok":{}}`, invalidToken,
	}
	for i := range want {
		if answers[i] != want[i] {
			t.Errorf("answer %d is %s, want %s", i, answers[i], want[i])
		}
	}
	if _, meta := c.exchange(created, ""); meta != `{"n":1}` {
		t.Errorf("the session created has %s", meta)
	}
}

// Items that don't fit are refused, each in its place, and the rest goes on.
func TestBatchItemErrors(t *testing.T) {
	c := serve(t, Config{Store: newStore(t, shard.Config{MaxMeta: 1 << 10, MaxSessions: 2})}).dial(t)
	tok := c.create(`{"a":1}`)
	large := `{"x":"` + strings.Repeat("x", 1<<10) + `"}`
	tests := []struct{ item, code string }{
		{`5`, "InvalidRequest"},
		{`{}`, "InvalidRequest"},
		{`{"other":{"token":"` + tok + `"}}`, "InvalidRequest"},
		{`{"validate":{"token":"` + tok + `"},"delete":{"token":"` + tok + `"}}`, "InvalidRequest"},
		{`{"delete":{"token":"` + tok + `"},"delete":{"token":"` + tok + `"}}`, "InvalidRequest"},
		{`{"delete":"` + tok + `"}`, "InvalidRequest"},
		{`{"delete":{}}`, "InvalidRequest"},
		{`{"exchange":{"token":5}}`, "InvalidRequest"},
		{`{"exchange":{"token":"` + tok + `","meta":[]}}`, "InvalidRequest"},
		{`{"exchange":{"token":"` + tok + `","unset":[5]}}`, "InvalidRequest"},
		{`{"exchange":{"token":"` + tok + `","token":"` + tok + `"}}`, "InvalidRequest"},
		{`{"create":{"meta":{},"lifetime":"1s"}}`, "InvalidRequest"},
		{`{"create":{"meta":{},"subject":""}}`, "InvalidRequest"},
		{`{"create":{"meta":null}}`, "InvalidRequest"},
		{`{"create":{"meta":` + large + `}}`, "MetaTooLarge"},
		{`{"exchange":{"token":"` + tok + `","meta":` + large + `}}`, "MetaTooLarge"},
		{`{"create":{"meta":{}}}`, ""}, // the last that fits
		{`{"create":{"meta":{}}}`, "StoreFull"},
		{`{"exchange":{"token":"x"}}`, "InvalidToken"},
		{`{"note":"of the client's","exchange":{"token":"` + tok + `","subject":5,"subject":5,"unset":null,"meta":null}}`, ""},
	}
	var items []string
	for _, test := range tests {
		items = append(items, test.item)
	}
	for i, answer := range c.batch(items...) {
		want := `{"Err":"` + tests[i].code + `"`
		if tests[i].code == "" {
			want = `{"Ok":{`
		}
		if !strings.HasPrefix(answer, want) || strings.Contains(answer, "xxx") {
			t.Errorf("%.100s: %s, want %s…", tests[i].item, answer, want)
		}
	}
}

// What is wrong with a batch as a whole refuses all of it.
func TestBatchRefused(t *testing.T) {
	s := serve(t, Config{MaxBody: 1 << 10, MaxBatch: 3, MaxBatchBody: 4 << 10})
	c := s.dial(t)
	tok := c.create(`{"a":1}`)
	good := exchangeItem(tok)
	tests := []struct {
		name, body string
		status     int
		code       string
	}{
		{"no JSON", `{"batch":[` + good + `,]}`, 400, "MalformedJSON"},
		{"no JSON in a member that nobody reads", `{"batch":[` + good + `],"x":01}`, 400, "MalformedJSON"},
		{"too deep", batchText(good, `{"create":{"meta":{"a":`+strings.Repeat("[", 63)+strings.Repeat("]", 63)+`}}}`), 400, "MalformedJSON"},
		{"no object", `[` + good + `]`, 422, "InvalidRequest"},
		{"no batch", `{"Batch":[` + good + `]}`, 422, "InvalidRequest"},
		{"null", `{"batch":null}`, 422, "InvalidRequest"},
		{"no array", `{"batch":` + good + `}`, 422, "InvalidRequest"},
		{"empty", `{"batch":[]}`, 422, "InvalidRequest"},
		{"twice", `{"batch":[` + good + `],"batch":[` + good + `]}`, 422, "InvalidRequest"},
		{"too many", batchText(good, good, good, good), 422, "InvalidRequest"},
		{"too large", batchText(good, `{"x":"`+strings.Repeat("x", 4<<10)+`"}`), 413, "BodyTooLarge"},
	}
	for _, test := range tests {
		s.dial(t).do("POST", "/token/batch", test.body).wantError(t, test.status, test.code)
	}
	c.do("POST", "/token/batch", batchText(good), "Content-Type: text/plain").wantError(t, 415, "UnsupportedMediaType")
	c.do("PUT", "/token/batch", batchText(good)).wantError(t, 405, "MethodNotAllowed")
	// Nothing was done, and what is over the limit of single requests alone is right.
	deep := `{"create":{"meta":{"a":` + strings.Repeat("[", 62) + strings.Repeat("]", 62) + `}}}`
	for i, answer := range c.batch(good, deep, `{"x":"`+strings.Repeat("x", 2<<10)+`"}`) {
		if want := []string{`{"Ok":`, `{"Ok":`, `{"Err":"InvalidRequest"`}[i]; !strings.HasPrefix(answer, want) {
			t.Errorf("answer %d is %s, want %s…", i, answer, want)
		}
	}
	c.do("POST", "/token", `{"meta":{"x":"`+strings.Repeat("x", 1<<10)+`"}}`).wantError(t, 413, "BodyTooLarge")
}

// A store that can't be used at all refuses the whole batch, and says so.
func TestBatchWithoutStore(t *testing.T) {
	loading := &token.UnavailableError{Reason: "loading: 43 %"}
	store := &fakeStore{newStore(t, shard.Config{}), func(string) error { return loading }}
	c := serve(t, Config{Store: store, Logger: slog.New(slog.DiscardHandler)}).dial(t)
	r := c.do("POST", batchPath, batchText(exchangeItem(somewhere), `5`))
	r.wantError(t, 503, "StoreUnavailable")
	if want := `{"Err":"StoreUnavailable","message":"loading: 43 %","done":false}`; r.body != want {
		t.Errorf("a batch got %s, want %s", r.body, want)
	}
}

// failingStore carries batches out, and then tells of some items that they don't last.
type failingStore struct {
	Store
	err   error
	fails func(i int) bool
}

func (f *failingStore) Batch(ctx context.Context, b *token.Batch) error {
	err := f.Store.Batch(ctx, b)
	for i := range b.Items {
		if f.fails(i) {
			b.Items[i].Err = f.err
		}
	}
	b.DropFailed()
	return err
}

// What a store has failed at is one item's, says whether anything was done, and gives
// away nothing of what it would have answered.
func TestBatchItemsThatFail(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{&token.UnavailableError{Reason: "the disk does not answer"}, `{"Err":"StoreUnavailable","message":"the disk does not answer","done":false}`},
		{errors.New("engine"), unavailable.body},
	} {
		store := &failingStore{newStore(t, shard.Config{}), test.err, func(i int) bool { return i%2 == 0 }}
		c := serve(t, Config{Store: store, Logger: slog.New(slog.DiscardHandler)}).dial(t)
		var items []string
		for i := range 6 {
			items = append(items, `{"validate":`+tokenBody(c.create(fmt.Sprintf(`{"n":%d}`, i)))+`}`)
		}
		for i, answer := range c.batch(items...) {
			want := fmt.Sprintf(`{"Ok":{"meta":{"n":%d},"expires_in":7200}}`, i)
			if i%2 == 0 {
				want = test.want
			}
			if answer != want {
				t.Errorf("answer %d is %s, want %s", i, answer, want)
			}
		}
	}
}

// A batch allocates no more for many items than for few, also where they are wrong,
// but for the buffer of a large answer, which grows some times.
func TestBatchAllocations(t *testing.T) {
	if underRace() {
		t.Skip("pools forget under the race detector")
	}
	d := newDirect(Config{Store: newStore(t, shard.Config{})})
	tok := d.do(t, "POST", "/token", `{"meta":{"a":1}}`).body
	allocations := func(items int) float64 {
		all := make([]string, items)
		for i := range all {
			all[i] = []string{`{"validate":` + tokenBody(tok) + `}`, exchangeItem(somewhere), `5`, `{"exchange":{"token":"x"}}`, `{"exchange":{}}`}[i%5]
		}
		text := []byte(requestText("POST", batchPath, batchText(all...)))
		return testing.AllocsPerRun(50, func() {
			if err := d.handle(text); err != nil {
				t.Fatal(err)
			}
			d.ctx.Response.CloseBodyStream()
		})
	}
	few, many := allocations(10), allocations(DefaultMaxBatch)
	const growths = 16
	if few > 4 || many > few+growths {
		t.Errorf("10 items allocate %v times, and %d items %v times, want next to none and as few", few, DefaultMaxBatch, many)
	}
}

// A batch with a large answer stops before it is too large, and what was not carried
// out is told apart.
func TestBatchTooLarge(t *testing.T) {
	const size = 1 << 20
	s := serve(t, Config{Store: newStore(t, shard.Config{MaxMeta: size}), MaxMeta: size, MaxBody: 2 * size})
	c := s.dial(t)
	tok := c.create(`{"a":"` + strings.Repeat("x", size-8) + `"}`)
	var items []string
	for range 40 {
		items = append(items, `{"validate":`+tokenBody(tok)+`}`)
	}
	answers := c.batch(items...)
	done := 0
	for i, answer := range answers {
		switch {
		case len(answer) > size && done == i:
			done++
		case !strings.HasPrefix(answer, `{"Err":"BatchTooLarge"`):
			t.Errorf("answer %d is %.100s, want that it is too large", i, answer)
		}
	}
	if done < 15 || done > 17 {
		t.Errorf("%d items of %d bytes were answered, want some 16", done, size)
	}
	if !s.answers.free.TryAcquire(maxLargeAnswers) {
		t.Error("some memory of the answer is still taken")
	}
}

// Batches follow each other on a connection, in a pipeline too.
func TestBatchesInAPipeline(t *testing.T) {
	c := serve(t, Config{}).dial(t)
	var text strings.Builder
	for i := range 20 {
		text.WriteString(requestText("POST", "/token/batch", batchText(strings.Repeat(`{"create":{"meta":{"n":1}}},`, i*10)+`{"create":{"meta":{}}}`)))
	}
	c.send(text.String())
	for i := range 20 {
		if got, want := len(c.batchAnswers(c.receive("POST"))), i*10+1; got != want {
			t.Errorf("batch %d has %d answers, want %d", i, got, want)
		}
	}
}

func TestBatchesAreCounted(t *testing.T) {
	s := serve(t, Config{})
	c := s.dial(t)
	tok := c.create(`{}`)
	c.batch(exchangeItem(tok), exchangeItem(tok), `{"delete":{"token":"x"}}`, `5`, `{"create":{"meta":5}}`)
	c.batch(exchangeItem(somewhere))
	got := s.Stats()
	want := []stats.ItemCount{
		{Kind: "none", Result: "InvalidRequest", Count: 1},
		{Kind: "create", Result: "InvalidRequest", Count: 1},
		{Kind: "exchange", Result: "Ok", Count: 1},
		{Kind: "exchange", Result: "InvalidToken", Count: 2},
		{Kind: "delete", Result: "Ok", Count: 1},
	}
	if !slices.Equal(got.BatchItems, want) {
		t.Errorf("items %+v, want %+v", got.BatchItems, want)
	}
	// One batch of one item, and one of five, which is in the bucket up to eight.
	if sizes := got.BatchSizes; sizes.Sum != 6 || sizes.Counts[0] != 1 || sizes.Counts[3] != 1 || sizes.Bounds[3] != 8 {
		t.Errorf("sizes %+v, want one batch of 1 item and one of 5", sizes)
	}
}

// A batch whose client goes away gives its memory back, and one that the store panics
// at does too.
func TestBatchMemoryIsGivenBack(t *testing.T) {
	const size = 64 << 10
	store := newStore(t, shard.Config{})
	fake := &fakeStore{store, func(string) error { return nil }}
	s := serve(t, Config{Store: fake, Logger: slog.New(slog.DiscardHandler), AnswerTimeout: hurry})
	c := s.dial(t)
	tok := c.create(`{"a":"` + strings.Repeat("x", size-100) + `"}`)
	ln := s.servePipes(t)
	gone := ln.dial(t)
	gone.send(requestText("POST", batchPath, batchText(slices.Repeat([]string{`{"validate":` + tokenBody(tok) + `}`}, 20)...)))
	gone.peekStatus()
	gone.conn.Close()
	fake.before = func(string) error { panic("defect") }
	c.do("POST", batchPath, batchText(exchangeItem(tok))).wantError(t, 500, "InternalServerError")
	if memory, err := s.answers.take(maxLargeAnswers); err != nil {
		t.Error("some memory of answers is still taken")
	} else {
		memory.release()
	}
}
