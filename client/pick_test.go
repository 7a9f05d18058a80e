package client

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestAServerThatHangs takes its share of the requests, and the calls go on through the
// other, whether it still says that it is ready or not.
func TestAServerThatHangs(t *testing.T) {
	const (
		callers = 32
		limit   = 2 * time.Second // of a call
		rounds  = 3               // of limit
	)
	for _, saysReady := range []bool{true, false} {
		good, bad := newFake("1"), newFake("1")
		var hangs atomic.Bool
		inBubble(t, Config{}, func(b *bubble) {
			held := make(chan struct{})
			defer close(held)
			b.stops[1]()
			b.stops[1] = b.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if hangs.Load() && (r.URL.Path != "/readyz" || !saysReady) {
					<-held
					return
				}
				bad.ServeHTTP(w, r)
			}), "b:1")
			b.create()
			b.create()
			hangs.Store(true)
			var ok, failed atomic.Int64
			end := time.Now().Add(rounds * limit)
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for ; time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
						ctx, cancel := context.WithTimeout(b.Context(), limit)
						_, err := b.client.Validate(ctx, someToken)
						cancel()
						if errors.Is(err, ErrInvalidToken) {
							ok.Add(1)
						} else {
							failed.Add(1)
						}
					}
				})
			}
			wg.Wait()
			if ok, failed := ok.Load(), failed.Load(); ok < 20*failed {
				b.Errorf("says ready %v: %d calls were answered, %d were not, want one in twenty at most", saysReady, ok, failed)
			}
		}, good, bad)
	}
}

// TestMaxInFlight is kept to at each address, also while another is away.
func TestMaxInFlight(t *testing.T) {
	for _, away := range []bool{false, true} {
		fakes := []*fake{newFake("1"), newFake("1")}
		const most = 2
		inBubble(t, Config{MaxInFlight: most}, func(b *bubble) {
			b.create()
			if away {
				b.stops[1]()
				b.client.Ready(b.Context())
			}
			var counts [2]atomic.Int64
			for i, f := range fakes {
				f.before = func(*http.Request) error {
					if n := counts[i].Add(1); n > most {
						b.Errorf("away %v: %d requests at once, want %d at most", away, n, most)
					}
					time.Sleep(time.Second)
					counts[i].Add(-1)
					return nil
				}
			}
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() { b.create() })
			}
			synctest.Wait()
			for i := range counts {
				if got, want := counts[i].Load(), int64(most); got != want && !(away && i == 1) {
					b.Errorf("away %v: %d requests under way to server %d, want %d", away, got, i, want)
				}
			}
			wg.Wait()
		}, fakes...)
	}
}

// TestAListWaitsForNoPlace: it is not among what MaxInFlight is about.
func TestAListWaitsForNoPlace(t *testing.T) {
	one, two := newFake("1"), newFake("1")
	inBubble(t, Config{MaxInFlight: 1}, func(b *bubble) {
		b.create()
		b.stops[1]()
		b.client.Ready(b.Context())
		release := b.hold(one)
		var wg sync.WaitGroup
		wg.Go(func() { b.create() }) // waits for a place
		synctest.Wait()
		begun := time.Now()
		b.client.SubjectSessions(b.Context(), "s", Listing{})
		if took := time.Since(begun); took > 0 {
			b.Errorf("it took %v, want 0s", took)
		}
		release()
		wg.Wait()
	}, one, two)
}
