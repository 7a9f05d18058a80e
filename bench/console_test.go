package bench

import (
	"bufio"
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkConsole measures what ten viewers of the console cost the server at full load:
// its processor time an exchange, beside the same without them, in the same run.
func BenchmarkConsole(b *testing.B) {
	const viewers, pairs = 10, 4
	g := new(guarded)
	g.start(b, []string{"--port=0", "--admin-address=127.0.0.1:0"})
	for range callerConnections {
		g.callers = append(g.callers, g.newCaller(64))
	}
	g.exchange(10*callerConnections, 1) // connections, pools
	var took [2]time.Duration
	events, n := int64(0), b.N/(2*pairs)+callerConnections
	for part := range 2 * pairs {
		watched := (part + part/2) % 2 // none, ten, ten, none …
		stop := g.view(b, watched*viewers, &events)
		before := g.processorTime()
		g.exchange(n, 1)
		took[watched] += g.processorTime() - before
		stop()
	}
	b.ReportMetric(float64(took[0].Nanoseconds())/float64(n*pairs), "none-ns/op")
	b.ReportMetric(float64(took[1].Nanoseconds())/float64(n*pairs), "ten-ns/op")
	b.ReportMetric(float64(took[1])/float64(took[0]), "ratio")
	b.ReportMetric(float64(events), "events")
}

// view has so many viewers watch the console, until they are stopped.
func (g *guarded) view(b *testing.B, viewers int, events *int64) (stop func()) {
	ctx, cancel := context.WithCancel(b.Context())
	var watching sync.WaitGroup
	var first sync.WaitGroup
	for range viewers {
		first.Add(1)
		watching.Go(func() { g.watch(ctx, events, first.Done) })
	}
	first.Wait()
	return func() { cancel(); watching.Wait() }
}

func (g *guarded) watch(ctx context.Context, events *int64, begun func()) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.admin+"/stats/stream", nil)
	must(err)
	res, err := http.DefaultClient.Do(req)
	must(err)
	defer res.Body.Close()
	begun()
	lines := bufio.NewScanner(res.Body)
	for lines.Buffer(nil, 1<<20); lines.Scan(); {
		if len(lines.Bytes()) > 0 {
			atomic.AddInt64(events, 1)
		}
	}
}
