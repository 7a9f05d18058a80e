package durable

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"tokenserver/shard"
	"tokenserver/token"
)

// TestRequestsShareASync: what comes while a sync is under way is synced by the
// next one, all of it.
func TestRequestsShareASync(t *testing.T) {
	var syncs atomic.Int64
	g := new(gate)
	cfg := memConfig(errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if isLogSync(op) {
			syncs.Add(1)
		}
		return g.MaybeError(op)
	})))
	s := mustOpen(t, cfg)
	defer mustClose(t, s)
	tokens := make([]token.Token, 50)
	for i := range tokens {
		tokens[i] = mustCreate(t, s, `{}`)
	}

	g.close()
	before, start := syncs.Load(), time.Now()
	var done sync.WaitGroup
	for _, tok := range tokens {
		done.Go(func() {
			if _, err := s.Exchange(t.Context(), tok, token.Patch{}, nil); err != nil {
				t.Errorf("Exchange = error %v", err)
			}
		})
	}
	for s.Stats().Exchanged < uint64(len(tokens)) && !t.Failed() {
		runtime.Gosched()
	}
	g.open()
	done.Wait()
	// One that was under way, one for the rest, and those of ticks.
	if got, most := syncs.Load()-before, 3+int64(time.Since(start)/tickInterval); got > most {
		t.Errorf("%d exchanges took %d syncs, want at most %d", len(tokens), got, most)
	}
}

// bareJournal has no loops: a test gathers and takes.
func bareJournal(s *Store, fsync Fsync) *journal {
	return &journal{
		db: s.db, failure: s.failure, watchdog: s.watchdog, fsync: fsync, maxGroup: 1000,
		opened: make(chan struct{}, 1), enough: make(chan struct{}, 1),
	}
}

func (j *journal) fill(changes, size int) {
	meta := bytes.Repeat([]byte{'x'}, size)
	for i := range changes {
		j.Save(&shard.State{ID: token.ID{byte(i)}, Meta: meta})
	}
}

// TestGather: with Always a group is written when it is as large as the one
// before, whose requests have been answered just now, and in any case when it is full.
func TestGather(t *testing.T) {
	for _, test := range []struct {
		name        string
		fsync       Fsync
		before, now int // changes
		size        int // of each, in bytes
		took, want  time.Duration
	}{
		{"alone", Always, 1, 1, 10, 2 * time.Millisecond, 0},
		{"more", Always, 1, 5, 10, 2 * time.Millisecond, 0},
		{"fewer", Always, 5, 4, 10, 2 * time.Millisecond, time.Millisecond},
		{"as many", Always, 5, 5, 10, 2 * time.Millisecond, 0},
		{"slow disk", Always, 5, 4, 10, time.Minute, gatherTime},
		{"full", Always, 10, 2, 600, 2 * time.Millisecond, 0},
		{"every second", EverySecond, 1, 1, 10, time.Minute, gatherTime},
		{"every second, full", EverySecond, 1, 2, 600, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := memConfig(vfs.NewMem())
				cfg.tune = withoutTicks
				s := mustOpen(t, cfg)
				defer mustClose(t, s)
				j := bareJournal(s, test.fsync)
				for range 2 { // the second time, what the first one was told is of no account
					j.fill(test.before, 1)
					j.take()
				}
				j.fill(test.now, test.size)
				start := time.Now()
				j.gather(test.took)
				if got := time.Since(start); got != test.want {
					t.Errorf("after a group of %d one of %d is gathered for %v, want %v", test.before, test.now, got, test.want)
				}
			})
		})
	}
}

// TestFullGroupWaits: while the disk is stuck, what waits for it in memory is
// bounded, and nothing of it is lost.
func TestFullGroupWaits(t *testing.T) {
	const (
		sessions = 100
		metaSize = 1000
	)
	cfg := memConfig(vfs.NewMem())
	cfg.Fsync, cfg.MemTableBytes = EverySecond, 16<<10
	s := mustOpen(t, cfg)
	j := s.journal
	meta := fmt.Appendf(nil, `{"a":"%0*d"}`, metaSize, 0)

	j.writing.Lock() // as long as a write lasts
	var saved atomic.Int64
	var done sync.WaitGroup
	done.Go(func() {
		for i := range sessions {
			j.Save(&shard.State{ID: token.ID{byte(i), 1}, Meta: meta, Expires: s.clock.Now().Add(time.Hour)})
			saved.Add(1)
		}
	})
	most := int64(j.maxGroup/metaSize + 1)
	for range 100_000 {
		runtime.Gosched()
	}
	if got := saved.Load(); got > most {
		t.Errorf("%d changes of %d bytes are in memory, want at most %d", got, metaSize, most)
	}
	j.writing.Unlock()
	done.Wait()
	mustClose(t, s)
	after := mustOpen(t, cfg)
	defer mustClose(t, after)
	if got := after.Stats().Sessions; got != sessions {
		t.Errorf("%d sessions after all, want %d", got, sessions)
	}
}

// TestGivenUp: whoever waits for room in a full group is told of a failure, and
// of the end.
func TestGivenUp(t *testing.T) {
	for name, end := range map[string]func(*journal){
		"failure": func(j *journal) { j.failure.set(errors.New("broken")) },
		"close":   func(j *journal) { j.mu.Lock(); j.closed = true; j.mu.Unlock(); j.take() },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := memConfig(vfs.NewMem())
			s := mustOpen(t, cfg)
			j := bareJournal(s, Always)
			j.failure = newFailure(func(error) {})
			j.fill(1, 1001)
			told := make(chan error)
			go func() { told <- j.Save(&shard.State{Meta: []byte(`{}`)}).Wait() }()
			end(j)
			if err := <-told; err == nil {
				t.Errorf("Wait = no error")
			}
			mustClose(t, s)
		})
	}
}

// TestDeletionIsNoOutage: the watchdog is told of each batch of keys that a tick
// deletes, and not of all: many take long on a good disk, too.
func TestDeletionIsNoOutage(t *testing.T) {
	const batches = 20
	var ticks atomic.Pointer[operation]
	told := make(map[time.Time]bool) // when a batch began that needed another log
	cfg := memConfig(errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		isNew := op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpReuseForWrite
		if tick := ticks.Load(); tick != nil && isNew && path.Ext(op.Path) == ".log" {
			tick.watchdog.mu.Lock()
			defer tick.watchdog.mu.Unlock()
			told[tick.since] = true
		}
		return nil
	})))
	cfg.MemTableBytes = 16 << 10 // not much more than a batch
	s := mustOpen(t, cfg)
	defer mustClose(t, s)
	ticks.Store(s.journal.ticks)
	s.journal.expired.ids = make([]token.ID, batches*deleteBatch)
	s.journal.tick()
	ticks.Store(nil)
	if got, least := len(told), batches/2; got < least {
		t.Errorf("the watchdog was told of %d batches that needed another log, want %d at least", got, least)
	}
}
