package client

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// kind says what a call asks for.
type kind int

const (
	create kind = iota
	exchange
	validate
	remove
	list // from here on, those that travel alone
	endSubject
)

// requests has the request of each kind, and its name in a batch.
var requests = [...]struct{ method, path, item string }{
	create:   {"POST", "/token", "create"},
	exchange: {"PUT", "/token", "exchange"},
	validate: {"POST", "/token/validate", "validate"},
	remove:   {"DELETE", "/token", "delete"},

	list:       {method: "POST", path: "/subject/sessions"},
	endSubject: {method: "DELETE", path: "/subject"},
}

// changes says whether a call of this kind changes anything.
func (k kind) changes() bool { return k != validate && k != list }

// repeats says whether it does no harm to carry out a call of this kind once more.
func (k kind) repeats() bool { return !k.changes() || k == remove }

// call is one call that can travel with others.
type call struct {
	kind    kind
	body    []byte // of the request of its own
	lone    bool   // its caller sends it
	expires time.Time

	state atomic.Int32
	// done has room for one: the call has ended, and what follows is set.
	done chan struct{}
	err  error
	result
	late *time.Timer // of its caller, who waits until expires; nil until it is needed

	// Of whoever sends it.
	last      error // why it was not carried out
	maybe     bool  // it may have been carried out
	refreshed int   // how often it was sent again for another secret or certificate
	// request is the one that it is part of, until it has left it.
	request atomic.Pointer[shared]
}

// result is what a call returns.
type result struct {
	token     string
	meta      json.RawMessage
	reused    bool
	expiresIn int64 // in seconds
}

// States of a call. Whoever sends it, and its caller, who may give up, change them.
const (
	waiting   int32 = iota // it has not been sent, or was not carried out
	unsure                 // it may have been carried out, and is to be sent again
	sent                   // it is under way
	done                   // it has ended
	abandoned              // its caller has given up, and nobody may use it again
)

func (c *Client) newCall(k kind) *call {
	r := c.calls.Get().(*call)
	r.kind = k
	return r
}

// maxKept is the size in bytes up to which buffers are kept.
const maxKept = 64 << 10

// free gives a call back that has ended with success.
func (c *Client) free(r *call) {
	if cap(r.body) > maxKept {
		r.body = nil
	}
	r.result, r.lone, r.last, r.maybe, r.refreshed = result{}, false, nil, false, 0
	r.state.Store(waiting)
	r.request.Store(nil)
	c.calls.Put(r)
}

// claim says that the call is about to be sent, unless it was abandoned.
func (r *call) claim() bool {
	return r.state.CompareAndSwap(waiting, sent) || r.state.CompareAndSwap(unsure, sent)
}

// release says that the call is to be sent again.
func (r *call) release() {
	if r.maybe {
		r.state.CompareAndSwap(sent, unsure)
	} else {
		r.state.CompareAndSwap(sent, waiting)
	}
}

// end ends the call, unless it was abandoned.
func (r *call) end(err error) {
	r.err = err
	for {
		state := r.state.Load()
		if state == abandoned {
			return
		}
		if r.state.CompareAndSwap(state, done) {
			break
		}
	}
	if !r.lone {
		r.done <- struct{}{}
	}
}

// expire ends a call for which there is no time any more, or no server, and says why:
// it was never carried out, or may have been.
func (r *call) expire(why error) {
	switch {
	case r.maybe:
		r.end(&Error{Kind: ErrOutcomeUnknown, Cause: r.last})
	case errors.As(why, new(*Error)):
		r.end(why)
	default:
		r.end(notDone(why, r.last))
	}
}

// shared is a request that calls share. It is canceled once nobody waits for it.
type shared struct {
	waiting atomic.Int32
	cancel  context.CancelFunc
}

// leave takes a call out of the request that it is part of, once.
func (r *call) leave() {
	if s := r.request.Swap(nil); s != nil {
		s.leave()
	}
}

func (s *shared) leave() {
	if s.waiting.Add(-1) == 0 {
		s.cancel()
	}
}

// queue has the calls that wait behind those under way.
type queue struct {
	maxItems, maxBytes int
	maxFlights         int

	mu      sync.Mutex // guards what follows
	waiting []*call
	flights int // requests, or batches of them, that are under way
}

func (q *queue) init(maxItems, maxBytes, maxFlights int) {
	q.maxItems, q.maxBytes, q.maxFlights = maxItems, maxBytes, maxFlights
}

// enter lets a call leave at once, or puts it behind those under way.
func (q *queue) enter(r *call) (leaves bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.flights < q.maxFlights && len(q.waiting) == 0 {
		q.flights++
		r.lone = true
		return true
	}
	q.waiting = append(q.waiting, r)
	return false
}

// frame is at least what is around a call in a batch, in bytes.
const frame = len(`{"exchange":},`)

// next takes the calls that leave now that others have landed, beside those that are to
// be sent again. Without any, there is one flight less.
func (q *queue) next(again []*call) []*call {
	q.mu.Lock()
	defer q.mu.Unlock()
	into := again
	taken, size := 0, len(batchHead)+len(batchTail)
	for _, r := range again {
		size += len(r.body) + frame
	}
	for _, r := range q.waiting {
		size += len(r.body) + frame
		if len(into) == q.maxItems || len(into) > 0 && size > q.maxBytes {
			break
		}
		taken++
		if r.state.Load() != abandoned {
			into = append(into, r)
		}
	}
	left := copy(q.waiting, q.waiting[taken:])
	clear(q.waiting[left:])
	q.waiting = q.waiting[:left]
	if len(into) == 0 {
		q.flights--
	}
	return into
}

// do makes a call. If it returns an error, the call must not be used again.
func (c *Client) do(ctx context.Context, r *call) error {
	if err := ctx.Err(); err != nil {
		return notDone(err, nil)
	}
	if c.ctx.Err() != nil {
		return ErrClosed
	}
	now := time.Now()
	c.begin(now)
	r.expires = now.Add(c.cfg.Timeout)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(r.expires) {
		r.expires = deadline
	}
	switch {
	case r.kind >= list:
		return c.alone(ctx, r)
	case c.queue.enter(r) && !c.first(ctx, r):
		c.land(nil)
		return r.err
	case r.lone: // from now on it travels with others
		r.lone = false
		c.land([]*call{r})
	}
	return r.await(ctx)
}

// alone sends a call that nothing else travels with.
func (c *Client) alone(ctx context.Context, r *call) error {
	r.lone = true
	ctx, cancel := context.WithDeadline(ctx, r.expires)
	defer cancel()
	for attempt := 0; c.carryOne(ctx, r, attempt); attempt++ {
	}
	return r.err
}

// first sends a call that has found nothing under way, and says whether it is to be
// sent again.
func (c *Client) first(ctx context.Context, r *call) (again bool) {
	ctx, cancel := context.WithDeadline(ctx, r.expires)
	defer cancel()
	again = c.carryOne(ctx, r, 0)
	if err := endOf(ctx); again && err != nil {
		r.expire(notDone(err, nil))
		return false
	}
	return again
}

// land lets calls go that have gathered behind one that was alone, and with them those
// that are to be sent again.
func (c *Client) land(again []*call) {
	calls := c.queue.next(again)
	if len(calls) > 0 && !c.goBackground(func() { c.fly(calls, len(again)) }) {
		for ; len(calls) > 0; calls = c.queue.next(calls[:0]) {
			for _, r := range calls {
				r.end(ErrClosed)
			}
		}
	}
}

// fly sends calls, and then those that have gathered meanwhile. Calls that are to be
// sent again hold up no others but for the pause.
func (c *Client) fly(calls []*call, attempt int) {
	for len(calls) > 0 {
		again := c.carryOnce(calls, attempt)
		attempt++
		if len(again) == 0 {
			attempt = 0
		}
		calls = c.queue.next(again)
	}
}

// await returns how a call has ended that somebody else sends, or that its time has,
// or ctx.
func (r *call) await(ctx context.Context) error {
	left := time.Until(r.expires)
	if r.late == nil {
		r.late = time.NewTimer(left)
	} else {
		r.late.Reset(left)
	}
	defer r.late.Stop()
	select {
	case <-r.done:
		return r.err
	case <-r.late.C:
		return r.abandon(context.DeadlineExceeded)
	case <-ctx.Done():
		return r.abandon(ctx.Err())
	}
}

// abandon gives up a call that somebody else sends, unless it has ended.
func (r *call) abandon(why error) error {
	switch r.state.Swap(abandoned) {
	case done:
		<-r.done
		return r.err
	case sent:
		r.leave()
		if r.kind.changes() {
			return &Error{Kind: ErrOutcomeUnknown, Cause: why}
		}
	case unsure:
		return &Error{Kind: ErrOutcomeUnknown, Cause: why}
	case waiting:
		return notDone(why, r.last)
	}
	return notDone(why, nil)
}
