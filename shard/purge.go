package shard

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"tokenserver/internal/sleep"
	"tokenserver/internal/stack"
	"tokenserver/internal/stats"
)

// purgeBatch is how many sessions are purged under one hold of a lock.
const purgeBatch = 4

// purgeState is what purges know beyond the shards.
type purgeState struct {
	// makingRoom is held while a full store is purged.
	makingRoom sync.Mutex
	// earliest is a timestamp before which no session expires. A full store would
	// otherwise look into each shard at each create.
	earliest atomic.Int64
	longest  atomic.Int64 // nanoseconds that a batch held a lock
	// unsqueezed says that a shard may have freed something since it was squeezed.
	unsqueezed atomic.Bool
	// recent has the last purges by the clock, the newest first. It is replaced, never
	// changed.
	recent atomic.Pointer[[]stats.Purge]
}

// expect says that a session expires at d.
func (p *purgeState) expect(d timestamp) {
	for {
		earliest := p.earliest.Load()
		if earliest <= int64(d) || p.earliest.CompareAndSwap(earliest, int64(d)) {
			return
		}
	}
}

func (s *Store) purgeLoop(interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	giveBack := time.NewTicker(giveBackInterval)
	defer giveBack.Stop()
	for {
		select {
		case <-s.closing:
			return
		case <-ticker.C:
			s.purgeOrLog()
		case <-giveBack.C:
			s.pool.giveBack()
		}
	}
}

// purgeOrLog goes on after a panic: the runtime's own report of it would end the
// process, and has ids in it.
func (s *Store) purgeOrLog() {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("recovered panic", "panic", fmt.Sprint(p), "stack", string(stack.Current()))
		}
	}()
	start := time.Now()
	n := s.Purge()
	s.purge.remember(stats.Purge{Ended: time.Now(), Took: time.Since(start), Sessions: n})
}

// maxRecent is how many purges are remembered.
const maxRecent = 5

// remember is for the one goroutine that purges by the clock.
func (p *purgeState) remember(last stats.Purge) {
	list := append(make([]stats.Purge, 0, maxRecent+1), last)
	if old := p.recent.Load(); old != nil {
		list = append(list, *old...)
	}
	list = list[:min(len(list), maxRecent)]
	p.recent.Store(&list)
}

// Purge takes back the memory of expired sessions and returns how many there
// were. It visits no session that has not expired, and holds a lock for
// purgeBatch sessions at most.
func (s *Store) Purge() (purged int) {
	var p pacer
	defer p.close()
	for i := range s.shards {
		n, _ := s.purgeShard(&s.shards[i], s.now(), &p)
		if purged += n; s.isClosing() {
			break
		}
	}
	return purged
}

func (s *Store) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// makeMemory makes room because the limit of memory is reached: what has expired
// goes, and sparse pages are emptied.
func (s *Store) makeMemory(now timestamp) {
	s.makeRoom(now)
	s.purge.makingRoom.Lock()
	defer s.purge.makingRoom.Unlock()
	var p pacer
	defer p.close()
	s.squeeze(&p)
}

// makeRoom purges what has expired because a limit is reached. Where another
// call is at it already, it waits for that one.
//
// It sets earliest to infinity first, and then lowers it by what each shard holds.
// A create lowers it too, once its session is stored. In whatever order they come,
// no session is forgotten:
//
//  1. makeRoom: earliest is infinity.
//  2. makeRoom: shard 0 holds nothing.
//  3. create: a session is in shard 0 that expires at 5.
//  4. create: earliest is 5.
//  5. makeRoom: shard 1 holds one that expires at 7; earliest stays 5.
//
// If earliest were set at the end, to the 7 that the shards were found to hold, 4
// could come before it and be overwritten. The session would expire, and a full
// store would refuse creates until 7 although there is room.
func (s *Store) makeRoom(now timestamp) {
	s.purge.makingRoom.Lock()
	defer s.purge.makingRoom.Unlock()
	var p pacer
	defer p.close()
	if int64(now) < s.purge.earliest.Load() {
		return
	}
	s.purge.earliest.Store(math.MaxInt64)
	for i := range s.shards {
		_, next := s.purgeShard(&s.shards[i], now, &p)
		s.purge.expect(next)
	}
}

// purgeShard purges a shard in batches. It returns how many sessions went, and
// the deadline of the next one to expire.
func (s *Store) purgeShard(sh *shard, now timestamp, p *pacer) (purged int, next timestamp) {
	for n := purgeBatch; n == purgeBatch && !s.isClosing(); purged += n {
		start := time.Now()
		n, next = sh.purgeBatch(now)
		p.worked(time.Since(start))
		s.compact(sh, p)
	}
	return purged, next
}

// A purge pauses after so much work, for so long.
const (
	purgeSlice = 200 * time.Microsecond
	purgePause = 20 * time.Microsecond
)

// pacer lets a purge pause. To yield is not enough: on one processor the runtime
// does not look for requests that have arrived while any goroutine can run.
type pacer struct {
	work    time.Duration // since the last pause
	sleeper *sleep.Sleeper
}

func (p *pacer) worked(d time.Duration) {
	if p.work += d; p.work < purgeSlice {
		return
	}
	p.work = 0
	if p.sleeper == nil {
		var err error
		if p.sleeper, err = sleep.New(); err != nil { // no more descriptors
			time.Sleep(purgePause)
			return
		}
	}
	p.sleeper.Sleep(purgePause)
}

func (p *pacer) close() {
	if p.sleeper != nil {
		p.sleeper.Close()
	}
}

// heldSince is told when a purge has got the lock that it has just released.
func (p *purgeState) heldSince(locked time.Time) { p.held(time.Since(locked)) }

func (p *purgeState) held(d time.Duration) {
	for {
		longest := p.longest.Load()
		if int64(d) <= longest || p.longest.CompareAndSwap(longest, int64(d)) {
			return
		}
	}
}

// purgeBatch removes up to purgeBatch sessions that have expired.
func (sh *shard) purgeBatch(now timestamp) (purged int, next timestamp) {
	sh.lock()
	defer sh.purge.heldSince(time.Now())
	defer sh.unlock()
	for ; sh.heap.n > 0; purged++ {
		first := sh.heap.min()
		if purged == purgeBatch || first.deadline > now {
			return purged, first.deadline
		}
		sh.expireLocked(sh.records.at(first.record))
	}
	return purged, math.MaxInt64
}
