package valkey

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"tokenserver/token"
)

// operation is what a caller wants, as steps: each is one run of a script. Single calls and
// batches carry out the same operations.
type operation interface {
	// step returns what to run next. deadline is when the engine must not begin any more,
	// by its clock, as an argument of the script.
	step(deadline string) step
	// take takes the reply to the last step, and says whether the operation is complete.
	take(r reply) (complete bool)
	// fail ends the operation with an error instead.
	fail(err error)
}

// step is one run of a script.
type step struct {
	script *script
	keys   []string
	args   []string
}

// reply is what a script has returned.
type reply struct {
	absent bool  // there is no such session
	code   int64 // if it is not absent
	now    int64 // by the engine's clock, in milliseconds
	value  string
	number int64 // when a session expires, in milliseconds, or how many have ended
	list   []rueidis.RedisMessage
	// repeated says that an earlier try of the operation got no reply: it may have been carried
	// out, or may be yet, until its deadline.
	repeated bool
}

// call is one call of a caller's: an operation, or a batch of them.
type call struct {
	store    *Store
	ctx      context.Context // ends with the timeout
	deadline string
}

func (s *Store) newCall() call {
	c := call{store: s, ctx: s.deadlines.next()}
	c.deadline = strconv.FormatInt(s.clock.now()+s.timeout.Milliseconds(), 10)
	return c
}

// correct makes a new deadline, since the engine's clock shows another time.
func (c *call) correct(now int64) {
	c.store.clock.correct(now)
	end, _ := c.ctx.Deadline()
	c.deadline = strconv.FormatInt(now+time.Until(end).Milliseconds(), 10)
}

// running is an operation that is carried out.
type running struct {
	operation
	bulkhead *bulkhead // that of its session's primary
	current  step
	fullText bool // the engine does not know the script by its name
	tries    int
	late     bool // the engine was reached too late once
	// reached says that the engine may have carried out something that got no reply, or may
	// do so yet: what was sent over a connection that is closed may be read after what was sent
	// over the next one.
	reached bool
	// pause is how long to wait before the next step.
	pause time.Duration
}

// command returns the next step as a command.
func (r *running) command(c *call) rueidis.Completed {
	r.current = r.step(c.deadline)
	b, s := c.store.client().B(), r.current.script
	if r.fullText {
		return b.Eval().Script(s.text).Numkeys(int64(len(r.current.keys))).Key(r.current.keys...).Arg(r.current.args...).Build()
	}
	return b.Evalsha().Sha1(s.sha).Numkeys(int64(len(r.current.keys))).Key(r.current.keys...).Arg(r.current.args...).Build()
}

// accept takes what has become of the last command, and says whether the operation is
// complete.
func (r *running) accept(c *call, result rueidis.RedisResult) (complete bool) {
	r.pause = 0
	message, err := result.ToMessage()
	switch known, isReply := rueidis.IsRedisErr(err); {
	case err == nil || rueidis.IsRedisNil(err):
		return r.acceptReply(c, &message, err != nil)
	case isReply && isNoScript(known):
		r.fullText = true
		return false
	case isReply && isFull(known):
		return r.end(undone(token.ErrFull, r.reached))
	}
	f := classify(err)
	c.store.health.failed(f)
	r.bulkhead.set(f.isEngines())
	r.reached = r.reached || f.reached
	if !f.passes || f.reached && !r.current.script.repeats || !r.wait(c) {
		return r.end(unavailable(f.err, r.reached))
	}
	return false
}

func (r *running) acceptReply(c *call, message *rueidis.RedisMessage, absent bool) (complete bool) {
	if h := &c.store.health; r.bulkhead == &c.store.bulkheads.only {
		h.answered(h.failure.Load())
	}
	r.bulkhead.set(false)
	reply, err := parseReply(message, absent)
	switch {
	case err != nil:
		return r.end(err)
	case reply.code != codeLate || reply.absent:
		r.fullText, r.tries = false, 0
		reply.repeated = r.reached
		return r.take(reply)
	case r.late:
		c.store.counters.late.Add(1)
		return r.end(unavailable(errLate, r.reached))
	}
	r.late = true
	c.correct(reply.now)
	return false
}

// wait sets the pause before another try, and returns false if there is no time for one: a
// tenth of the timeout, or it would end with an outcome that is not known.
func (r *running) wait(c *call) bool {
	r.pause = min(time.Millisecond<<min(r.tries, 6), 50*time.Millisecond)
	r.tries++
	c.store.counters.retries.Add(1)
	end, _ := c.ctx.Deadline()
	return time.Until(end) > r.pause+c.store.timeout/10
}

func (r *running) end(err error) bool {
	r.fail(err)
	return true
}

func parseReply(m *rueidis.RedisMessage, absent bool) (r reply, err error) {
	if absent {
		return reply{absent: true}, nil
	}
	list, err := m.ToArray()
	if err != nil || len(list) < 2 {
		return reply{}, errReply
	}
	r.code, err = list[0].AsInt64()
	if err != nil {
		return reply{}, errReply
	}
	if r.now, err = list[1].AsInt64(); err != nil {
		return reply{}, errReply
	}
	if len(list) > 2 {
		switch third := &list[2]; {
		case third.IsString():
			r.value, err = third.ToString()
		case third.IsArray():
			r.list, err = third.ToArray()
		default:
			r.number, err = third.AsInt64()
		}
	}
	if err == nil && len(list) > 3 {
		r.number, err = list[3].AsInt64()
	}
	return r, err
}

// run carries out an operation.
func (s *Store) run(op operation) {
	if err := s.notConnected(); err != nil {
		op.fail(err)
		return
	}
	c := s.newCall()
	r := running{operation: op}
	command := r.command(&c)
	r.bulkhead = s.bulkheads.of(r.current.keys[0])
	if err := r.bulkhead.enter(); err != nil {
		op.fail(err)
		return
	}
	defer r.bulkhead.leave()
	for !r.accept(&c, s.do(c.ctx, c.failing(r.bulkhead), command)) && r.rest(c.ctx) {
		command = r.command(&c)
	}
}

// failing says whether a primary may not answer at once.
func (c *call) failing(b *bulkhead) bool { return b.failing.Load() || c.store.health.failing() }

// rest waits until the next try. It returns false, and ends the operation, if there is none.
func (r *running) rest(ctx context.Context) bool {
	if r.pause == 0 {
		return true
	}
	pause := time.NewTimer(r.pause)
	defer pause.Stop()
	select {
	case <-pause.C:
		return true
	case <-ctx.Done():
		r.end(unavailable(ctx.Err(), r.reached))
		return false
	}
}
