package valkey

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"tokenserver/token"
)

// maxPipeline is how many operations are sent together.
const maxPipeline = 1024

// Batch carries out the items of b. Those of different sessions travel in one pipeline to each
// primary, beside each other; an item is sent when the one before it of the same session is
// complete. Each has the outcome that the method of its name would have, and none touches
// another. Its error says that there is no engine yet.
func (s *Store) Batch(_ context.Context, b *token.Batch) error {
	if err := s.notConnected(); err != nil {
		return err
	}
	r := batchRun{store: s, batch: b}
	for r.next < len(b.Items) {
		if !b.MakeRoom() {
			b.RefuseFrom(r.next)
			break
		}
		r.window()
	}
	return nil
}

// batchRun is a batch that is carried out, window by window: items that are sure to have room
// for their outcomes.
type batchRun struct {
	store *Store
	batch *token.Batch
	next  int // the first item that is not carried out yet
	seen  int // bytes of the largest outcome so far
}

// batched is an item that is carried out.
type batched struct {
	item     *token.BatchItem
	exchange *exchange
	look     *look
	create   *create
	removal  *removal
}

// window carries out the next items.
func (r *batchRun) window() {
	var items []batched
	var operations []operation
	for room := r.room(); room > 0 && r.next < len(r.batch.Items) && len(items) < maxPipeline; r.next++ {
		item := &r.batch.Items[r.next]
		if item.Err != nil {
			continue
		}
		if item.Op == token.OpExchange || item.Op == token.OpValidate {
			room--
		}
		if op, b := r.prepare(item); op != nil {
			items, operations = append(items, b), append(operations, op)
		}
	}
	r.store.runAll(operations)
	for i := range items {
		r.finish(&items[i])
	}
}

// room returns how many outcomes fit, as far as can be told before they are there: the size
// of the largest so far, and twice the usual one.
func (r *batchRun) room() int {
	b := r.batch
	if b.Limit == 0 {
		return len(b.Items)
	}
	size := max(r.seen, 2*int(r.store.metaSize.bytes.Load()), 64)
	return 1 + (b.Limit-len(b.Buf)-1)/size
}

// prepare returns the operation of an item, or nil if it has an outcome without one.
func (r *batchRun) prepare(item *token.BatchItem) (operation, batched) {
	b, s := batched{item: item}, r.store
	switch item.Op {
	case token.OpCreate:
		if b.create, item.Err = s.newCreate(item.NewSession()); item.Err != nil {
			return nil, b
		}
		return b.create, b
	case token.OpExchange:
		b.exchange = s.newExchange(item.Token, item.Patch())
		return b.exchange, b
	case token.OpValidate:
		b.look = s.newLook(item.Token)
		return b.look, b
	}
	b.removal = s.newRemoval(item.Token)
	return b.removal, b
}

// finish sets the outcome of an item.
func (r *batchRun) finish(b *batched) {
	item, before := b.item, len(r.batch.Buf)
	switch {
	case b.create != nil:
		item.Token, item.Err = b.create.token, b.create.err
	case b.removal != nil:
		item.Err = b.removal.err
	case b.look != nil:
		if item.Err = b.look.err; item.Err == nil {
			item.Expires = b.look.expires
			r.batch.Buf = r.store.merged(r.batch.Buf, b.look.value.content, "")
		}
	default:
		if item.Err = b.exchange.err; item.Err == nil {
			item.Token, item.Reused = b.exchange.next, b.exchange.reused
			r.batch.Buf = append(r.batch.Buf, b.exchange.dst...)
		}
	}
	if item.Err != nil {
		item.Token = token.Token{}
	}
	item.MetaLen = len(r.batch.Buf) - before
	r.seen = max(r.seen, item.MetaLen)
}

// runAll carries out operations, in a pipeline for each primary, which wait for no other. Those of
// one session are carried out in their order, each when the one before it is complete.
func (s *Store) runAll(operations []operation) {
	if err := s.notConnected(); err != nil {
		for _, op := range operations {
			op.fail(err)
		}
		return
	}
	pipelines := s.pipelines(operations)
	if len(pipelines) == 1 {
		pipelines[0].run()
		return
	}
	runs := make([]func(), len(pipelines))
	for i, p := range pipelines {
		runs[i] = p.run
	}
	beside(runs...)
}

// pipelines returns operations as a pipeline for each primary.
func (s *Store) pipelines(operations []operation) (list []*pipeline) {
	all, of := make([]running, len(operations)), make(map[*bulkhead]*pipeline, 1)
	owner := s.bulkheads.cluster.Load() // one for all: those of a session must not be parted while slots move
	for i, op := range operations {
		key := op.step("").keys[0]
		b := s.bulkheads.ofSlot(owner, key)
		all[i] = running{operation: op, bulkhead: b}
		p := of[b]
		if p == nil {
			p = &pipeline{call: s.newCall(), bulkhead: b, waiting: make(map[string][]*running, len(operations))}
			of[b], list = p, append(list, p)
		}
		p.add(key, &all[i])
	}
	return list
}

// beside calls functions at the same time. It panics if one of them does: where it is called, that is
// recovered.
func beside(runs ...func()) {
	var ends sync.WaitGroup
	var panicked atomic.Pointer[any]
	for _, run := range runs {
		ends.Go(func() {
			defer func() {
				if value := recover(); value != nil {
					panicked.Store(&value)
				}
			}()
			run()
		})
	}
	ends.Wait()
	if value := panicked.Load(); value != nil {
		panic(*value)
	}
}

// pipeline is operations at one primary that are carried out together, in rounds: each round is
// one step of each that may have one.
type pipeline struct {
	call
	bulkhead *bulkhead
	active   []*running
	waiting  map[string][]*running // those behind an active one, by their key
}

// add adds an operation, which is active if it is the first one of its key.
func (p *pipeline) add(key string, r *running) {
	queue, busy := p.waiting[key]
	if busy {
		p.waiting[key] = append(queue, r)
		return
	}
	p.waiting[key] = nil
	p.active = append(p.active, r)
}

// run carries out all operations, unless too many calls to the primary are under way.
func (p *pipeline) run() {
	if err := p.bulkhead.enter(); err != nil {
		p.endAll(func(*running) error { return err })
		return
	}
	defer p.bulkhead.leave()
	p.rounds()
}

func (p *pipeline) rounds() {
	for len(p.active) > 0 && p.round() {
	}
}

// endAll ends all that is left.
func (p *pipeline) endAll(reason func(*running) error) {
	for _, r := range p.active {
		r.end(reason(r))
	}
	for _, queue := range p.waiting {
		for _, r := range queue {
			r.end(reason(r))
		}
	}
}

// round sends a step of each active operation, and returns whether there are more.
func (p *pipeline) round() bool {
	if orphaned := p.divide(); orphaned != nil {
		beside(p.rounds, orphaned.rounds)
		return false
	}
	results := p.send()
	var pause time.Duration
	next := p.active[:0]
	for i, r := range p.active {
		key := r.current.keys[0]
		if !r.accept(&p.call, results[i]) {
			next, pause = append(next, r), max(pause, r.pause)
		} else if queue := p.waiting[key]; len(queue) > 0 {
			next, p.waiting[key] = append(next, queue[0]), queue[1:]
		}
	}
	p.active = next
	return len(p.active) > 0 && p.rest(pause)
}

// send sends a step of each active operation.
func (p *pipeline) send() []rueidis.RedisResult {
	commands := make([]rueidis.Completed, len(p.active))
	for i, r := range p.active {
		commands[i] = r.command(&p.call)
	}
	return p.store.doMulti(p.ctx, p.failing(p.bulkhead), commands)
}

// divide takes out the operations whose slots have no primary, and returns them; or nil if those are
// none, or all. Of commands that have such a slot among them the client sends none.
func (p *pipeline) divide() *pipeline {
	b := &p.store.bulkheads
	if b.orphans.Load() == nil {
		return nil
	}
	orphaned := &pipeline{call: p.call, bulkhead: p.bulkhead, waiting: make(map[string][]*running)}
	served := make([]*running, 0, len(p.active))
	for _, r := range p.active {
		if key := r.step(p.deadline).keys[0]; b.isOrphaned(key) {
			orphaned.active, orphaned.waiting[key] = append(orphaned.active, r), p.waiting[key]
		} else {
			served = append(served, r)
		}
	}
	if len(served) == 0 || len(orphaned.active) == 0 {
		return nil
	}
	for key := range orphaned.waiting {
		delete(p.waiting, key)
	}
	p.active = served
	return orphaned
}

// rest waits before the next round. It returns false, and ends all that is left, if there is
// none.
func (p *pipeline) rest(pause time.Duration) bool {
	if pause > 0 {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.ctx.Done():
		}
	}
	if p.ctx.Err() == nil {
		return true
	}
	p.endAll(func(r *running) error { return unavailable(p.ctx.Err(), r.reached) })
	return false
}
