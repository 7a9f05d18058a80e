package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// What is around the items of a batch.
const (
	batchHead = `{"batch":[`
	batchTail = `]}`
)

// carry sends calls until each has ended.
func (c *Client) carry(calls []*call) {
	for attempt := 0; len(calls) > 0; attempt++ {
		calls = c.carryOnce(calls, attempt)
	}
}

// carryOne sends a call whose caller waits for nothing else once, and says whether it
// is to be sent again.
func (c *Client) carryOne(ctx context.Context, r *call, attempt int) (again bool) {
	s, ended := c.choose(ctx, attempt, r.kind < list)
	if s == nil {
		r.expire(ended)
		return false
	}
	r.claim()
	again = c.sendOne(ctx, s, r)
	if again {
		r.release()
	}
	return again
}

// carryOnce sends calls once, and returns those that are to be sent again.
func (c *Client) carryOnce(calls []*call, attempt int) (again []*call) {
	ctx, cancel := context.WithDeadline(c.ctx, latest(calls))
	defer cancel()
	s, ended := c.choose(ctx, attempt, true)
	if s == nil {
		for _, r := range calls {
			r.expire(ended)
		}
		return nil
	}
	calls = claim(calls, &shared{cancel: cancel})
	switch len(calls) {
	case 0:
		c.servers.release(s)
		return nil
	case 1:
		if !c.sendOne(ctx, s, calls[0]) {
			return nil
		}
		again = calls
	default:
		again = c.sendBatch(ctx, s, calls)
	}
	for _, r := range again {
		r.release()
	}
	return again
}

// claim returns the calls that can be sent: neither abandoned nor out of time.
func claim(calls []*call, as *shared) []*call {
	now := time.Now()
	as.waiting.Store(int32(len(calls)) + 1)
	defer as.leave()
	return slices.DeleteFunc(calls, func(r *call) bool {
		r.request.Store(as)
		late := !now.Before(r.expires)
		if late {
			r.expire(context.DeadlineExceeded)
		}
		if late || !r.claim() {
			r.leave()
			return true
		}
		return false
	})
}

func latest(calls []*call) (t time.Time) {
	for _, r := range calls {
		if r.expires.After(t) {
			t = r.expires
		}
	}
	return t
}

// Pauses before a call is sent again, once each server had a try.
const (
	minPause = 5 * time.Millisecond
	maxPause = 500 * time.Millisecond
)

// choose returns the server for an attempt, as pick does, or why there is none.
func (c *Client) choose(ctx context.Context, attempt int, counted bool) (*server, error) {
	if n := attempt - len(c.servers.all); n >= 0 {
		sleep(ctx, jitter(min(minPause<<min(n, 16), maxPause)))
	}
	return c.servers.pick(ctx, counted)
}

// jitter returns a time between half of d and d, so that clients don't come back all
// at once.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// buffers are for the bodies of batches and of all answers.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

func getBuffer() *[]byte { return buffers.Get().(*[]byte) }

func putBuffer(b *[]byte) {
	if cap(*b) <= maxKeptBatch {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

// maxKeptBatch is the size in bytes up to which the buffer of a batch is kept.
const maxKeptBatch = 4 << 20

// sendOne sends a call as the request of its own, and says whether it is to be sent
// again.
func (c *Client) sendOne(ctx context.Context, s *server, r *call) (again bool) {
	buf := getBuffer()
	defer putBuffer(buf)
	rep := s.roundTrip(ctx, requests[r.kind].method, requests[r.kind].path, r.body, buf)
	if r.kind < list {
		c.servers.release(s)
	}
	if rep.kept {
		r.body = slices.Clone(r.body) // the transport may still read the other
	}
	if rep.err != nil {
		c.blame(ctx, s, &rep)
		return c.lost(s, r, &rep)
	}
	a, ok := parseSingle(r.kind, &rep)
	if !ok {
		return c.garbled(s, r, rep.status)
	}
	return c.settle(s, r, &a)
}

// sendBatch sends calls as a batch, and returns those that are to be sent again.
func (c *Client) sendBatch(ctx context.Context, s *server, calls []*call) (again []*call) {
	body, buf := getBuffer(), getBuffer()
	defer putBuffer(buf)
	*body = appendBatch((*body)[:0], calls)
	rep := s.roundTrip(ctx, "POST", "/token/batch", *body, buf)
	c.servers.release(s)
	if !rep.kept {
		putBuffer(body)
	}
	if rep.err != nil {
		c.blame(ctx, s, &rep)
	}
	switch {
	case rep.status == http.StatusOK:
		return c.deal(s, calls, &rep)
	case rep.err != nil:
		return slices.DeleteFunc(calls, func(r *call) bool { return !c.lost(s, r, &rep) })
	}
	return c.refused(s, calls, &rep)
}

func appendBatch(dst []byte, calls []*call) []byte {
	dst = append(dst, batchHead...)
	for i, r := range calls {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, `{"`...), requests[r.kind].item...), `":`...)
		dst = append(append(dst, r.body...), '}')
	}
	return append(dst, batchTail...)
}

// deal gives each call its part of the answer to a batch. What is there of an answer
// that was cut off holds. Of calls that did not fit, the rest is sent in two.
func (c *Client) deal(s *server, calls []*call, rep *reply) (again []*call) {
	p := parser{b: rep.body}
	whole := p.prefix(`{"Ok":[`)
	tooLarge := false
	for i, r := range calls {
		var a answer
		whole = whole && (i == 0 || p.skip(',')) && p.item(r.kind, &a) && (a.code != "" || a.fits(r.kind))
		if whole && a.code == "BatchTooLarge" {
			tooLarge, a.undone = true, true
		}
		var repeat bool
		switch {
		case whole:
			repeat = c.settle(s, r, &a)
		case rep.err != nil:
			repeat = c.lost(s, r, rep)
		default:
			repeat = c.garbled(s, r, rep.status)
		}
		if repeat {
			again = append(again, r)
		}
	}
	if tooLarge && len(again) > 1 {
		c.split(again)
		return nil
	}
	return again
}

// refused deals with a batch of which nothing was carried out, or with a server that
// has failed. A call that does not fit must not harm others: it is found by halves.
func (c *Client) refused(s *server, calls []*call, rep *reply) (again []*call) {
	if splits(rep.status) {
		c.split(calls)
		return nil
	}
	a, _ := parseSingle(create, rep)
	return slices.DeleteFunc(calls, func(r *call) bool {
		if rep.status < 400 { // of a proxy, perhaps
			return !c.garbled(s, r, rep.status)
		}
		return !c.fail(s, r, s.refusal(&a))
	})
}

// splits says whether a status tells that one of the calls, or the size of them all,
// is the reason.
func splits(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	}
	return 400 <= status && status < 500
}

// split sends calls in two batches.
func (c *Client) split(calls []*call) {
	for _, r := range calls {
		r.release()
	}
	half := len(calls) / 2
	c.carry(slices.Clone(calls[:half]))
	c.carry(slices.Clone(calls[half:]))
}

// settle ends a call with its answer, or says that it is to be sent again.
func (c *Client) settle(s *server, r *call, a *answer) (again bool) {
	switch {
	case a.code == "" && a.status < 300:
		r.result = result{string(a.token), slices.Clone(a.meta), a.reused, a.expires}
		r.end(nil)
		return false
	case a.code == "InvalidToken":
		r.end(ErrInvalidToken)
		return false
	}
	return c.fail(s, r, s.refusal(a))
}

// refusal is the error of an answer that is no success.
func (s *server) refusal(a *answer) *Error {
	return &Error{Kind: kindOf(a), Status: a.status, Code: a.code, Message: a.message, Address: s.address}
}

// garbled deals with a call whose answer makes no sense.
func (c *Client) garbled(s *server, r *call, status int) (again bool) {
	return c.fail(s, r, &Error{Kind: kindOf(&answer{status: status}), Status: status, Cause: errAnswer, Address: s.address})
}

// fail ends a call that was refused, or says that it is to be sent again.
func (c *Client) fail(s *server, r *call, err *Error) (again bool) {
	switch {
	case err.Kind == ErrUnavailable:
		if err.Status == http.StatusServiceUnavailable {
			c.servers.fail(s, err)
		}
		r.last = err
		return true
	case err.Kind == ErrOutcomeUnknown:
		return c.unknown(r, err)
	case err.Kind == ErrUnauthorized && s.auth.refresh(r.refreshed):
		r.refreshed, r.last = r.refreshed+1, err
		return true
	case r.maybe:
		err = &Error{Kind: ErrOutcomeUnknown, Cause: r.last}
	}
	r.end(err)
	return false
}

// kindOf returns what an answer that is no success means for the call.
func kindOf(a *answer) error {
	if a.undone {
		return ErrUnavailable // nothing was carried out
	}
	if kind, ok := kinds[a.code]; ok {
		return kind
	}
	switch {
	case a.status == http.StatusRequestTimeout, a.status == http.StatusTooManyRequests:
		return ErrUnavailable
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden:
		return ErrUnauthorized
	case a.status >= 500, a.code == "StoreUnavailable", a.code == "InternalServerError":
		return ErrOutcomeUnknown
	case a.status < 400 && a.code == "":
		return ErrOutcomeUnknown // of a proxy, perhaps
	}
	return ErrInvalidRequest
}

// blame deals with a server that has given no whole answer.
func (c *Client) blame(ctx context.Context, s *server, rep *reply) {
	switch {
	case errors.Is(rep.err, errSecret), errors.Is(rep.err, errOtherStore): // it was not asked
	case ctx.Err() != nil:
		rep.err = endOf(ctx)
		s.probe() // is it the server's fault?
	default:
		c.servers.fail(s, &Error{Kind: ErrUnavailable, Cause: rep.err, Address: s.address})
	}
}

// lost deals with a call whose request has got no whole answer.
func (c *Client) lost(s *server, r *call, rep *reply) (again bool) {
	err := &Error{Kind: ErrOutcomeUnknown, Cause: rep.err, Address: s.address}
	switch {
	case errors.Is(rep.err, errSecret):
		r.end(&Error{Kind: ErrUnauthorized, Cause: rep.err})
		return false
	case !rep.sent:
		err.Kind, r.last = ErrUnavailable, err
		return true
	}
	return c.unknown(r, err)
}

// unknown deals with a call that may have been carried out.
func (c *Client) unknown(r *call, err *Error) (again bool) {
	r.last = err
	if r.kind.repeats() || r.kind == exchange && c.cfg.RetryUnknown {
		r.maybe = r.kind.changes()
		return true
	}
	r.end(err)
	return false
}
