package durable

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"tokenserver/internal/storetest"
	"tokenserver/token"
)

// TestClockWalk makes random calls of a store, beside a naive model, while the
// clocks of its machine jump: it is suspended, its wall clock is set, the store is
// stopped or killed, the machine booted, and the lifetimes are changed in between.
func TestClockWalk(t *testing.T) {
	const walks = 10
	seed := storetest.Seed(t)
	for i := range walks {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newClockWalk(t, storetest.NewRand(seed+uint64(i)))
				w.walk()
			})
		})
	}
}

const (
	walkSteps    = 250
	walkSessions = 12
	// settleTime is after how long what has expired is deleted.
	settleTime = 2*tickInterval + sweepWait + keyRanges*sweepPause
)

// clockWalk is a walk. Points in time of the model are ages of a boot.
type clockWalk struct {
	*testing.T
	*machine
	rng      *rand.Rand
	boot     int
	wall     []int64 // by boot: what the wall clock says at its begin, as it was last set
	runs     []walkRun
	behind   time.Duration // of the wall clock, for all of the boot; 0 if it is set as others are
	sessions []*walkSession
	sweepAt  time.Duration // of the keys that are kept; 0 for never
}

// walkRun is a run of the store.
type walkRun struct {
	boot                  int
	start                 time.Duration
	lifetime, maxLifetime time.Duration
	keepUntil             time.Duration // 0 for none
}

// walkSession is a session: what was written of it, and what it is in memory.
type walkSession struct {
	tok      token.Token
	own      time.Duration // lifetime; 0 for none
	run      int           // that wrote it
	written  walkTimes
	now      walkTimes
	inMemory bool
	gone     bool // from the disk too
}

type walkTimes struct {
	expires           time.Duration
	created, absolute *time.Duration // nil if it is not known, or none
}

func newClockWalk(t *testing.T, rng *rand.Rand) *clockWalk {
	w := &clockWalk{T: t, machine: newMachine(), rng: rng, wall: make([]int64, 1)}
	w.cfg.Store.PurgeInterval = 100_000 * time.Hour
	return w
}

func (w *clockWalk) walk() {
	w.startRun()
	defer func() { w.stop(w.T) }() // also if it has failed: a bubble waits for all goroutines
	for range walkSteps {
		w.step()
		w.readWall()
		w.check()
	}
}

func (w *clockWalk) step() {
	switch n := w.rng.IntN(100); {
	case n < 15 && len(w.sessions) < walkSessions:
		w.create()
	case n < 45 && len(w.sessions) > 0:
		w.exchange(w.rng.IntN(len(w.sessions)))
	case n < 50 && len(w.sessions) > 0:
		w.delete(w.rng.IntN(len(w.sessions)))
	case n < 65:
		time.Sleep(w.upTo(40 * time.Minute))
	case n < 72:
		w.Suspend(time.Second + w.upTo(time.Hour))
		noticed()
	case n < 80:
		if w.behind != 0 {
			return
		}
		w.SetWall(w.jump())
		noticed()
	default:
		w.restart()
	}
}

func (w *clockWalk) upTo(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d))) }

// jump is by how much the wall clock is set.
func (w *clockWalk) jump() time.Duration {
	d := 2*wallStep + w.upTo([]time.Duration{time.Minute, 3 * time.Hour, 1000 * time.Hour}[w.rng.IntN(3)])
	if w.rng.IntN(2) == 0 {
		return -d
	}
	return d
}

func (w *clockWalk) age() time.Duration { return w.Boot().Age }

// readWall is called once the store has seen how the wall clock is set.
func (w *clockWalk) readWall() {
	w.wall[w.boot] = w.Wall(time.Now()).UnixNano() - int64(w.age())
}

func (w *clockWalk) run() *walkRun { return &w.runs[len(w.runs)-1] }

func (w *clockWalk) create() {
	s := &walkSession{}
	if w.rng.IntN(3) == 0 {
		s.own = 30*time.Minute + w.upTo(3*time.Hour)
	}
	var err error
	if s.tok, err = w.Create(w.Context(), token.NewSession{Meta: []byte(`{}`), Lifetime: s.own}); err != nil {
		w.Fatalf("Create = error %v", err)
	}
	now := w.age()
	s.now.created = &now
	if limit := w.run().maxLifetime; limit != 0 {
		absolute := now + limit
		s.now.absolute = &absolute
	}
	s.inMemory = true
	w.renew(s)
	w.sessions = append(w.sessions, s)
}

// renew has a session be written with its full lifetime.
func (w *clockWalk) renew(s *walkSession) {
	lifetime := w.run().lifetime
	if s.own != 0 {
		lifetime = s.own
	}
	s.now.expires = w.age() + lifetime
	if s.now.absolute != nil {
		s.now.expires = min(s.now.expires, *s.now.absolute)
	}
	s.written, s.run = s.now, len(w.runs)-1
	if s.own == 0 && s.now.absolute == nil {
		s.written.created = nil // nobody needs it
	}
}

func (w *clockWalk) lives(s *walkSession) bool { return s.inMemory && s.now.expires > w.age() }

func (w *clockWalk) exchange(i int) {
	s := w.sessions[i]
	x, err := w.Exchange(w.Context(), s.tok, token.Patch{}, nil)
	if got, want := err == nil, w.lives(s); got != want {
		w.Fatalf("Exchange of session %d = error %v, want success: %v", i, err, want)
	}
	if err == nil {
		s.tok = x.Token
		w.renew(s)
	}
}

func (w *clockWalk) delete(i int) {
	s := w.sessions[i]
	if err := w.Delete(w.Context(), s.tok); err != nil {
		w.Fatalf("Delete = error %v", err)
	}
	if w.lives(s) {
		s.inMemory, s.gone = false, true
	}
}

// check compares all sessions.
func (w *clockWalk) check() {
	w.Helper()
	for i, s := range w.sessions {
		left, err := w.left(w.T, s.tok)
		want := time.Duration(0)
		if w.lives(s) {
			want = s.now.expires - w.age()
		}
		if left != want || (err == nil) != (want > 0) {
			w.Fatalf("run %d: session %d of run %d lives for %v, error %v, want %v", len(w.runs)-1, i, s.run, left, err, want)
		}
	}
}

func (w *clockWalk) restart() {
	w.settle()
	if w.rng.IntN(2) == 0 {
		w.kill(w.T)
	} else {
		w.stop(w.T)
	}
	if w.rng.IntN(3) == 0 {
		w.reboot()
	}
	switch n := w.rng.IntN(4); {
	case n == 0 && w.behind == 0:
		w.SetWall(w.jump())
	case n == 1:
		w.Suspend(w.upTo(time.Hour))
	case n == 2:
		time.Sleep(w.upTo(2 * time.Hour))
	}
	w.startRun()
}

// reboot boots the machine, in some cases with a wall clock that is behind until the
// next boot.
func (w *clockWalk) reboot() {
	w.Reboot()
	w.boot++
	w.wall = append(w.wall, 0)
	w.SetWall(w.behind)
	if w.behind = 0; w.rng.IntN(2) == 0 {
		w.behind = w.jump().Abs()
		w.SetWall(-w.behind)
	}
}

// settle lets what has expired be deleted, so that it is known what is on disk.
func (w *clockWalk) settle() {
	w.restored.Purge()
	for _, s := range w.sessions {
		if s.inMemory && s.now.expires <= w.age() {
			s.inMemory, s.gone = false, true
		}
	}
	time.Sleep(settleTime)
	if w.sweepAt != 0 && w.age() >= w.sweepAt {
		time.Sleep(settleTime)
		for _, s := range w.sessions {
			s.gone = s.gone || !s.inMemory
		}
		w.sweepAt = 0
	}
}

// here returns a point in time of a boot as one of the present boot.
func (w *clockWalk) here(boot int, age time.Duration) time.Duration {
	if boot == w.boot {
		return age
	}
	return age + time.Duration(w.wall[boot]-w.wall[w.boot])
}

func (w *clockWalk) startRun() {
	lifetime := []time.Duration{30 * time.Minute, time.Hour, 2 * time.Hour}[w.rng.IntN(3)]
	w.cfg.Store.MaxLifetime = []time.Duration{0, time.Hour, 3 * time.Hour}[w.rng.IntN(3)]
	w.readWall()
	w.runs = append(w.runs, walkRun{boot: w.boot, start: w.age(), lifetime: lifetime, maxLifetime: w.cfg.Store.MaxLifetime})
	w.start(w.T, lifetime)
	w.load()
	w.check()
	time.Sleep(2 * tickInterval) // what has expired is deleted
}

// load works out what each session is in the run that has begun.
func (w *clockWalk) load() {
	w.limitKeeps()
	live, expired, kept, keepUntil := 0, 0, 0, time.Duration(0)
	var dead []*walkSession
	for _, s := range w.sessions {
		if s.gone {
			continue
		}
		s.now = w.restoredTimes(s)
		if s.inMemory = s.now.expires > w.run().start; s.inMemory {
			live++
			continue
		}
		expired++
		if until := w.keepUntil(s.run); until > w.run().start {
			kept, keepUntil = kept+1, max(keepUntil, w.keepUntil(0), until)
			continue
		}
		dead = append(dead, s)
	}
	if live == 0 && kept < expired {
		w.run().keepUntil = w.run().start + keepExpired
		keepUntil = max(keepUntil, w.run().keepUntil)
	} else {
		for _, s := range dead {
			s.gone = true
		}
	}
	w.sweepAt = keepUntil
}

// limitKeeps forgets until when keys were to be kept, where that has passed, and has
// none be kept for longer than usual.
func (w *clockWalk) limitKeeps() {
	for i := range w.runs {
		r := &w.runs[i]
		left := w.here(r.boot, r.keepUntil) - w.run().start
		if r.keepUntil == 0 || left <= 0 {
			r.keepUntil = 0
			continue
		}
		r.keepUntil -= max(0, left-keepExpired)
	}
}

// keepUntil returns until when expired sessions are kept that a run wrote.
func (w *clockWalk) keepUntil(run int) (until time.Duration) {
	for _, r := range w.runs[run+1:] {
		if r.keepUntil != 0 {
			until = max(until, w.here(r.boot, r.keepUntil))
		}
	}
	return until
}

// restoredTimes is what a session is after all runs since it was written.
func (w *clockWalk) restoredTimes(s *walkSession) walkTimes {
	boot := w.runs[s.run].boot
	got := walkTimes{expires: w.here(boot, s.written.expires)}
	if s.written.created != nil {
		created := w.here(boot, *s.written.created)
		got.created = &created
	}
	if s.written.absolute != nil {
		absolute := w.here(boot, *s.written.absolute)
		got.absolute = &absolute
	}
	for i := range w.runs[s.run+1:] {
		if r := &w.runs[s.run+1+i]; w.limits(r.boot, s.run) {
			w.restoreIn(r, s.own, s.written.absolute != nil, &got)
		}
	}
	if start := w.run().start; got.created == nil || *got.created > start {
		got.created = &start
	}
	return got
}

// limits says whether the runs in a boot limit the sessions of an earlier run. They do
// not if the boot seems to have begun before: its clock was behind, or that of the
// earlier run was ahead, which then lies in the future.
func (w *clockWalk) limits(boot, earlier int) bool {
	written := &w.runs[earlier]
	started := w.here(written.boot, written.start)
	if boot == written.boot || boot == w.boot || started > w.run().start {
		return true
	}
	for _, r := range w.runs[earlier+1:] {
		if r.boot == boot {
			return w.here(boot, r.start) >= started
		}
	}
	return true
}

func (w *clockWalk) restoreIn(r *walkRun, own time.Duration, had bool, got *walkTimes) {
	start, lifetime := w.here(r.boot, r.start), r.lifetime
	if own != 0 {
		lifetime = own
	}
	got.expires = min(got.expires, start+lifetime)
	if r.maxLifetime == 0 {
		return
	}
	absolute := start + r.maxLifetime
	if got.absolute != nil {
		absolute = min(absolute, *got.absolute)
	}
	if got.created != nil && !had { // a new rule moves no deadline that was written
		absolute = min(absolute, *got.created+r.maxLifetime)
	}
	got.absolute = &absolute
	got.expires = min(got.expires, absolute)
}
