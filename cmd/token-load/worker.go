package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"time"
)

const (
	// directWrite is how much may be written before anything is read: it fits into the socket
	// buffers, so that a server which writes its answers before it reads on can't block the worker.
	directWrite = 16 << 10

	sampleCount   = 128
	reconnectWait = 100 * time.Millisecond
	progressEvery = int64(100 * time.Millisecond)
)

// request is one request of the batch under way.
type request struct {
	op       operation
	session  *session // nil for a create and a replay
	user     uint32   // of a create
	spent    rawToken // of a replay
	intended int64    // latency counts from here
}

// worker drives one connection. It sends a batch of requests in one write and reads the answers.
type worker struct {
	load  *load
	index int
	rng   *rand.Rand

	conn      net.Conn // nil while there is none
	answers   answerReader
	renewAt   int64 // when the connection needs a new deadline
	written   chan struct{}
	closing   bool // the server has announced to close
	out       []byte
	wrapped   []byte // of a batch: what out was, or will be
	batch     []request
	pool      pool
	spent     spentTokens
	nextUser  uint32
	samples   []sample
	answered  int64 // not yet handed to the recorder
	flushAt   int64
	faults    faults
	latest    int64 // when the latest answer came
	behind    int64 // the longest that a request left after its intended start
	neverSent int64
}

func newWorker(l *load, index int) *worker {
	c := l.config
	share := l.share(index)
	w := &worker{
		load:     l,
		index:    index,
		rng:      rand.New(rand.NewPCG(uint64(c.Seed), uint64(index))),
		nextUser: uint32(index),
		written:  make(chan struct{}, 1),
		batch:    make([]request, 0, c.atOnce()),
		samples:  make([]sample, 0, sampleCount),
		faults:   faults{},
	}
	w.pool.sessions = make([]session, 0, share+share/16+c.atOnce())
	w.answers = answerReader{
		clock:   l.now,
		maxBody: c.Batch*(c.MetaSize+128) + 4<<10,
		buf:     make([]byte, min(512+c.atOnce()*(c.MetaSize+320), directWrite)),
	}
	return w
}

// add puts a request of op into the batch. Without a spent token a replay becomes an exchange;
// without a session that is free, anything becomes a create.
func (w *worker) add(op operation, intended int64) {
	if op == opReplay {
		if t := w.spent.pick(w.rng); t != nil {
			w.out = w.load.requests.appendToken(w.out, opReplay, t)
			w.batch = append(w.batch, request{op: opReplay, spent: *t, intended: intended})
			return
		}
		op = opExchange
	}
	if op != opCreate {
		if s := w.pool.take(w.rng); s != nil {
			w.addFor(s, op, intended)
			return
		}
	}
	w.out = w.load.requests.appendCreate(w.out, w.nextUser)
	w.batch = append(w.batch, request{op: opCreate, user: w.nextUser, intended: intended})
	w.nextUser += uint32(w.load.config.Connections)
}

func (w *worker) addFor(s *session, op operation, intended int64) {
	if op == opPatch {
		w.out = w.load.requests.appendPatch(w.out, &s.token, s.visits+1)
	} else {
		w.out = w.load.requests.appendToken(w.out, op, &s.token)
	}
	w.batch = append(w.batch, request{op: op, session: s, intended: intended})
}

// roundTrip sends the batch and judges its answers. Nothing is ever sent again: what has no
// answer is a fault, and its session is left alone from then on.
func (w *worker) roundTrip() {
	if w.load.client != nil {
		w.call()
		return
	}
	w.renewDeadline()
	batched := w.load.config.Batch > 1
	if batched {
		w.wrapBatch()
	}
	err := w.send()
	answered := 0
	switch {
	case err != nil:
	case batched:
		answered, err = w.readBatch()
	default:
		answered, err = w.readAnswers()
	}
	if err == nil && w.answers.unread() {
		w.addFault(faultKey{op: noOperation, fault: faultUnasked}, "more bytes than the answers")
		w.closing = true
	}
	w.latest = w.answers.arrived
	w.answered += int64(answered)
	if err != nil || w.closing {
		w.disconnect()
	}
	if len(w.out) > directWrite {
		<-w.written
	}
	if err != nil {
		w.giveUp(w.batch[answered:], err)
	}
	w.pool.settle()
	w.batch, w.out = w.batch[:0], w.out[:0]
	w.flush(w.latest)
}

// readAnswers reads the answers to the requests and judges them. It returns how many have one.
func (w *worker) readAnswers() (answered int, err error) {
	var a answer
	for ; answered < len(w.batch); answered++ {
		if err := w.answers.next(w.batch[answered].op, &a); err != nil {
			return answered, err
		}
		w.judge(&w.batch[answered], &a)
	}
	return answered, nil
}

// send writes the batch, a large one while the answers are read.
func (w *worker) send() error {
	if len(w.out) <= directWrite {
		_, err := w.conn.Write(w.out)
		return err
	}
	conn, out := w.conn, w.out
	go func() {
		// A failed write fails the reads too, and those have the first say.
		_, _ = conn.Write(out)
		w.written <- struct{}{}
	}()
	return nil
}

// judge checks the answer to r and takes over what it says.
func (w *worker) judge(r *request, a *answer) {
	w.closing = w.closing || a.closes
	var fresh rawToken
	if f := w.load.checker.check(r, a, &fresh); f != noFault {
		w.addAnswerFault(r, f, a)
		return
	}
	switch r.op {
	case opCreate:
		w.pool.add(session{token: fresh, user: r.user})
	case opExchange, opPatch:
		w.spent.remember(r.session.token)
		r.session.token = fresh
		if r.op == opPatch {
			r.session.visits++
		}
	case opDelete:
		w.spent.remember(r.session.token)
		r.session.drop()
	}
	if r.intended >= w.load.measureFrom {
		w.samples = append(w.samples, sample{latency: w.answers.arrived - r.intended, op: r.op})
		if len(w.samples) == sampleCount {
			w.flush(w.answers.arrived)
		}
	}
}

func (w *worker) addAnswerFault(r *request, f fault, a *answer) {
	key := faultKey{op: r.op, fault: f}
	if f == faultStatus {
		key.status = a.status
	}
	if r.session != nil {
		r.session.drop()
	}
	w.load.recorder.faulty.Add(1)
	w.faults.add(key, func() string {
		return fmt.Sprintf("%d %s %.160q", a.status, a.contentType, a.body)
	})
}

func (w *worker) addFault(key faultKey, example string) {
	w.load.recorder.faulty.Add(1)
	w.faults.add(key, func() string { return example })
}

// giveUp counts requests that have no answer, because of err.
func (w *worker) giveUp(requests []request, err error) {
	f := faultConnection
	switch {
	case errors.Is(err, errMalformed):
		f = faultMalformed
	case errors.Is(err, os.ErrDeadlineExceeded):
		f = faultTimeout
	}
	for i := range requests {
		r := &requests[i]
		if r.session != nil {
			r.session.drop()
		}
		w.addFault(faultKey{op: r.op, fault: f}, err.Error())
		if f == faultMalformed {
			f = faultConnection // only one was malformed
		}
	}
}

// flush hands samples and counts to the recorder when there are enough, or at times.
func (w *worker) flush(now int64) {
	if len(w.samples) < sampleCount && now < w.flushAt {
		return
	}
	w.flushAt = now + progressEvery
	w.load.recorder.record(w.samples)
	w.load.recorder.answered.Add(w.answered)
	w.samples, w.answered = w.samples[:0], 0
}

// connected reports whether there is a connection, after an attempt to open one. An attempt that
// the end of ctx breaks off is no fault.
func (w *worker) connected(ctx context.Context) bool {
	if w.conn != nil || w.load.client != nil {
		return true
	}
	err := w.connect(ctx)
	if err != nil && ctx.Err() == nil {
		w.addFault(faultKey{op: noOperation, fault: faultConnect}, err.Error())
		time.Sleep(reconnectWait)
	}
	return err == nil
}

func (w *worker) connect(ctx context.Context) error {
	dialer := net.Dialer{Timeout: w.load.config.Timeout}
	conn, err := dialer.DialContext(ctx, "tcp", w.load.config.Address)
	if err != nil {
		return err
	}
	w.conn, w.renewAt, w.closing = conn, 0, false
	w.answers.reset(conn)
	return nil
}

func (w *worker) disconnect() {
	if w.conn != nil {
		w.conn.Close()
		w.conn = nil
	}
}

// renewDeadline gives the connection at least the timeout from now on, and at most a quarter
// more, since a deadline for each batch would be too dear.
func (w *worker) renewDeadline() {
	now := w.load.now()
	if now < w.renewAt {
		return
	}
	timeout := w.load.config.Timeout
	w.renewAt = now + int64(timeout/4)
	// It only fails on a closed connection, as the next read will.
	_ = w.conn.SetDeadline(time.Now().Add(timeout + timeout/4))
}
