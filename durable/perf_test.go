package durable

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"tokenserver/token"
)

func TestPerf(t *testing.T) {
	if os.Getenv("PERF") == "" {
		t.Skip()
	}
	const n = 1_000_000
	dir, _ := os.MkdirTemp(os.Getenv("PERF"), "perf")
	defer os.RemoveAll(dir)
	cfg := Config{Dir: dir, Logger: testLogger(t), Fsync: EverySecond}
	s := mustOpen(t, cfg)
	meta := []byte(`{"user":"somebody@example.org","roles":["reader","writer"],"csrf":"0123456789abcdef0123456789abcdef","cart":[1,2,3]}`)
	start := time.Now()
	var wg sync.WaitGroup
	toks := make([][]token.Token, 4)
	for g := range toks {
		wg.Go(func() {
			for range n / len(toks) {
				tk, err := s.Create(t.Context(), token.New{Meta: meta})
				if err != nil {
					panic(err)
				}
				toks[g] = append(toks[g], tk)
			}
		})
	}
	wg.Wait()
	t.Logf("created %v/s", n/time.Since(start).Seconds())
	start = time.Now()
	for g := range toks {
		wg.Go(func() {
			for i, tk := range toks[g] {
				x, err := s.Exchange(t.Context(), tk, nil, nil)
				if err != nil {
					panic(err)
				}
				toks[g][i] = x.Token
			}
		})
	}
	wg.Wait()
	t.Logf("everysec exchanged %v/s disk %d MB", n/time.Since(start).Seconds(), s.DiskBytes()>>20)
	fmt.Println(s.db.Metrics())
	mustClose(t, s)
	cfg.Fsync = Always
	s = mustOpen(t, cfg)
	t.Logf("disk %d MB", s.DiskBytes()>>20)
	for _, c := range []int{1, 64, 256} {
		start = time.Now()
		count := 0
		var mu sync.Mutex
		for g := range c {
			wg.Go(func() {
				list := toks[g%4][g*900:][:900]
				k := 0
				for time.Since(start) < 3*time.Second {
					x, err := s.Exchange(t.Context(), list[k%900], nil, nil)
					if err != nil {
						panic(err)
					}
					list[k%900] = x.Token
					k++
				}
				mu.Lock()
				count += k
				mu.Unlock()
			})
		}
		wg.Wait()
		t.Logf("always %d: %v/s", c, float64(count)/time.Since(start).Seconds())
	}
	runtime.GC()
	mustClose(t, s)
	s = mustOpen(t, cfg)
	mustClose(t, s)
}
