package bench

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"tokenserver/token"
)

// BenchmarkStore measures each operation of the store by sessions and shards,
// and beside the exchange that of the map.
func BenchmarkStore(b *testing.B) {
	ctx := context.Background()
	for _, n := range []int{1e4, 1e5, 1e6} {
		for _, shards := range []int{1, 16, 64, 256} {
			at := fmt.Sprintf("sessions=%d/shards=%d", n, shards)
			store := func() *ours {
				return filled(b, at, n, func() engine { return newOurs(n, shards) }).(*ours)
			}
			b.Run("op=exchange/"+at, func(b *testing.B) { benchExchange(b, n, store()) })
			b.Run("op=patch/"+at, func(b *testing.B) {
				o := store()
				run(b, n, runtime.GOMAXPROCS(0), func(w *worker) {
					w.buf = o.exchangePatch(w.pick(), patch, w.buf)
				})
			})
			b.Run("op=validate/"+at, func(b *testing.B) {
				o := store()
				run(b, n, runtime.GOMAXPROCS(0), func(w *worker) {
					var err error
					w.buf, _, err = o.store.Validate(ctx, o.tokens[w.pick()], w.buf[:0])
					must(err)
				})
			})
			b.Run("op=create/"+at, func(b *testing.B) { benchCreate(b, n, store()) })
			b.Run("op=delete/"+at, func(b *testing.B) { benchDelete(b, n, store()) })
		}
		b.Run(fmt.Sprintf("op=exchange/sessions=%d/peer=map", n), func(b *testing.B) {
			benchExchange(b, n, filled(b, "map", n, func() engine { return newMapStore(n) }))
		})
	}
}

func benchExchange(b *testing.B, n int, e engine) {
	run(b, n, runtime.GOMAXPROCS(0), func(w *worker) {
		w.buf = e.exchange(w.pick(), w.buf)
	})
}

// benchCreate creates sessions beside the n that there are, and undoes it.
func benchCreate(b *testing.B, n int, o *ours) {
	ctx := context.Background()
	runInRounds(b, n, func(w *worker) {
		t, err := o.store.Create(ctx, token.NewSession{Meta: meta})
		must(err)
		w.tokens = append(w.tokens, t)
	}, func(w *worker) {
		for _, t := range w.tokens {
			must(o.store.Delete(ctx, t))
		}
		w.tokens = w.tokens[:0]
	})
}

// benchDelete deletes some of the n sessions, in order from a random one on, and
// undoes it.
func benchDelete(b *testing.B, n int, o *ours) {
	ctx := context.Background()
	deleted := make([][]int, runtime.GOMAXPROCS(0))
	index := func(w *worker) int { return w.first * len(deleted) / n }
	runInRounds(b, n, func(w *worker) {
		mine := &deleted[index(w)]
		i := w.pick()
		if len(*mine) > 0 {
			last := (*mine)[len(*mine)-1]
			i = w.first + (last-w.first+1)%(w.end-w.first)
		}
		*mine = append(*mine, i)
		must(o.store.Delete(ctx, o.tokens[i]))
	}, func(w *worker) {
		mine := &deleted[index(w)]
		for _, i := range *mine {
			o.create(i)
		}
		*mine = (*mine)[:0]
	})
}
