package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	goclient "tokenserver/client"
	"tokenserver/server"
	"tokenserver/token"
)

// BenchmarkClient measures exchanges through the Go client beside the same through
// net/http, one request each, with a server in the same process: throughput, and the
// 99th percentile of latency.
func BenchmarkClient(b *testing.B) {
	for _, goroutines := range []int{1, 256} {
		for _, by := range []string{"client", "nethttp"} {
			b.Run(fmt.Sprintf("goroutines=%d/by=%s", goroutines, by), func(b *testing.B) {
				s := startServer(b, goroutines)
				if by == "client" {
					s.exchange = s.throughClient(b)
				} else {
					s.exchange = s.throughHTTP(b, goroutines)
				}
				s.run(b, goroutines)
			})
		}
	}
}

// exchanger exchanges the tokens of sessions at a server.
type exchanger struct {
	address  string
	tokens   []string // one for each goroutine
	exchange func(token string) (next string)
}

func startServer(b *testing.B, sessions int) *exchanger {
	const n = 1e5
	o := filled(b, "ours", n, func() engine { return newOurs(n, 0) }).(*ours)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	s := server.New(server.Config{Store: o.store, Logger: slog.New(slog.DiscardHandler)})
	go s.Serve(ln)
	b.Cleanup(func() { s.ShutdownNow(context.Background()) })
	e := &exchanger{address: ln.Addr().String()}
	for range sessions {
		t, err := o.store.Create(context.Background(), token.NewSession{Meta: meta})
		must(err)
		e.tokens = append(e.tokens, string(t.Append(nil)))
	}
	return e
}

// throughClient exchanges by the Go client.
func (e *exchanger) throughClient(b *testing.B) func(string) string {
	c, err := goclient.New(goclient.Config{Addresses: []string{e.address}})
	must(err)
	b.Cleanup(c.Close)
	return func(token string) string {
		x, err := c.Exchange(context.Background(), token, goclient.Patch{})
		must(err)
		return x.Token
	}
}

// throughHTTP exchanges by net/http, with as many kept connections as there are
// goroutines.
func (e *exchanger) throughHTTP(b *testing.B, goroutines int) func(string) string {
	transport := &http.Transport{MaxIdleConnsPerHost: goroutines, DisableCompression: true}
	b.Cleanup(transport.CloseIdleConnections)
	c := &http.Client{Transport: transport, Timeout: goclient.DefaultTimeout}
	url := "http://" + e.address + "/token"
	return func(token string) string {
		req, err := http.NewRequest("PUT", url, bytes.NewReader([]byte(`{"token":"`+token+`"}`)))
		must(err)
		req.Header.Set("Content-Type", "application/json")
		res, err := c.Do(req)
		must(err)
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		must(err)
		return string(bytes.Split(body, []byte(`"`))[5])
	}
}

// run exchanges b.N times in all.
func (e *exchanger) run(b *testing.B, goroutines int) {
	e.rounds(goroutines, 10*goroutines, nil) // connections, pools
	took := make([][]time.Duration, goroutines)
	b.ResetTimer()
	begun := time.Now()
	e.rounds(goroutines, b.N, took)
	b.ReportMetric(float64(b.N)/time.Since(begun).Seconds(), "exchanges/s")
	b.StopTimer()
	all := slices.Concat(took...)
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)*50/100].Nanoseconds()), "p50-ns")
	b.ReportMetric(float64(all[len(all)*99/100].Nanoseconds()), "p99-ns")
}

// rounds exchanges n times, and notes how long each exchange has taken.
func (e *exchanger) rounds(goroutines, n int, took [][]time.Duration) {
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for range (g+1)*n/goroutines - g*n/goroutines {
				begun := time.Now()
				e.tokens[g] = e.exchange(e.tokens[g])
				if took != nil {
					took[g] = append(took[g], time.Since(begun))
				}
			}
		})
	}
	wg.Wait()
}
