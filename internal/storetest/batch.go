package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"tokenserver/token"
)

// batched is a store of which each call travels in a batch, between others that come
// to nothing.
type batched struct{ Store }

// travel carries an item out in a batch of three.
func (b batched) travel(ctx context.Context, item token.BatchItem, dst []byte) (token.BatchItem, []byte) {
	unknown := token.Generate()
	batch := token.Batch{Buf: dst, Items: []token.BatchItem{
		{Op: token.OpValidate, Token: unknown}, item, {Op: token.OpDelete, Token: unknown},
	}}
	if err := b.Batch(ctx, &batch); err != nil {
		panic(fmt.Sprintf("storetest: Batch = %v", err))
	}
	if err := batch.Items[0].Err; !errors.Is(err, token.ErrInvalid) {
		panic(fmt.Sprintf("storetest: validate of an unknown token in a batch = %v", err))
	}
	if err := batch.Items[2].Err; err != nil {
		panic(fmt.Sprintf("storetest: delete of an unknown token in a batch = %v", err))
	}
	if item = batch.Items[1]; len(batch.Buf) != len(dst)+item.MetaLen {
		panic(fmt.Sprintf("storetest: a batch appended %d bytes, and its item has %d", len(batch.Buf)-len(dst), item.MetaLen))
	}
	return item, batch.Buf
}

func (b batched) Create(ctx context.Context, n token.NewSession) (token.Token, error) {
	item, _ := b.travel(ctx, token.BatchItem{Op: token.OpCreate, Meta: n.Meta, Subject: n.Subject, Lifetime: n.Lifetime}, nil)
	return item.Token, item.Err
}

func (b batched) Exchange(ctx context.Context, t token.Token, patch token.Patch, dst []byte) (token.ExchangeResult, error) {
	item, buf := b.travel(ctx, token.BatchItem{Op: token.OpExchange, Token: t, Meta: patch.Meta, Unset: patch.Unset}, dst)
	if item.Err != nil {
		return token.ExchangeResult{Meta: dst}, item.Err
	}
	return token.ExchangeResult{Token: item.Token, Meta: buf, Reused: item.Reused}, nil
}

func (b batched) Validate(ctx context.Context, t token.Token, dst []byte) ([]byte, time.Time, error) {
	item, buf := b.travel(ctx, token.BatchItem{Op: token.OpValidate, Token: t}, dst)
	if item.Err != nil {
		return dst, time.Time{}, item.Err
	}
	return buf, item.Expires, nil
}

func (b batched) Delete(ctx context.Context, t token.Token) error {
	item, _ := b.travel(ctx, token.BatchItem{Op: token.OpDelete, Token: t}, nil)
	return item.Err
}

// inBatches is the harness of the store with all calls in batches.
func (h Harness) inBatches() Harness {
	open, check, advance := h.Open, h.Check, h.Advance
	h.Open = func(t testing.TB, cfg Config) Store { return batched{open(t, cfg)} }
	if check != nil {
		h.Check = func(t testing.TB, s Store) { check(t, s.(batched).Store) }
	}
	if advance != nil {
		h.Advance = func(t testing.TB, s Store, d time.Duration) { advance(t, s.(batched).Store, d) }
	}
	return h
}

// testBatches runs what there is of the suite on single calls on batches too, and what
// concerns batches alone.
func (h Harness) testBatches(t *testing.T) {
	t.Run("Items", func(t *testing.T) { h.runAll(t, batchTests) })
	t.Run("OneWinnerOfAll", h.testOneWinnerOfBatches)
	b := h.inBatches()
	t.Run("Contract", func(t *testing.T) { b.runAll(t, contractTests) })
	if !h.Unlimited {
		t.Run("Limits", func(t *testing.T) { b.runAll(t, b.limitTests()) })
	}
	t.Run("Grace", func(t *testing.T) { b.runAll(t, b.graceTests()) })
	t.Run("Reuse", func(t *testing.T) { b.runAll(t, b.reuseTests()) })
	t.Run("OneWinner", b.testOneWinner)
	t.Run("Linearizable", b.testLinearizable)
	t.Run("RandomWalk", b.testRandomWalks)
}

var batchTests = []test{
	{"in their order", Config{Grace: time.Minute}, testBatchOrder},
	{"one token twice", Config{}, testTwiceInABatch},
	{"many at once", Config{}, testLargeBatch},
	{"passed over", Config{}, testBatchPassesOver},
	{"full", Config{}, testBatchLimit},
}

// batch carries out items and returns them with the metadata of each.
func (t *tester) batch(items ...token.BatchItem) ([]token.BatchItem, []string) {
	t.Helper()
	b := token.Batch{Items: items}
	if err := t.store.Batch(t.Context(), &b); err != nil {
		t.Fatalf("Batch = %v", err)
	}
	metas := make([]string, len(items))
	for i, item := range b.Items {
		metas[i] = string(b.Buf[:item.MetaLen])
		b.Buf = b.Buf[item.MetaLen:]
	}
	if len(b.Buf) > 0 {
		t.Errorf("a batch appended %d bytes that no item has", len(b.Buf))
	}
	return items, metas
}

func (t *tester) wantItem(item token.BatchItem, meta string, wantErr error, want string) {
	t.Helper()
	if !errors.Is(item.Err, wantErr) || meta != want {
		t.Errorf("item %d: error %v, metadata %.200q, want %v, %.200q", item.Op, item.Err, meta, wantErr, want)
	}
}

// Items of one session see what those before them have done.
func testBatchOrder(t *tester) {
	tok, other := t.create(`{"a":1}`), t.create(`{"o":1}`)
	items, metas := t.batch(
		token.BatchItem{Op: token.OpValidate, Token: tok},
		token.BatchItem{Op: token.OpExchange, Token: tok, Meta: []byte(`{"b":2}`)},
		token.BatchItem{Op: token.OpExchange, Token: other, Unset: []byte(`["o"]`)},
		token.BatchItem{Op: token.OpExchange, Token: tok, Meta: []byte(`{"c":3}`)}, // in its grace
		token.BatchItem{Op: token.OpValidate, Token: tok},
		token.BatchItem{Op: token.OpDelete, Token: tok},
		token.BatchItem{Op: token.OpExchange, Token: tok},
		token.BatchItem{Op: token.OpValidate, Token: other},
	)
	want := []struct {
		err    error
		meta   string
		reused bool
	}{
		{nil, `{"a":1}`, false}, {nil, `{"a":1,"b":2}`, false}, {nil, `{}`, false}, {nil, `{"a":1,"b":2,"c":3}`, true},
		{nil, `{"a":1,"b":2,"c":3}`, false}, {nil, "", false}, {token.ErrInvalid, "", false}, {nil, `{}`, false},
	}
	for i, w := range want {
		t.wantItem(items[i], metas[i], w.err, w.meta)
		if items[i].Reused != w.reused {
			t.Errorf("item %d: reused %v, want %v", i, items[i].Reused, w.reused)
		}
	}
	if items[3].Token != items[1].Token {
		t.Error("a spent token in its grace got another token than the current one")
	}
	if items[0].Expires.IsZero() {
		t.Error("a validate in a batch has no time of expiry")
	}
	t.exchange(items[2].Token, "", `{}`)
}

func testTwiceInABatch(t *tester) {
	tok := t.create(`{"a":1}`)
	exchange := token.BatchItem{Op: token.OpExchange, Token: tok}
	items, metas := t.batch(exchange, exchange)
	t.wantItem(items[0], metas[0], nil, `{"a":1}`)
	t.wantItem(items[1], metas[1], token.ErrInvalid, "")
	t.exchange(items[0].Token, "", `{"a":1}`)
}

// A batch has more items than fit into any part of a store, of every kind.
func testLargeBatch(t *tester) {
	const n = 1000
	var items []token.BatchItem
	for i := range n {
		items = append(items, token.BatchItem{Op: token.OpCreate, Meta: fmt.Appendf(nil, `{"n":%d}`, i)})
	}
	created, _ := t.batch(items...)
	items = nil
	for i, c := range created {
		t.wantItem(c, "", nil, "")
		op := []token.Op{token.OpExchange, token.OpValidate, token.OpDelete, token.OpExchange}[i%4]
		items = append(items, token.BatchItem{Op: op, Token: c.Token})
		if i%7 == 0 {
			items = append(items, token.BatchItem{Op: token.OpCreate, Meta: []byte(`{}`)})
		}
	}
	done, metas := t.batch(items...)
	at := 0
	for i := range created {
		want := fmt.Sprintf(`{"n":%d}`, i)
		if i%4 == 2 {
			want = ""
		}
		t.wantItem(done[at], metas[at], nil, want)
		if i%4 != 2 {
			t.live(done[at].Token, want)
		}
		if at++; i%7 == 0 {
			t.live(done[at].Token, `{}`)
			at++
		}
	}
}

// An item that has an outcome already is left as it is.
func testBatchPassesOver(t *tester) {
	tok, wrong := t.create(`{"a":1}`), errors.New("wrong")
	items, metas := t.batch(
		token.BatchItem{Op: token.OpExchange, Token: tok, Err: wrong},
		token.BatchItem{Err: wrong},
		token.BatchItem{Op: token.OpValidate, Token: tok},
	)
	t.wantItem(items[0], metas[0], wrong, "")
	t.wantItem(items[1], metas[1], wrong, "")
	t.wantItem(items[2], metas[2], nil, `{"a":1}`)
}

// Once the outcomes have reached their limit, nothing more is carried out, unless the
// limit grows.
func testBatchLimit(t *tester) {
	meta := `{"a":"` + string(bytes.Repeat([]byte("x"), 100)) + `"}`
	var toks []token.Token
	b := token.Batch{Limit: 5 * len(meta)}
	for range 40 {
		toks = append(toks, t.create(meta))
		b.Items = append(b.Items, token.BatchItem{Op: token.OpExchange, Token: toks[len(toks)-1]})
	}
	grown := 0
	b.Grow = func() bool {
		if grown++; grown > 3 {
			return false
		}
		b.Limit += 5 * len(meta)
		return true
	}
	if err := t.store.Batch(t.Context(), &b); err != nil {
		t.Fatalf("Batch = %v", err)
	}
	for i, item := range b.Items {
		switch {
		case i < 20 && item.Err == nil:
			t.live(item.Token, meta)
		case i >= 20 && errors.Is(item.Err, token.ErrBatchTooLarge):
			t.live(toks[i], meta)
		default:
			t.Errorf("item %d: error %v, want the first 20 to be carried out", i, item.Err)
		}
	}
}

// testOneWinnerOfBatches has many batches bring one token at once, again and again.
func (h Harness) testOneWinnerOfBatches(t *testing.T) {
	s := h.open(t, Config{Lifetime: time.Hour})
	tok := s.create(`{"a":1}`)
	for round := range h.rounds(winnerRounds / 10) {
		var batches [contestants]token.Batch
		atOnce(contestants, func(i int) {
			b := &batches[i]
			for range i % 20 {
				b.Items = append(b.Items, token.BatchItem{Op: token.OpExchange, Token: token.Generate()})
			}
			b.Items = append(b.Items, token.BatchItem{Op: token.OpExchange, Token: tok}, token.BatchItem{Op: token.OpExchange, Token: tok})
			if err := s.store.Batch(t.Context(), b); err != nil {
				t.Errorf("Batch = %v", err)
			}
		})
		winners := 0
		for i := range batches {
			for _, item := range batches[i].Items {
				if item.Err == nil {
					winners++
					tok = item.Token
				} else if !errors.Is(item.Err, token.ErrInvalid) {
					t.Fatalf("exchange in a batch = %v", item.Err)
				}
			}
		}
		if winners != 1 {
			t.Fatalf("round %d: %d exchanges of one token won, want 1", round, winners)
		}
	}
	s.live(tok, `{"a":1}`)
	h.check(t, s.store)
}
