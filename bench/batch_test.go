package bench

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"tokenserver/token"
)

// BenchmarkBatch is the store's exchanges in batches of 64 beside those one by one.
// An operation is an exchange.
func BenchmarkBatch(b *testing.B) {
	const shards = 64
	for _, n := range []int{1e5, 1e6, 1e7} {
		at := fmt.Sprintf("sessions=%d", n)
		store := func() *ours {
			return filled(b, at, n, func() engine { return newOurs(n, shards) }).(*ours)
		}
		b.Run("items=1/"+at, func(b *testing.B) { benchExchange(b, n, store()) })
		b.Run("items=64/"+at, func(b *testing.B) { benchBatch(b, n, store(), 64) })
	}
}

// benchBatch exchanges in batches of so many items, each from another part of a
// worker's sessions, so that no token is in a batch twice.
func benchBatch(b *testing.B, n int, o *ours, items int) {
	ctx := context.Background()
	ws := newWorkers(n, runtime.GOMAXPROCS(0))
	batches := make(map[*worker]*token.Batch)
	at := make(map[*worker][]int) // places of the tokens of a batch
	for _, w := range ws {
		at[w] = make([]int, items)
		batches[w] = &token.Batch{Items: make([]token.BatchItem, items), Buf: make([]byte, 0, items*len(meta))}
	}
	b.ReportAllocs()
	b.ResetTimer()
	each(ws, (b.N+items-1)/items, func(w *worker) {
		batch, at, part := batches[w], at[w], (w.end-w.first)/items
		batch.Buf = batch.Buf[:0]
		for i := range batch.Items {
			at[i] = w.first + i*part + w.rng.IntN(part)
			batch.Items[i] = token.BatchItem{Op: token.OpExchange, Token: o.tokens[at[i]]}
		}
		must(o.store.Batch(ctx, batch))
		for i := range batch.Items {
			must(batch.Items[i].Err)
			o.tokens[at[i]] = batch.Items[i].Token
		}
	})
}
