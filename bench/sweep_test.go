package bench

import (
	"fmt"
	"testing"
)

// BenchmarkExchange measures the exchange of each engine, as it comes, by the
// number of live sessions.
func BenchmarkExchange(b *testing.B) {
	for _, kind := range engines {
		for _, n := range []int{1e4, 1e5, 1e6, 1e7} {
			b.Run(fmt.Sprintf("engine=%s/sessions=%d", kind.name, n), func(b *testing.B) {
				benchExchange(b, n, filled(b, kind.name, n, func() engine { return kind.make(n) }))
			})
		}
	}
}

// BenchmarkShards measures the exchange by shards, with as many goroutines at it
// as a busy server has connections.
func BenchmarkShards(b *testing.B) {
	const n = 1e6
	for shards := 1; shards <= 1024; shards *= 4 {
		for _, goroutines := range []int{64, 256} {
			at := fmt.Sprintf("shards=%d", shards)
			b.Run(fmt.Sprintf("%s/goroutines=%d", at, goroutines), func(b *testing.B) {
				o := filled(b, at, n, func() engine { return newOurs(n, shards) })
				run(b, n, goroutines, func(w *worker) { w.buf = o.exchange(w.pick(), w.buf) })
			})
		}
	}
}
