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
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

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

// startPinned starts an engine that has one processor for itself, if what measures runs on
// others.
func startPinned(b *testing.B) *enginetest.Engine {
	b.Helper()
	e := enginetest.Start(b)
	path := testneeds.Program(b, "taskset")
	if out, err := exec.Command(path, "--all-tasks", "--cpu-list", "--pid", "0", strconv.Itoa(e.PID())).CombinedOutput(); err != nil {
		b.Fatalf("taskset: %v\n%s", err, out)
	}
	return e
}

// benchSessions is how many sessions the benchmarks exchange, one after the other: more than
// an engine finds in its processor's caches.
const benchSessions = 100_000

// benchTokens creates the sessions, and returns an equal share of their tokens for each caller.
func benchTokens(b *testing.B, s *Store, callers int) [][]token.Token {
	b.Helper()
	shares := make([][]token.Token, callers)
	var all sync.WaitGroup
	for i := range shares {
		shares[i] = make([]token.Token, benchSessions/callers)
		all.Go(func() {
			for j := range shares[i] {
				var err error
				if shares[i][j], err = s.Create(context.Background(), token.NewSession{Meta: []byte(benchMeta)}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return shares
}

// BenchmarkShared is the store's exchanges, by so many callers at once or in batches, beside
// redis-benchmark's EVALSHA of the same script. The engine has a processor for itself, and
// GOMAXPROCS=1 taskset gives the rest another one. make bench does it.
func BenchmarkShared(b *testing.B) {
	b.Run("by=store/callers=1", func(b *testing.B) { benchCallers(b, 1) })
	b.Run("by=store/callers=64", func(b *testing.B) { benchCallers(b, 64) })
	b.Run("by=store/callers=512", func(b *testing.B) { benchCallers(b, 512) })
	b.Run("by=store/batch=64", benchBatches)
	b.Run("by=redis-benchmark/callers=64/pipeline=1", func(b *testing.B) { benchPeer(b, 64, 1) })
	b.Run("by=redis-benchmark/callers=512/pipeline=1", func(b *testing.B) { benchPeer(b, 512, 1) })
	b.Run("by=redis-benchmark/callers=16/pipeline=64", func(b *testing.B) { benchPeer(b, 16, 64) })
}

func benchCallers(b *testing.B, callers int) {
	e := startPinned(b)
	s := open(b, Config{Timeout: MaxTimeout}, e.Address())
	shares := benchTokens(b, s, callers)
	m, each := begin(b, e), (b.N+callers-1)/callers
	var all sync.WaitGroup
	for _, tokens := range shares {
		all.Go(func() { exchangeOn(b, s, tokens, each) })
	}
	all.Wait()
	m.end(callers * each)
}

// exchangeOn makes n exchanges of the tokens, in turn.
func exchangeOn(b *testing.B, s *Store, tokens []token.Token, n int) {
	var dst []byte
	for i := range n {
		tok := &tokens[i%len(tokens)]
		x, err := s.Exchange(context.Background(), *tok, token.Patch{}, dst[:0])
		if err != nil {
			b.Error(err)
			return
		}
		*tok, dst = x.Token, x.Meta
	}
}

// measurement is what an engine and this process have computed at the begin of one.
type measurement struct {
	b          *testing.B
	engine     *enginetest.Engine
	used, ours time.Duration
}

func begin(b *testing.B, e *enginetest.Engine) measurement {
	m := measurement{b, e, cpuOf(b, e), ownCPU(b)}
	b.ResetTimer()
	return m
}

// end reports n exchanges, and the processor time of each.
func (m *measurement) end(n int) {
	m.b.StopTimer()
	m.b.ReportMetric(float64(n)/m.b.Elapsed().Seconds(), "exchanges/s")
	m.b.ReportMetric(float64(cpuOf(m.b, m.engine)-m.used)/float64(n), "engine-ns/exchange")
	m.b.ReportMetric(float64(ownCPU(m.b)-m.ours)/float64(n), "store-ns/exchange")
}

// ownCPU returns the time that this process has computed for.
func ownCPU(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchBatches: exchanges in batches of 64, by 8 callers.
func benchBatches(b *testing.B) {
	const callers, items = 8, 64
	e := startPinned(b)
	s := open(b, Config{Timeout: MaxTimeout}, e.Address())
	shares := benchTokens(b, s, callers)
	m, rounds := begin(b, e), (b.N+callers*items-1)/(callers*items)
	var all sync.WaitGroup
	for _, tokens := range shares {
		all.Go(func() { batchOn(b, s, tokens, items, rounds) })
	}
	all.Wait()
	m.end(rounds * callers * items)
}

// batchOn makes so many batches of exchanges of the tokens, in turn.
func batchOn(b *testing.B, s *Store, tokens []token.Token, items, rounds int) {
	batch := token.Batch{Items: make([]token.BatchItem, items)}
	for at := 0; rounds > 0; rounds-- {
		if at+items > len(tokens) {
			at = 0
		}
		part := tokens[at : at+items]
		at += items
		for i, tok := range part {
			batch.Items[i] = token.BatchItem{Op: token.OpExchange, Token: tok}
		}
		batch.Buf = batch.Buf[:0]
		if err := s.Batch(context.Background(), &batch); err != nil {
			b.Error(err)
			return
		}
		for i := range batch.Items {
			if err := batch.Items[i].Err; err != nil {
				b.Error(err)
				return
			}
			part[i] = batch.Items[i].Token
		}
	}
}

// benchPeer is redis-benchmark's EVALSHA on as many sessions, whose tokens stay the same.
func benchPeer(b *testing.B, callers, pipeline int) {
	e := startPinned(b)
	fillPeer(b, e)
	m, n := begin(b, e), max(b.N, callers)
	rate := redisBenchmark(b, e, "-c", fmt.Sprint(callers), "-P", fmt.Sprint(pipeline), "-n", fmt.Sprint(n))
	m.end(n)
	b.ReportMetric(rate, "exchanges/s") // without the start of the program
}

// The sessions of redis-benchmark: all have the same digest, and a key whose end it draws.
const (
	peerKey    = "ts:{abc}"
	peerDigest = "0123456789abcdef"
)

// fillPeer loads the script, and creates the sessions.
func fillPeer(b *testing.B, e *enginetest.Engine) {
	b.Helper()
	s := open(b, Config{Timeout: MaxTimeout}, e.Address())
	client := s.client()
	if err := client.Do(b.Context(), client.B().ScriptLoad().Script(scriptExchange.text).Build()).Error(); err != nil {
		b.Fatal(err)
	}
	const fill = `for i = 0, ARGV[1] - 1 do redis.call('SET', KEYS[1] .. string.format('%012d', i), ARGV[2]) end`
	err := client.Do(b.Context(), client.B().Eval().Script(fill).Numkeys(1).Key(peerKey).Arg(strconv.Itoa(benchSessions), peerDigest+benchMeta).Build()).Error()
	if err != nil && !rueidis.IsRedisNil(err) {
		b.Fatal(err)
	}
}

// redisBenchmark returns how many exchanges a second redis-benchmark makes.
func redisBenchmark(b *testing.B, e *enginetest.Engine, args ...string) float64 {
	b.Helper()
	args = append([]string{"-p", fmt.Sprint(e.Port), "-r", strconv.Itoa(benchSessions), "-q"}, args...)
	args = append(args, "EVALSHA", scriptExchange.sha, "1", peerKey+"__rand_int__",
		peerDigest, peerDigest, "99999999999999", "7200000", "", "65536", "12345678", "0", "")
	out, err := exec.Command(testneeds.Program(b, "redis-benchmark"), args...).CombinedOutput()
	if err != nil {
		b.Fatalf("redis-benchmark: %v\n%s", err, out)
	}
	found := ratePattern.FindAllStringSubmatch(string(out), -1)
	if len(found) == 0 {
		b.Fatalf("redis-benchmark tells no rate:\n%s", out)
	}
	rate, _ := strconv.ParseFloat(found[len(found)-1][1], 64)
	return rate
}

var ratePattern = regexp.MustCompile(`([0-9.]+) requests per second`)
