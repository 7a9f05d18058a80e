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

	"tokenserver/token"
)

// meta is a session's metadata: 115 bytes, as a web server keeps of a user.
var meta = []byte(`{"user":"user-123456","name":"Grace Hopper","roles":["admin","editor"],"cart":[17,4711,90210],"theme":"dark","n":1}`)

// patch changes one member and adds none.
var patch = []byte(`{"theme":"light"}`)

func init() {
	if len(meta) != 115 || len(metaOf(0)) != len(meta) || strings.ContainsAny(string(meta), "\n\t") {
		panic("bench: the metadata is not the 115 bytes that the figures are for")
	}
}

// worker is one goroutine of a benchmark. It owns the sessions from first to end.
type worker struct {
	first, end int
	rng        *rand.Rand
	buf        []byte
	tokens     []token.Token // made or spent in this round
}

// pick returns one of the worker's sessions, each as likely as the others.
func (w *worker) pick() int { return w.first + w.rng.IntN(w.end-w.first) }

// newWorkers shares the sessions out among as many workers as asked for.
func newWorkers(sessions, workers int) []*worker {
	ws := make([]*worker, workers)
	for i := range ws {
		ws[i] = &worker{
			first: i * sessions / workers, end: (i + 1) * sessions / workers,
			rng: rand.New(rand.NewPCG(1, uint64(i))), buf: make([]byte, 0, 4<<10),
		}
	}
	return ws
}

// run spreads b.N operations over as many workers as asked for; op is one operation.
func run(b *testing.B, sessions, workers int, op func(w *worker)) {
	b.Helper()
	ws := newWorkers(sessions, workers)
	b.ReportAllocs()
	b.ResetTimer()
	each(ws, b.N, op)
	b.StopTimer()
}

// runInRounds is run for operations that change how many sessions there are:
// undo, which is not timed, brings a worker back to where it began. A round has a
// tenth of the sessions.
func runInRounds(b *testing.B, sessions int, op, undo func(w *worker)) {
	b.Helper()
	ws := newWorkers(sessions, runtime.GOMAXPROCS(0))
	round := sessions / 10
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; left -= round {
		each(ws, min(left, round), op)
		b.StopTimer()
		each(ws, len(ws), undo)
		b.StartTimer()
	}
	b.StopTimer()
}

// each lets the workers do n operations together.
func each(ws []*worker, n int, op func(w *worker)) {
	var wg sync.WaitGroup
	for i, w := range ws {
		wg.Go(func() {
			for range (i+1)*n/len(ws) - i*n/len(ws) {
				op(w)
			}
		})
	}
	wg.Wait()
}

// fill calls create for each of n sessions, on all processors.
func fill(n int, create func(i int)) { fillBy(runtime.GOMAXPROCS(0), n, create) }

// fillBy is fill by as many goroutines as given, for a create that waits.
func fillBy(goroutines, n int, create func(i int)) {
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := g; i < n; i += goroutines {
				create(i)
			}
		})
	}
	wg.Wait()
}
