package durable

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"tokenserver/shard"
	"tokenserver/token"
)

// journal writes the changes of a shard.Store to Pebble.
type journal struct {
	db      *pebble.DB
	fsync   Fsync
	failure *failure

	// mu is held for reading by those who write, so that close waits for them.
	mu     sync.RWMutex
	closed bool

	// changed says that there are changes since the last tick; the first of them
	// wakes the ticks.
	changed atomic.Bool
	wake    chan struct{}
	// synced is a sequence number of Pebble's before which all writes are on disk.
	synced atomic.Uint64

	expired struct {
		sync.Mutex
		ids []token.ID
	}

	closing chan struct{}
	ticks   sync.WaitGroup
}

// tickInterval is the time from a change to the next tick, and with EverySecond
// how much a crash may take.
const tickInterval = time.Second

func newJournal(db *pebble.DB, fsync Fsync, f *failure) *journal {
	j := &journal{
		db: db, fsync: fsync, failure: f,
		wake: make(chan struct{}, 1), closing: make(chan struct{}),
	}
	j.ticks.Go(j.tickLoop)
	return j
}

// Save implements shard.Journal.
func (j *journal) Save(s *shard.State) shard.Write {
	b := j.db.NewBatch()
	op := b.SetDeferred(len(s.ID), recordLen(s))
	copy(op.Key, s.ID[:])
	appendRecord(op.Value[:0], s)
	return j.write(b)
}

// Forget implements shard.Journal.
func (j *journal) Forget(id token.ID) shard.Write {
	b := j.db.NewBatch()
	b.Delete(id[:], nil)
	return j.write(b)
}

// Expired implements shard.Journal. The key goes with the next tick: no later
// session gets the same id in that time but by a chance of 2^-64.
func (j *journal) Expired(id token.ID) {
	j.expired.Lock()
	j.expired.ids = append(j.expired.ids, id)
	j.expired.Unlock()
	j.expectTick()
}

func (j *journal) write(b *pebble.Batch) shard.Write {
	always := j.fsync == Always
	if err := j.enqueue(b, always); err != nil {
		return failed{j.failure, err}
	}
	j.expectTick() // only now: a tick that came before has not synced this write
	if !always {
		b.Close()
		return nil
	}
	return &write{journal: j, batch: b}
}

// enqueue appends a batch to the log and applies it. If sync is set, it has
// requested a sync, which the caller waits for. Pebble panics where its log has
// failed before.
func (j *journal) enqueue(b *pebble.Batch, sync bool) (err error) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	if err := j.failure.get(); err != nil {
		return err
	}
	if j.closed {
		return errClosed
	}
	defer func() {
		if p := recover(); p != nil {
			err = j.failure.set(fmt.Errorf("writing the log: %v", p))
		}
	}()
	if sync {
		err = j.db.ApplyNoSyncWait(b, pebble.Sync)
	} else {
		err = j.db.Apply(b, pebble.NoSync)
	}
	if err != nil {
		return j.failure.set(err)
	}
	return nil
}

// write is a change whose sync was requested.
type write struct {
	journal *journal
	batch   *pebble.Batch
}

// Wait implements shard.Write.
func (w *write) Wait() error { return w.journal.failure.hold(w.sync()) }

func (w *write) sync() error {
	b, j := w.batch, w.journal
	if err := b.SyncWait(); err != nil {
		return j.failure.set(fmt.Errorf("writing the log: %w", err))
	}
	j.reached(uint64(b.SeqNum()) + uint64(b.Count()))
	b.Close()
	return j.failure.get()
}

// failed is a change that could not be enqueued.
type failed struct {
	failure *failure
	err     error
}

// Wait implements shard.Write.
func (f failed) Wait() error { return f.failure.hold(f.err) }

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
	case j.wake <- struct{}{}:
	default:
	}
}

// tickLoop ticks as long as there are changes. It sleeps while there are none.
func (j *journal) tickLoop() {
	for {
		select {
		case <-j.closing:
			return
		case <-j.wake:
		}
		select {
		case <-j.closing:
			return
		case <-time.After(tickInterval):
			j.tick()
		}
	}
}

// tick deletes what has expired, and syncs the log with a mark at its end.
func (j *journal) tick() {
	j.changed.Store(false)
	j.deleteExpired()
	b := j.db.NewBatch()
	b.LogData(appendMark(nil, j.synced.Load()), nil)
	if err := j.enqueue(b, true); err == nil {
		(&write{journal: j, batch: b}).sync()
	}
}

// deleteBatch is how many keys are deleted by one batch.
const deleteBatch = 1000

func (j *journal) deleteExpired() {
	j.expired.Lock()
	ids := j.expired.ids
	j.expired.ids = nil
	j.expired.Unlock()
	for len(ids) > 0 {
		n := min(len(ids), deleteBatch)
		b := j.db.NewBatch()
		for _, id := range ids[:n] {
			b.Delete(id[:], nil)
		}
		if err := j.enqueue(b, false); err != nil {
			return
		}
		b.Close()
		ids = ids[n:]
	}
}

// close ends the ticks, writes what is left and lets no more in.
func (j *journal) close() {
	close(j.closing)
	j.ticks.Wait()
	j.tick()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
}
