package bench

import (
	"fmt"
	"runtime"
	"testing"
)

var sizes = []int{1e4, 1e5, 1e6}

func BenchmarkExchange(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("ours/sessions=%d", n), func(b *testing.B) {
			benchExchange(b, n, filled(b, "ours", n, func() engine { return newOurs(n, 0) }))
		})
		b.Run(fmt.Sprintf("map/sessions=%d", n), func(b *testing.B) {
			benchExchange(b, n, filled(b, "map", n, func() engine { return newMapStore(n) }))
		})
	}
}

func benchExchange(b *testing.B, n int, e engine) {
	run(b, n, runtime.GOMAXPROCS(0), func(w *worker) {
		w.buf = e.exchange(w.pick(), w.buf)
	})
}
