package valkey

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenserver/internal/enginetest"
	"tokenserver/internal/testneeds"
	"tokenserver/token"
)

// benchMeta is a session's metadata: 115 bytes, as a web server keeps of a user.
const benchMeta = `{"user":"user-123456","name":"Grace Hopper","roles":["admin","editor"],"cart":[17,4711,90210],"theme":"dark","n":1}`

// cpu returns the time that a process has computed for.
func cpuOf(b *testing.B, e *enginetest.Engine) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", e.PID()))
	if err != nil {
		b.Skip(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')'):]))
	user, _ := strconv.Atoi(fields[12])
	system, _ := strconv.Atoi(fields[13])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// BenchmarkExchange: exchanges by so many callers at once.
func BenchmarkExchange(b *testing.B) {
	for _, callers := range []int{64, 512} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			e := enginetest.Start(b)
			s := open(b, Config{Timeout: MaxTimeout}, e.Address())
			tokens := make([]token.Token, callers)
			for i := range tokens {
				tokens[i] = mustCreate(b, s, token.NewSession{Meta: []byte(benchMeta)})
			}
			start := cpuOf(b, e)
			b.ResetTimer()
			var all sync.WaitGroup
			for i := range tokens {
				all.Go(func() { exchangeOn(b, s, tokens[i], (b.N+callers-1)/callers) })
			}
			all.Wait()
			report(b, e, start, callers*((b.N+callers-1)/callers))
		})
	}
}

func exchangeOn(b *testing.B, s *Store, tok token.Token, n int) {
	var dst []byte
	for range n {
		x, err := s.Exchange(context.Background(), tok, token.Patch{}, dst[:0])
		if err != nil {
			b.Error(err)
			return
		}
		tok, dst = x.Token, x.Meta
	}
}

func report(b *testing.B, e *enginetest.Engine, start time.Duration, n int) {
	b.StopTimer()
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "exchanges/s")
	b.ReportMetric(float64(cpuOf(b, e)-start)/float64(n), "engine-ns/exchange")
}

// BenchmarkBatch: exchanges in batches of 64, by 8 callers.
func BenchmarkBatch(b *testing.B) {
	const callers, items = 8, 64
	e := enginetest.Start(b)
	s := open(b, Config{Timeout: MaxTimeout}, e.Address())
	var batches [callers]token.Batch
	for i := range batches {
		for range items {
			tok := mustCreate(b, s, token.NewSession{Meta: []byte(benchMeta)})
			batches[i].Items = append(batches[i].Items, token.BatchItem{Op: token.OpExchange, Token: tok})
		}
	}
	start := cpuOf(b, e)
	rounds := (b.N + callers*items - 1) / (callers * items)
	b.ResetTimer()
	var all sync.WaitGroup
	for i := range batches {
		all.Go(func() {
			for range rounds {
				batches[i].Buf = batches[i].Buf[:0]
				s.Batch(context.Background(), &batches[i])
			}
		})
	}
	all.Wait()
	report(b, e, start, rounds*callers*items)
}

// BenchmarkPeer is redis-benchmark's EVALSHA of the same script, on a session whose token
// stays the same.
func BenchmarkPeer(b *testing.B) {
	path := testneeds.Program(b, "redis-benchmark")
	for _, test := range []struct{ callers, pipeline int }{{64, 1}, {512, 1}, {8, 64}} {
		b.Run(fmt.Sprintf("callers=%d/pipeline=%d", test.callers, test.pipeline), func(b *testing.B) {
			e := enginetest.Start(b)
			s := open(b, Config{Timeout: MaxTimeout}, e.Address())
			tok := mustCreate(b, s, token.NewSession{Meta: []byte(benchMeta)})
			mustExchange(b, s, tok, token.Patch{}, benchMeta) // loads the script
			const digest = "0123456789abcdef"
			key := s.keys.session(tok.ID)
			if err := s.client().Do(b.Context(), s.client().B().Set().Key(key).Value(digest+benchMeta).Build()).Error(); err != nil {
				b.Fatal(err)
			}
			start := cpuOf(b, e)
			b.ResetTimer()
			n := max(b.N, test.callers)
			out, err := exec.Command(path, "-p", fmt.Sprint(e.Port), "-c", fmt.Sprint(test.callers), "-P", fmt.Sprint(test.pipeline), "-n", fmt.Sprint(n), "-q",
				"EVALSHA", scriptExchange.sha, "1", key, digest, digest, "99999999999999", "7200000", "", "65536", "callcall", "0", "").CombinedOutput()
			if err != nil {
				b.Fatalf("redis-benchmark: %v\n%s", err, out)
			}
			report(b, e, start, n)
			if rate := ratePattern.FindAllStringSubmatch(string(out), -1); len(rate) > 0 {
				value, _ := strconv.ParseFloat(rate[len(rate)-1][1], 64)
				b.ReportMetric(value, "exchanges/s")
			}
		})
	}
}

var ratePattern = regexp.MustCompile(`([0-9.]+) requests per second`)
