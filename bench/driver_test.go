// Package bench measures the token server and its peers, side by side in one
// run: go test -bench . ./bench
//
// A figure of one run is only worth something beside another figure of the same
// run: machines differ, and so does what else they are doing.
package bench

import (
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// meta is a session's metadata: 115 bytes, as a web server keeps of a user.
var meta = []byte(`{"user":"user-123456","name":"Grace Hopper","roles":["admin","editor"],"cart":[17,4711,90210],"theme":"dark","n":1}`)

// patch changes one member and adds none.
var patch = []byte(`{"theme":"light"}`)

func init() {
	if len(meta) != 115 || strings.ContainsAny(string(meta), "\n\t") {
		panic("bench: the metadata is not the 115 bytes that the figures are for")
	}
}

// worker is one goroutine of a benchmark. It owns the sessions from first to end.
type worker struct {
	first, end int
	rng        *rand.Rand
	buf        []byte
}

// pick returns one of the worker's sessions, each as likely as the others.
func (w *worker) pick() int { return w.first + w.rng.IntN(w.end-w.first) }

// run spreads b.N operations over as many workers as asked for; op is one operation.
func run(b *testing.B, sessions, workers int, op func(w *worker)) {
	b.Helper()
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for i := range workers {
		w := &worker{
			first: i * sessions / workers, end: (i + 1) * sessions / workers,
			rng: rand.New(rand.NewPCG(1, uint64(i))), buf: make([]byte, 0, 4<<10),
		}
		n := (i+1)*b.N/workers - i*b.N/workers
		wg.Go(func() {
			for range n {
				op(w)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
}

// fill calls create for each of n sessions, on all processors.
func fill(n int, create func(i int)) {
	var wg sync.WaitGroup
	for p := range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := p; i < n; i += runtime.GOMAXPROCS(0) {
				create(i)
			}
		})
	}
	wg.Wait()
}
