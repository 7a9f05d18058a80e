package shard

import (
	"context"
	"slices"

	"tokenserver/internal/metadata"
	"tokenserver/token"
)

// A batch is carried out in windows: some items whose shards are all locked at once,
// so that their sessions can be looked up side by side. With millions of sessions an
// exchange is mostly waiting for memory, and the waits of a window overlap.
//
// A window is small: with more locks at a time, batches wait for each other. On two
// processors with 64 shards, 8 locks took longer than none beside others.
const windowItems = 2

// Batch carries out the items of b, and waits once until all that they have changed
// lasts. Items of one session are carried out in their order. Each has the outcome
// that the method of its name would have, and none touches another. Batch returns nil.
func (s *Store) Batch(_ context.Context, b *token.Batch) error {
	r := s.runs.Get().(*batchRun)
	defer r.release()
	r.store, r.batch = s, b
	for r.next < len(b.Items) {
		r.window()
	}
	r.wait()
	return nil
}

// batchRun is a batch that is carried out.
type batchRun struct {
	store *Store
	batch *token.Batch
	next  int // the first item that is not carried out yet

	items  [windowItems]windowItem
	n      int              // of items
	shards [windowItems]int // the numbers of theirs, each once
	locks  int              // of shards
	// looseShards are those in which the window has freed something.
	looseShards []*shard
	writes      []batchWrite
	loaded      uint64 // keeps the compiler from leaving out loads that nothing else needs
}

// windowItem is an item of the window.
type windowItem struct {
	at     int // in the batch
	shard  *shard
	x      exchangeArgs
	next   token.Token // what an exchange answers
	patch  metadata.Object
	record recordIndex
	exists bool
}

// batchWrite is a change that items of a batch rest on.
type batchWrite struct {
	write      Write
	first, end int // items of the batch
}

// keptWrites is how many writes' memory a batchRun keeps.
const keptWrites = 256

func (r *batchRun) release() {
	for i := range r.items {
		r.items[i].patch.Reset()
	}
	runs := &r.store.runs
	clear(r.writes)
	if r.writes = r.writes[:0]; cap(r.writes) > keptWrites {
		r.writes = nil
	}
	clear(r.looseShards)
	r.looseShards = r.looseShards[:0]
	r.store, r.batch, r.next = nil, nil, 0
	runs.Put(r)
}

// window carries out the next items: as many as fit into a window, but no more once
// one needs what can't be done under the locks.
func (r *batchRun) window() {
	if !r.batch.MakeRoom() {
		r.batch.RefuseFrom(r.next)
		r.next = len(r.batch.Items)
		return
	}
	r.gather()
	if stopped := r.carryOut(); stopped {
		r.carryOutAlone(&r.batch.Items[r.next])
		r.next++
	}
}

// gather fills the window from the next item on, and prepares what takes no lock. A
// create is carried out alone, before a window. r.next goes past the window.
func (r *batchRun) gather() {
	r.n, r.locks = 0, 0
	now := r.store.now()
	for ; r.next < len(r.batch.Items) && r.n < windowItems; r.next++ {
		item := &r.batch.Items[r.next]
		switch {
		case item.Err != nil:
		case item.Op != token.OpCreate:
			r.addShard(r.store.shardNumber(item.Token.ID))
			r.prepare(&r.items[r.n], item, now)
			r.n++
		case r.n == 0:
			r.carryOutAlone(item)
		default:
			return
		}
	}
}

// addShard takes a shard into the window, once.
func (r *batchRun) addShard(number int) {
	if !slices.Contains(r.shards[:r.locks], number) {
		r.shards[r.locks] = number
		r.locks++
	}
}

func (r *batchRun) prepare(w *windowItem, item *token.BatchItem, now timestamp) {
	w.at, w.shard = r.next, r.store.shard(item.Token.ID)
	w.x = exchangeArgs{credential: credential{id: item.Token.ID, now: now}}
	if item.Op != token.OpExchange {
		w.x.digest = item.Token.Digest()
		return
	}
	w.next = r.store.next(item.Token)
	w.x.digest, w.x.new = token.Digests(item.Token, w.next)
	if patch := item.Patch(); !patch.IsZero() {
		w.patch.SplitPatch(patch.Meta, patch.Unset)
		w.x.patch = &w.patch
	}
}

// carryOut carries the window out, under the locks of its shards. It returns true if
// it has stopped before an item that is to be carried out alone. r.next is then that,
// or where the batch got full.
//
// The steps of compaction that are due after it come when all locks are released, so
// that none of them holds up the requests of other shards.
func (r *batchRun) carryOut() (stopped bool) {
	slices.Sort(r.shards[:r.locks]) // the order of the locks
	r.looseShards = r.looseShards[:0]
	stopped = r.carryOutUnder(r.shards[:r.locks])
	for _, sh := range r.looseShards {
		sh.lock()
		sh.unlock()
	}
	return stopped
}

// carryOutUnder takes the locks of some shards, one after the other, and carries the
// window out. Each lock is released whatever becomes of the others.
func (r *batchRun) carryOutUnder(shards []int) (stopped bool) {
	if len(shards) == 0 {
		return r.carryOutAllLocked()
	}
	sh := &r.store.shards[shards[0]]
	sh.lock()
	defer sh.mu.Unlock()
	stopped = r.carryOutUnder(shards[1:])
	if sh.loose {
		r.looseShards = append(r.looseShards, sh)
	}
	return stopped
}

// carryOutAllLocked carries the window out. It requires the write locks of its shards.
func (r *batchRun) carryOutAllLocked() (stopped bool) {
	r.load()
	for i := range r.items[:r.n] {
		w := &r.items[i]
		if full := r.batch.Full(); full || !r.carryOutLocked(w, &r.batch.Items[w.at]) {
			r.next = w.at
			return !full
		}
	}
	return false
}

// load reads what the items will need. Each of its loops asks for memory that does not
// depend on what the loop before it has asked for last, so that the processor waits
// for all of it at once. It requires the locks.
func (r *batchRun) load() {
	items := r.items[:r.n]
	for i := range items {
		w := &items[i]
		w.record, w.exists = w.shard.sessions.get(w.x.id)
	}
	sum := uint64(0)
	for i := range items {
		if w := &items[i]; w.exists {
			sum += uint64(w.shard.records.at(w.record).heapIndex)
		}
	}
	for i := range items {
		if w := &items[i]; w.exists {
			record := w.shard.records.at(w.record)
			sum += uint64(w.shard.heap.at(record.heapIndex).deadline)
			sum += uint64(w.shard.meta.block(record.block)[0])
		}
	}
	r.loaded += sum
}

// carryOutLocked carries out an item, and sets its outcome. It returns false, and has
// changed nothing, if that takes what can't be done under the locks. It requires the
// lock of the item's shard.
func (r *batchRun) carryOutLocked(w *windowItem, item *token.BatchItem) bool {
	var write Write
	var err error
	buf := r.batch.Buf
	switch item.Op {
	case token.OpExchange:
		if buf, _, write, err = w.shard.exchangeLocked(&w.x, buf); err == nil {
			item.Token = w.next // it was the current one: a replay takes its successors
		}
	case token.OpValidate:
		var d timestamp
		if buf, d, write, err = w.shard.validateLocked(&w.x.credential, buf); err == nil {
			item.Expires = r.store.rules.clock.Last().Time(d)
		}
	case token.OpDelete:
		write, err = w.shard.deleteLocked(&w.x.credential)
	}
	if err == errUnproven || err == token.ErrFull {
		return false
	}
	r.finish(w.at, buf, write, err)
	return true
}

// carryOutAlone carries out an item as the method of its name does, but for the wait.
func (r *batchRun) carryOutAlone(item *token.BatchItem) {
	var write Write
	var err error
	buf := r.batch.Buf
	switch item.Op {
	case token.OpCreate:
		item.Token, write, err = r.store.create(item.NewSession())
	case token.OpExchange:
		var x token.ExchangeResult
		x, write, err = r.store.exchange(item.Token, item.Patch(), buf)
		item.Token, item.Reused, buf = x.Token, x.Reused, x.Meta
	case token.OpValidate:
		buf, item.Expires, write, err = r.store.validate(item.Token, buf)
	case token.OpDelete:
		write = r.store.delete(item.Token)
	}
	r.finish(r.next, buf, write, err)
}

// finish sets the outcome of the item at i, and remembers what it rests on.
func (r *batchRun) finish(i int, buf []byte, w Write, err error) {
	item := &r.batch.Items[i]
	item.Err, item.MetaLen = err, len(buf)-len(r.batch.Buf)
	r.batch.Buf = buf
	if w == nil {
		return
	}
	if n := len(r.writes); n > 0 && r.writes[n-1].write == w && r.writes[n-1].end == i {
		r.writes[n-1].end++
		return
	}
	r.writes = append(r.writes, batchWrite{w, i, i + 1})
}

// wait waits until all lasts. What does not has no outcome but that: its metadata is
// taken out of the batch's.
func (r *batchRun) wait() {
	failed := false
	for _, w := range r.writes {
		if err := w.write.Wait(); err != nil {
			failed = true
			for i := w.first; i < w.end; i++ {
				r.batch.Items[i].Err = err
			}
		}
	}
	if failed {
		r.batch.DropFailed()
	}
}
