package durable

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"tokenserver/shard"
	"tokenserver/token"
)

// journal writes the changes of a shard.Store to Pebble.
//
// This is group commit: changes are gathered in a group, in the order in which they
// come, while the group before them is being written: one batch of Pebble's, and
// with Always one sync, for all of them.
type journal struct {
	db       *pebble.DB
	epoch    uint32 // of what is written
	fsync    Fsync
	failure  *failure
	watchdog *watchdog
	maxGroup int // bytes

	// What the watchdog is told of.
	writes *operation // of a group
	ticks  *operation

	// mu guards the open group, which takes what comes, and all up to the
	// channels. It is held for as long as it takes to copy a change.
	mu     sync.Mutex
	open   *group // nil if nothing has come since the last one was taken
	closed bool
	wanted uint32        // changes that make the open group large enough with Always
	size   int           // bytes of the last group, for which the next one has room
	opened chan struct{} // says that there is an open group
	enough chan struct{} // says that it is large enough

	// writing is held while a group is written, so that they are written in order.
	writing semaphore

	// changed says that there are changes since the last tick; the first of them
	// wakes the ticks.
	changed atomic.Bool
	wake    chan time.Time // when it came
	// synced is a sequence number of Pebble's before which all writes are on disk.
	synced atomic.Uint64

	counters journalCounters

	expired struct {
		sync.Mutex
		ids []token.ID
	}

	closing chan struct{}
	loops   sync.WaitGroup
}

const (
	// tickInterval is the time from a change to the next tick, and with
	// EverySecond how much a crash may take.
	tickInterval = time.Second
	// gatherTime is how long a group is gathered with EverySecond, when nobody
	// waits for it, and with Always at most.
	gatherTime = 5 * time.Millisecond
	// fullGroup is the size in bytes from which on a group takes nothing in, or a
	// quarter of a memtable if that is less.
	fullGroup = 4 << 20
)

func maxGroup(memTableBytes int64) int64 { return min(fullGroup, memTableBytes/4) }

func newJournal(db *pebble.DB, epoch uint32, cfg *Config, f *failure, w *watchdog) *journal {
	j := &journal{
		db: db, epoch: epoch, fsync: cfg.Fsync, failure: f,
		watchdog: w, writes: w.write("a write of the log"), ticks: w.write("a sync of the log"),
		maxGroup: int(maxGroup(cfg.MemTableBytes)),
		opened:   make(chan struct{}, 1), enough: make(chan struct{}, 1),
		wake: make(chan time.Time, 1), closing: make(chan struct{}), writing: make(semaphore, 1),
	}
	j.loops.Go(j.writeLoop)
	j.loops.Go(j.tickLoop)
	return j
}

// journalCounters count since the start.
type journalCounters struct {
	groups, changes atomic.Uint64
	syncs           atomic.Uint64
	syncTime        atomic.Int64 // nanoseconds
}

func (c *journalCounters) syncedSince(start time.Time) {
	c.syncs.Add(1)
	c.syncTime.Add(int64(time.Since(start)))
}

// semaphore is a lock that may be held for long, with room for one. A fake clock goes
// on while somebody waits for it, which it does not with a mutex.
type semaphore chan struct{}

// Lock implements sync.Locker.
func (s semaphore) Lock() { s <- struct{}{} }

// Unlock implements sync.Locker.
func (s semaphore) Unlock() { <-s }

// Save implements shard.Journal.
func (j *journal) Save(s *shard.State) shard.Write {
	return j.add(func(b *pebble.Batch) {
		op := b.SetDeferred(len(s.ID), valueLen(s))
		copy(op.Key, s.ID[:])
		appendValue(op.Value[:0], j.epoch, s)
	})
}

// Forget implements shard.Journal.
func (j *journal) Forget(id token.ID) shard.Write {
	return j.add(func(b *pebble.Batch) { b.Delete(id[:], nil) })
}

// Expired implements shard.Journal. The key goes with the next tick: no later
// session gets the same id in that time but by a chance of 2^-48 at most.
func (j *journal) Expired(id token.ID) {
	j.expired.Lock()
	j.expired.ids = append(j.expired.ids, id)
	j.expired.Unlock()
	j.expectTick()
}

// group is changes that are written together.
type group struct {
	journal *journal
	batch   *pebble.Batch
	taken   chan struct{} // closed when nothing more comes in
	written chan struct{} // closed when it is written, or has failed
}

// Wait implements shard.Write. A group may never be written if the disk fails,
// since Pebble does not return from that; and after a failure not even one that
// was written is answered from. In an outage it waits for outageLimit at most.
func (g *group) Wait() error {
	f := g.journal.failure
	for {
		o := g.journal.watchdog.outage.Load()
		select {
		case <-g.written:
			return f.delayUntilReported(f.get())
		case <-f.happened:
			return f.delayUntilReported(f.get())
		case <-o.ended:
			if o.gaveUp && !g.isWritten() {
				return f.delayUntilReported(errNoAnswer)
			}
		}
	}
}

func (g *group) isWritten() bool {
	select {
	case <-g.written:
		return true
	default:
		return false
	}
}

// Lasts implements shard.Write.
func (g *group) Lasts() bool { return g.isWritten() && g.journal.failure.get() == nil }

// failed is a change that no group has taken.
type failed struct {
	failure *failure
	err     error
}

// Wait implements shard.Write.
func (f failed) Wait() error { return f.failure.delayUntilReported(f.err) }

// Lasts implements shard.Write.
func (f failed) Lasts() bool { return false }

// add puts a change into the open group.
func (j *journal) add(change func(*pebble.Batch)) shard.Write {
	g, err := j.lockOpen()
	if err != nil {
		return failed{j.failure, err}
	}
	change(g.batch)
	if j.fsync == Always && g.batch.Count() == j.wanted || g.batch.Len() >= j.maxGroup {
		wake(j.enough)
	}
	j.mu.Unlock()
	j.expectTick() // only now: a tick that came before has not written this change
	if j.fsync == EverySecond {
		return nil
	}
	return g
}

// lockOpen locks mu and returns the open group. While that is full, which it is
// if the disk is slower than the requests, it waits, under a shard's lock. In an
// outage it does not: what comes then was on its way when the outage began, and a
// change that has been decided must not be left out.
func (j *journal) lockOpen() (*group, error) {
	for {
		if err := j.failure.get(); err != nil {
			return nil, err
		}
		j.mu.Lock()
		switch {
		case j.closed:
			j.mu.Unlock()
			return nil, errClosed
		case j.open == nil:
			j.open = j.newGroup()
			wake(j.opened)
			return j.open, nil
		case j.open.batch.Len() < j.maxGroup, j.watchdog.late.Load() > 0:
			return j.open, nil
		}
		taken, outage := j.open.taken, j.watchdog.outage.Load()
		j.mu.Unlock()
		select {
		case <-taken:
		case <-outage.begun:
		case <-j.failure.happened:
		}
	}
}

// newGroup expects the group to become as large as the one before.
func (j *journal) newGroup() *group {
	b := j.db.NewBatch(pebble.WithInitialSizeBytes(j.size))
	return &group{journal: j, batch: b, taken: make(chan struct{}), written: make(chan struct{})}
}

// take closes the open group to further changes and returns it, or nil.
func (j *journal) take() *group {
	j.mu.Lock()
	defer j.mu.Unlock()
	g := j.open
	if g == nil {
		return nil
	}
	j.open = nil
	j.wanted, j.size = g.batch.Count(), g.batch.Len()
	select {
	case <-j.enough:
	default:
	}
	close(g.taken)
	return g
}

// writeLoop writes groups, one after the other.
func (j *journal) writeLoop() {
	defer j.failure.recoverPanic()
	for took := time.Duration(0); ; {
		select {
		case <-j.closing:
			return
		case <-j.opened:
		}
		j.gather(took)
		start := time.Now()
		j.flush()
		took = time.Since(start)
	}
}

// gather lets the open group grow. With Always that is until it is as large as
// the one before, whose requests have been answered just now: then half of all
// clients wait for a sync, while the others' requests are under way. They may
// not come again, so it lasts half as long as the last write took at most.
func (j *journal) gather(took time.Duration) {
	select {
	case <-j.enough:
		return
	default:
	}
	wait := gatherTime
	if j.fsync == Always {
		wait = min(took/2, wait)
	}
	select {
	case <-j.enough:
	case <-time.After(wait):
	}
}

// flush writes the open group, after those that were taken before it.
func (j *journal) flush() {
	j.writing.Lock()
	defer j.writing.Unlock()
	if g := j.take(); g != nil {
		j.writes.begin()
		defer j.writes.end()
		j.counters.groups.Add(1)
		j.counters.changes.Add(uint64(g.batch.Count()))
		j.write(g.batch, j.fsync == Always)
		g.batch = nil // Pebble may have it back, and a shard keeps the group for a while
		close(g.written)
	}
}

// write writes a batch, and if sync is set waits until it is on disk. Pebble
// panics where its log has failed before.
func (j *journal) write(b *pebble.Batch, sync bool) {
	defer func() {
		p := recover()
		if bug, ok := p.(runtime.Error); ok {
			panic(bug)
		}
		if p != nil {
			j.failure.set(fmt.Errorf("writing the log: %v", p))
		}
	}()
	if j.failure.get() != nil {
		return
	}
	if err := j.apply(b, sync); err != nil {
		j.failure.set(fmt.Errorf("writing the log: %w", err))
		return
	}
	if sync {
		j.reached(uint64(b.SeqNum()) + uint64(b.Count()))
	}
	b.Close()
}

func (j *journal) apply(b *pebble.Batch, sync bool) error {
	if !sync {
		return j.db.Apply(b, pebble.NoSync)
	}
	defer j.counters.syncedSince(time.Now())
	// Apply would end the process, or never return, if the sync fails.
	if err := j.db.ApplyNoSyncWait(b, pebble.Sync); err != nil {
		return err
	}
	return b.SyncWait()
}

// reached says that all writes before a sequence number are on disk.
func (j *journal) reached(seq uint64) {
	for {
		synced := j.synced.Load()
		if seq <= synced || j.synced.CompareAndSwap(synced, seq) {
			return
		}
	}
}

// expectTick makes sure that a tick is to come.
func (j *journal) expectTick() {
	if j.changed.Load() || j.changed.Swap(true) {
		return
	}
	select {
	case j.wake <- time.Now():
	default:
	}
}

// wake wakes the receiver of a channel with room for one, now or when it looks.
func wake(receiver chan<- struct{}) {
	select {
	case receiver <- struct{}{}:
	default:
	}
}

// tickLoop ticks as long as there are changes. It sleeps while there are none.
func (j *journal) tickLoop() {
	defer j.failure.recoverPanic()
	for {
		var due time.Time
		select {
		case <-j.closing:
			return
		case changed := <-j.wake:
			due = changed.Add(tickInterval)
		}
		select {
		case <-j.closing:
			return
		case <-time.After(time.Until(due)):
			j.tick()
		}
	}
}

// tick writes what has changed, deletes what has expired, and syncs the log with
// a sync point at its end.
//
// changed is cleared before the group is taken, and set after a change was put into
// it. A change that comes in between then has a tick too many, never one too few:
//
//  1. add puts a change into the open group.
//  2. tick clears changed, takes the group and writes the change.
//  3. add sets changed: one more tick is to come, which finds nothing.
//
// If add set changed first, a change could be left without a tick, and with
// EverySecond without a sync, until the next one comes:
//
//  1. add finds changed set: a tick is to come.
//  2. tick clears changed, and takes a group without the change.
//  3. add puts the change into the next group, which no tick is going to sync.
func (j *journal) tick() {
	j.changed.Store(false)
	expired := j.takeExpired()
	j.flush() // it may still have a change of one that has expired
	j.deleteKeys(expired)
	b := j.db.NewBatch()
	b.LogData(appendSyncPoint(nil, j.synced.Load()), nil)
	j.writeOfTick(b, true)
}

// writeOfTick is write for what no request waits for. The watchdog is told of each
// one, not of the whole tick: to delete many keys takes long on a good disk, too.
func (j *journal) writeOfTick(b *pebble.Batch, sync bool) {
	j.ticks.begin()
	defer j.ticks.end()
	j.write(b, sync)
}

func (j *journal) takeExpired() []token.ID {
	j.expired.Lock()
	defer j.expired.Unlock()
	ids := j.expired.ids
	j.expired.ids = nil
	return ids
}

// deleteBatch is how many keys are deleted by one batch.
const deleteBatch = 1000

func (j *journal) deleteKeys(ids []token.ID) {
	for batch := range slices.Chunk(ids, deleteBatch) {
		b := j.db.NewBatch()
		for _, id := range batch {
			b.Delete(id[:], nil)
		}
		j.writeOfTick(b, false)
	}
}

// close lets no more changes in, and writes what is left.
func (j *journal) close() {
	j.stop()
	j.tick()
}

// stop lets no more changes in and ends the loops.
func (j *journal) stop() {
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	close(j.closing)
	j.loops.Wait()
}
