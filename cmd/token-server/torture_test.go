package main

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	tortureRounds = flag.Int("torture.rounds", 20, "how often the server is killed")
	tortureSeed   = flag.Uint64("torture.seed", 0, "seed of the random choices; 0 is a random one")
)

// TestKill kills a server under load, of which a part comes in batches, again and again, and now and then stops it
// or takes its data directory away instead. Nothing that an answer has told may be
// taken back.
func TestKill(t *testing.T) {
	seed := *tortureSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	tests := []struct {
		name     string
		args     []string
		share    int // of the rounds, in tenths
		ledger   ledger
		min, max time.Duration // of load
	}{
		{"always", []string{"--fsync=always"}, 6, ledger{}, 50 * time.Millisecond, 500 * time.Millisecond},
		{"grace", []string{"--grace=2s"}, 2, ledger{grace: 2 * time.Second}, 50 * time.Millisecond, time.Second},
		// A crash takes the last second. The rest is for a machine that is busy.
		{"everysec", []string{"--fsync=everysec"}, 2, ledger{window: 1200 * time.Millisecond}, 50 * time.Millisecond, 2500 * time.Millisecond},
	}
	for i := range tests {
		tt := &tests[i]
		t.Run(tt.name, func(t *testing.T) {
			t.Logf("-torture.seed=%d", seed)
			tt.ledger.t = t
			dir := filepath.Join(t.TempDir(), "data")
			tor := newTorture(t, &tt.ledger, seed, append(tt.args, "--dump", "--data-dir="+dir))
			tor.dir = dir
			for round := range max(1, *tortureRounds*tt.share/10) {
				load := tt.min + time.Duration(tor.rng.Int64N(int64(tt.max-tt.min)))
				if tt.ledger.window > 0 {
					tor.slowDown(time.Duration(round%2) * time.Second)
				}
				end := tor.pickEnd()
				if tor.round(load, end); t.Failed() {
					t.Fatalf("round %d, %s after %v", round, end.name, load)
				}
			}
			t.Logf("%d sessions, %d requests, the furthest that a crash took back: %v",
				len(tt.ledger.accounts), tt.ledger.requests, tor.furthest)
		})
	}
}

// torture is a server that is killed and its workers.
type torture struct {
	t       *testing.T
	ledger  *ledger
	args    []string
	dir     string // the data directory; empty where it is not taken away
	rng     *rand.Rand
	workers []*worker
	server  *process

	furthest time.Duration // from an answer that was taken back to the kill
}

const connections = 64 // two of each worker

func newTorture(t *testing.T, l *ledger, seed uint64, args []string) *torture {
	tor := &torture{t: t, ledger: l, args: args, rng: rand.New(rand.NewPCG(seed, 0))}
	tor.addWorkers(seed)
	tor.server = startProcess(t, args...)
	return tor
}

func (tor *torture) addWorkers(seed uint64) {
	for i := range connections / 2 {
		tor.workers = append(tor.workers, &worker{ledger: tor.ledger, rng: rand.New(rand.NewPCG(seed, uint64(i+1)))})
	}
}

// end is a way in which a server ends.
type end struct {
	name  string
	begin func(*torture)
	code  int  // what it exits with; -1 for a signal
	clean bool // nothing is taken back, whatever a crash may take
}

var (
	killed   = end{"killed", func(tor *torture) { tor.server.cmd.Process.Kill() }, -1, false}
	stopped  = end{"stopped", (*torture).stop, exitOK, true}
	replaced = end{"replaced", (*torture).replaceDir, exitDisk, false}
)

// pickEnd picks a way to end, of which most are a kill.
func (tor *torture) pickEnd() end {
	switch tor.rng.IntN(8) {
	case 0:
		return stopped
	case 1:
		return replaced
	}
	return killed
}

func (tor *torture) stop() {
	tor.ledger.stopping.Store(true)
	tor.server.cmd.Process.Signal(syscall.SIGTERM)
}

// replaceDir puts another directory in the place of the data directory.
func (tor *torture) replaceDir() {
	if err := errors.Join(os.Rename(tor.dir, tor.dir+".away"), os.Mkdir(tor.dir, 0o700)); err != nil {
		tor.t.Error(err)
	}
}

// putBack ends what replaceDir has begun. Nothing was written to the other directory.
func (tor *torture) putBack() {
	if entries, err := os.ReadDir(tor.dir); err != nil || len(entries) > 0 {
		tor.t.Errorf("the directory in place of the data directory has %v, %v, want nothing", entries, err)
	}
	if err := errors.Join(os.RemoveAll(tor.dir), os.Rename(tor.dir+".away", tor.dir)); err != nil {
		tor.t.Fatal(err)
	}
}

// round ends the server under load, starts it again, and checks everything.
func (tor *torture) round(load time.Duration, end end) {
	ended := make(chan time.Time, 1)
	time.AfterFunc(load, func() {
		at := time.Now()
		end.begin(tor)
		ended <- at
	})
	tor.each((*worker).load)
	at := <-ended
	tor.wantEnd(end)
	if tor.rng.IntN(3) == 0 {
		tor.killAtStart()
	}
	tor.server = startProcess(tor.t, tor.args...)
	tor.server.wantLoaded(tor.recover(at, end.clean))
	tor.each((*worker).check)
	tor.ledger.compare(tor.server.dump())
}

// wantEnd waits until the server has ended, which it must do soon.
func (tor *torture) wantEnd(end end) {
	tor.t.Helper()
	if got := tor.server.wait(); got != end.code {
		tor.t.Errorf("%s: exit code %d, want %d:\n%.2000s", end.name, got, end.code, tor.server.log)
	}
	tor.ledger.stopping.Store(false)
	if end.name == replaced.name {
		tor.putBack()
	}
}

// slowDown asks for little if pause is not 0: the log of a busy server gets to
// the disk long before its second is over.
func (tor *torture) slowDown(pause time.Duration) {
	for _, w := range tor.workers {
		w.pause, w.pad = pause, 0
		if pause > 0 {
			w.pad = 1
		}
	}
}

// each lets all workers do something at the same time.
func (tor *torture) each(do func(*worker)) {
	var done sync.WaitGroup
	for _, w := range tor.workers {
		done.Go(func() {
			if err := w.dial(tor.server.address); err != nil {
				tor.ledger.violation("dial: %v", err)
				return
			}
			defer w.close()
			do(w)
		})
	}
	done.Wait()
}

// killAtStart starts the server and kills it before it is ready, most likely.
func (tor *torture) killAtStart() {
	cmd := command(tor.t, append([]string{"--port=0", "--admin-address=off"}, tor.args...)...)
	if err := cmd.Start(); err != nil {
		tor.t.Fatal(err)
	}
	time.Sleep(time.Duration(tor.rng.IntN(60)) * time.Millisecond)
	cmd.Process.Kill()
	cmd.Wait()
}

// recover checks what a crash has left and returns how many sessions there are. A
// clean end has taken nothing back.
func (tor *torture) recover(killed time.Time, clean bool) (sessions int) {
	for _, a := range tor.ledger.accounts {
		if !clean {
			a.crash(killed)
		}
	}
	sessions = tor.ledger.compare(tor.server.dump())
	left, taken := tor.ledger.cut()
	if taken.IsZero() {
		return sessions
	}
	if taken.Before(left) {
		tor.ledger.violation("the crash took back a change, and left one that was asked for %v later", left.Sub(taken))
	}
	tor.furthest = max(tor.furthest, killed.Sub(taken))
	return sessions
}

// wantLoaded checks what the log says about the start.
func (p *process) wantLoaded(sessions int) {
	p.t.Helper()
	if want := fmt.Sprintf("msg=loaded sessions=%d expired=0 seconds=", sessions); !strings.Contains(p.log.String(), want) {
		p.t.Errorf("log has no %q:\n%.2000s", want, p.log)
	}
}

// dump returns the metadata that the server has under each number. A dump of a cluster
// fails while a primary changes.
func (p *process) dump() map[int][]string {
	p.t.Helper()
	before := len(p.log.String())
	do(p.t, "HEAD", "http://"+p.address+"/dump", "")
	for !strings.Contains(p.log.String()[before:], `msg="dump complete"`) {
		if strings.Contains(p.log.String()[before:], `msg="dump failed"`) {
			before = len(p.log.String())
			do(p.t, "HEAD", "http://"+p.address+"/dump", "")
		}
		if status, _ := do(p.t, "GET", "http://"+p.address+"/healthz", ""); status != 200 {
			p.t.Fatalf("GET /healthz = %d, want 200", status)
		}
	}
	found := make(map[int][]string)
	for line := range strings.Lines(p.log.String()[before:]) {
		_, quoted, ok := strings.Cut(strings.TrimSpace(line), " meta=")
		if !ok {
			continue
		}
		var number int
		text, err := strconv.Unquote(quoted)
		if _, err2 := fmt.Sscanf(text, `{"session":%d,`, &number); err != nil || err2 != nil {
			p.t.Fatalf("dump has %.300q", line)
		}
		found[number] = append(found[number], text)
	}
	return found
}

// worker has two connections and sessions of its own.
type worker struct {
	ledger   *ledger
	rng      *rand.Rand
	clients  [2]*client
	accounts []*account
	pad      int           // greatest size of the padding in bytes; 0 is 1 KiB
	pause    time.Duration // greatest time between two steps
}

func (w *worker) dial(address string) error { return w.dialEach(address) }

// dialEach connects to servers with the same sessions, or to one.
func (w *worker) dialEach(addresses ...string) (err error) {
	for i := range w.clients {
		if w.clients[i], err = dialClient(addresses[i%len(addresses)]); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) close() {
	for _, c := range w.clients {
		c.Close()
	}
}

// maxItems is how many requests a worker sends in a batch, at most: of those about one
// session, all orders are thought of.
const maxItems = 5

// load sends requests on both connections, or some in a batch, until the server is gone.
func (w *worker) load() { w.loadUntil(nil) }

// loadUntil is load that ends when stop is closed.
func (w *worker) loadUntil(stop <-chan struct{}) {
	for err := error(nil); err == nil; {
		select {
		case <-stop:
			return
		default:
		}
		time.Sleep(time.Duration(w.rng.Int64N(int64(w.pause) + 1)))
		send, n := w.do, 2
		if w.rng.IntN(3) == 0 {
			send, n = w.doBatch, 1+w.rng.IntN(maxItems)
		}
		var as []*account
		var rs []*request
		for range n {
			a := w.pick()
			as, rs = append(as, a), append(rs, w.request(a))
		}
		err = send(as, rs)
	}
}

// do sends requests at the same time, one on each connection, and settles them.
func (w *worker) do(as []*account, rs []*request) (err error) {
	for i, r := range rs {
		w.clients[i].send(r)
	}
	for i, r := range rs {
		failed := w.clients[i].receive(r)
		// A graceful stop sends each answer whose request was carried out.
		r.notDone = r.notDone || failed != nil && w.ledger.stopping.Load()
		if errors.Is(failed, os.ErrDeadlineExceeded) {
			w.ledger.violation("%v: %v", r, failed)
		}
		err = errors.Join(err, failed)
	}
	if len(as) == 2 && as[0] != as[1] {
		as[0].settle(rs[0])
		as[1].settle(rs[1])
	} else {
		as[0].settle(rs...)
	}
	w.ledger.count(len(rs))
	return err
}

func (l *ledger) requested() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.requests
}

func (l *ledger) count(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests += n
}

// pick returns an account whose token is known, mostly one of the last few, or a new one.
func (w *worker) pick() *account {
	last := w.accounts[max(0, len(w.accounts)-4):]
	if w.rng.IntN(5) == 0 {
		last = w.accounts
	}
	if len(last) > 0 && w.rng.IntN(10) > 0 {
		if a := last[w.rng.IntN(len(last))]; len(a.tokens) > 0 && len(a.states) == 1 {
			return a
		}
	}
	a := w.ledger.newAccount()
	w.accounts = append(w.accounts, a)
	return a
}

// request returns a random request about a session.
func (w *worker) request(a *account) *request {
	r := &request{kind: kindExchange, patch: w.change(a)}
	if len(a.tokens) == 0 {
		r.kind = kindCreate
		return r
	}
	token, ok := a.known()
	// Once in a while one that is spent, or of a session that is gone.
	if n := len(a.tokens); !ok || w.rng.IntN(5) == 0 {
		token = a.tokens[max(0, n-1-w.rng.IntN(12))]
	}
	r.token = token
	// Without a patch, the metadata does not tell whether the exchange was kept.
	r.patched = w.ledger.window > 0 || w.rng.IntN(2) == 0
	switch n := w.rng.IntN(20); {
	case n < 3:
		r.kind = kindValidate
	case n < 5:
		r.kind = kindDelete
	}
	return r
}

func (w *worker) change(a *account) meta {
	pad := 1 << 10
	if w.pad > 0 {
		pad = w.pad
	}
	return meta{a.number, w.rng.IntN(1 << 60), w.rng.IntN(pad)}
}

// check asks the server about all that it has told.
func (w *worker) check() {
	for _, a := range w.accounts {
		if len(a.states) == 0 {
			continue
		}
		for _, token := range w.doubtful(a) {
			w.ask(a, &request{kind: kindValidate, token: token})
			w.ask(a, &request{kind: kindExchange, token: token, patched: true, patch: w.change(a)})
		}
		if len(a.states) > 1 {
			w.ledger.violation("session %d: may still be in any of %+v", a.number, a.states)
		}
		a.old = len(a.tokens)
	}
	w.accounts = slices.DeleteFunc(w.accounts, (*account).over)
}

// doubtful returns the tokens to ask about: all that are new, some that are old,
// and those that may be good.
func (w *worker) doubtful(a *account) []string {
	tokens := slices.Clone(a.tokens[a.old:])
	if a.old > 0 {
		tokens = append(tokens, a.tokens[w.rng.IntN(a.old)])
	}
	for _, s := range a.states {
		if s.live && s.token != "" {
			tokens = append(tokens, s.token)
		}
	}
	return tokens
}

// over says whether nothing more can be asked about a session, or is worth it.
func (a *account) over() bool {
	_, ok := a.known()
	return !ok
}

func (w *worker) ask(a *account, r *request) {
	if len(a.states) == 0 {
		return
	}
	if err := w.do([]*account{a}, []*request{r}); err != nil {
		w.ledger.violation("session %d: %v: %v", a.number, r, err)
	}
}
