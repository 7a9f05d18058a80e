package server

import (
	"context"
	"io"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sync/semaphore"
)

// answerBudget is the memory that all large answers may take together, from
// before they are made until the client has taken them: one that no client reads
// would otherwise stay, and there may be as many as connections.
type answerBudget struct{ free *semaphore.Weighted }

const (
	maxLargeAnswers = 64 << 20 // bytes
	// shareTimeout is how long an answer waits for its share.
	shareTimeout = time.Second
)

func newAnswerBudget() answerBudget {
	return answerBudget{semaphore.NewWeighted(maxLargeAnswers)}
}

// share is what one answer has of the budget. It is released once.
type share struct {
	budget answerBudget
	bytes  int64
	sent   bool // the answer has it, and releases it
}

// take takes a share of n bytes, n <= maxLargeAnswers. Its error is errBusy.
func (b answerBudget) take(n int64) (*share, error) {
	s := &share{budget: b}
	if !s.grow(n) {
		return nil, errBusy
	}
	return s, nil
}

// grow makes the share n bytes larger, unless there is no room for that in time.
func (s *share) grow(n int64) bool {
	if !s.budget.free.TryAcquire(n) {
		ctx, cancel := context.WithTimeout(context.Background(), shareTimeout)
		defer cancel()
		if s.budget.free.Acquire(ctx, n) != nil {
			return false
		}
	}
	s.bytes += n
	return true
}

// shrink gives back all of the share but n bytes.
func (s *share) shrink(n int64) {
	if rest := s.bytes - n; rest > 0 {
		s.budget.free.Release(rest)
		s.bytes = n
	}
}

func (s *share) release() { s.shrink(0) }

// releaseUnlessSent releases the share of an answer that was never made.
func (s *share) releaseUnlessSent() {
	if !s.sent {
		s.release()
	}
}

// setLargeBody answers with body, which is used by nobody else, and releases s
// when it has been written or its connection has ended.
func setLargeBody(ctx *fasthttp.RequestCtx, body []byte, s *share) {
	s.shrink(int64(cap(body)))
	s.sent = true
	ctx.Response.SetBodyStream(&largeBody{body: body, share: s}, len(body))
}

// largeBody is what fasthttp writes an answer from, and closes.
type largeBody struct {
	body  []byte // what is left of it
	share *share
}

func (l *largeBody) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(l.body)
	l.body = l.body[n:]
	return int64(n), err
}

func (l *largeBody) Read(p []byte) (int, error) {
	if len(l.body) == 0 {
		return 0, io.EOF
	}
	n := copy(p, l.body)
	l.body = l.body[n:]
	return n, nil
}

// Close may be called more than once.
func (l *largeBody) Close() error {
	l.body = nil
	l.share.release()
	return nil
}
