package valkey

import (
	"context"
	"errors"
	"time"

	"github.com/redis/rueidis"

	"tokenserver/token"
)

// maxPipeline is how many operations are sent together.
const maxPipeline = 1024

// Batch carries out the items of b. Those of different sessions travel in one pipeline; an item
// is sent when the one before it of the same session is complete. Each has the outcome that the
// method of its name would have, and none touches another. Its error says that there is no
// engine yet.
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

// runAll carries out operations, in pipelines. Those of one session are carried out in their
// order, each when the one before it is complete.
func (s *Store) runAll(operations []operation) {
	if err := s.notConnected(); err != nil {
		for _, op := range operations {
			op.fail(err)
		}
		return
	}
	p := pipeline{call: s.newCall()}
	p.init(operations)
	defer p.leave()
	for len(p.active) > 0 && p.round() {
	}
}

// pipeline is operations that are carried out together, in rounds: each round is one step of
// each that may have one.
type pipeline struct {
	call
	active  []*running
	waiting map[string][]*running // those behind an active one, by their key
	entered map[*bulkhead]error
}

// init makes the first operation of each key active, unless too many calls to its primary are
// under way.
func (p *pipeline) init(operations []operation) {
	all := make([]running, len(operations))
	p.waiting = make(map[string][]*running, len(operations))
	p.entered = make(map[*bulkhead]error, 1)
	for i, op := range operations {
		r := &all[i]
		r.operation = op
		key := op.step("").keys[0]
		if err := p.enter(r, key); err != nil {
			op.fail(err)
			continue
		}
		queue, busy := p.waiting[key]
		if busy {
			p.waiting[key] = append(queue, r)
			continue
		}
		p.waiting[key] = nil
		p.active = append(p.active, r)
	}
}

// enter begins a call to the primary of a key, if there is none yet.
func (p *pipeline) enter(r *running, key string) error {
	r.bulkhead = p.store.bulkheads.of(key)
	err, entered := p.entered[r.bulkhead]
	if !entered {
		err = r.bulkhead.enter()
		p.entered[r.bulkhead] = err
	}
	return err
}

func (p *pipeline) leave() {
	for b, err := range p.entered {
		if err == nil {
			b.leave()
		}
	}
}

// round sends a step of each active operation, and returns whether there are more.
func (p *pipeline) round() bool {
	results := p.send(p.active)
	if len(results) > 1 && errors.Is(results[0].NonRedisError(), rueidis.ErrNoSlot) {
		results = p.sendApart()
	}
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

// send sends a step of each of some operations.
func (p *pipeline) send(some []*running) []rueidis.RedisResult {
	commands, failing := make([]rueidis.Completed, len(some)), false
	for i, r := range some {
		commands[i] = r.command(&p.call)
		failing = failing || p.failing(r.bulkhead)
	}
	return p.store.doMulti(p.ctx, failing, commands)
}

// sendApart sends a step of each active operation, to one primary after the other: the client
// sends nothing at all if a slot of one of them has no primary.
func (p *pipeline) sendApart() []rueidis.RedisResult {
	results := make([]rueidis.RedisResult, len(p.active))
	places := make(map[*bulkhead][]int)
	for i, r := range p.active {
		places[r.bulkhead] = append(places[r.bulkhead], i)
	}
	for _, at := range places {
		some := make([]*running, len(at))
		for i := range at {
			some[i] = p.active[at[i]]
		}
		for i, result := range p.send(some) {
			results[at[i]] = result
		}
	}
	return results
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
	for _, r := range p.active {
		r.end(unavailable(p.ctx.Err(), r.reached))
	}
	for _, queue := range p.waiting {
		for _, r := range queue {
			r.end(unavailable(p.ctx.Err(), false))
		}
	}
	return false
}
