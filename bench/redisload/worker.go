package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"
)

const (
	// maxPipeline keeps a batch small enough for the socket buffers, so that a server which
	// writes its answers before it reads on can't block us.
	maxPipeline = 64

	// timeout is the longest wait for the answers of a batch.
	timeout = 10 * time.Second
)

// worker drives one connection and owns the sessions from first to end.
type worker struct {
	load       *load
	first, end uint32
	exchanges  []uint32 // of each of its sessions
	rng        *rand.Rand

	conn      net.Conn
	renewAt   int64 // when the connection needs a new deadline
	answers   replyReader
	head      []byte // of an EVALSHA
	lifetime  []byte // in milliseconds
	out       []byte
	key       []byte
	meta      []byte
	batch     []uint32 // the sessions of the requests under way
	latencies []int64
	latest    int64 // when the latest answer came
	requests  int64 // answered within the measurement
}

func newWorker(l *load, index int) *worker {
	c := l.config
	first, end := index*c.Sessions/c.Connections, (index+1)*c.Sessions/c.Connections
	return &worker{
		load:      l,
		first:     uint32(first),
		end:       uint32(end),
		exchanges: make([]uint32, end-first),
		rng:       rand.New(rand.NewPCG(1, uint64(index))),
		lifetime:  strconv.AppendInt(nil, c.Lifetime.Milliseconds(), 10),
		answers:   replyReader{clock: l.now, buf: make([]byte, 16<<10)},
		batch:     make([]uint32, 0, maxPipeline),
		latencies: make([]int64, 0, maxPipeline),
	}
}

// connect opens the connection and loads the script.
func (w *worker) connect() error {
	conn, err := net.DialTimeout("tcp", w.load.config.Address, timeout)
	if err != nil {
		return err
	}
	w.conn, w.answers.source = conn, conn
	w.out = appendCommand(w.out[:0], 3)
	w.out = appendArgument(w.out, "SCRIPT")
	w.out = appendArgument(w.out, "LOAD")
	w.out = appendArgument(w.out, exchangeScript)
	if err := w.send(); err != nil {
		return err
	}
	sha, err := w.answers.next()
	if err != nil {
		return err
	}
	if sha.kind != '$' {
		return fmt.Errorf("SCRIPT LOAD answered %v", sha)
	}
	w.head = appendCommand(nil, 7)
	w.head = appendArgument(w.head, "EVALSHA")
	w.head = appendArgument(w.head, sha.value)
	w.head = appendArgument(w.head, "1")
	return nil
}

func (w *worker) disconnect() {
	if w.conn != nil {
		w.conn.Close()
	}
}

// preload creates the worker's sessions, many at once.
func (w *worker) preload() error {
	for next := w.first; next < w.end && !w.load.stopped.Load(); {
		w.begin()
		for ; next < w.end && len(w.batch) < maxPipeline; next++ {
			w.addCreate(next)
		}
		if err := w.roundTrip(isCreated); err != nil {
			return err
		}
	}
	return nil
}

// closedLoop sends a batch as soon as the one before it is answered.
func (w *worker) closedLoop() error {
	for now := w.load.now(); now < w.load.end && !w.load.stopped.Load(); now = w.load.now() {
		w.begin()
		for range w.load.config.Pipeline {
			w.addExchange(w.first + w.rng.Uint32N(w.end-w.first))
		}
		start := w.load.now()
		if err := w.roundTrip(isExchanged); err != nil {
			return err
		}
		if start >= w.load.measureFrom {
			w.record(start)
		}
	}
	return nil
}

func (w *worker) begin() {
	w.out, w.batch, w.latencies = w.out[:0], w.batch[:0], w.latencies[:0]
}

func (w *worker) addCreate(number uint32) {
	w.out = appendCommand(w.out, 5)
	w.out = appendArgument(w.out, "SET")
	w.key = appendKey(w.key[:0], number)
	w.out = appendArgument(w.out, w.key)
	digest := digestOf(number, 0)
	w.meta = append(w.meta[:0], digest[:]...)
	w.meta = w.load.meta.append(w.meta, number)
	w.out = appendArgument(w.out, w.meta)
	w.out = appendArgument(w.out, "PX")
	w.out = appendArgument(w.out, w.lifetime)
	w.batch = append(w.batch, number)
}

// addExchange counts the exchange at once, so that a session may be in a batch twice.
func (w *worker) addExchange(number uint32) {
	exchanges := &w.exchanges[number-w.first]
	old, next := digestOf(number, *exchanges), digestOf(number, *exchanges+1)
	*exchanges++
	w.out = append(w.out, w.head...)
	w.key = appendKey(w.key[:0], number)
	w.out = appendArgument(w.out, w.key)
	w.out = appendArgument(w.out, old[:])
	w.out = appendArgument(w.out, next[:])
	w.out = appendArgument(w.out, w.lifetime)
	w.batch = append(w.batch, number)
}

// roundTrip sends the batch and reads its answers, which all must be right.
func (w *worker) roundTrip(right func(reply, *metadata, uint32) bool) error {
	if err := w.send(); err != nil {
		return err
	}
	for _, number := range w.batch {
		answer, err := w.answers.next()
		if err != nil {
			return err
		}
		if !right(answer, w.load.meta, number) {
			return fmt.Errorf("wrong answer for session %d: %v", number, answer)
		}
		w.latencies = append(w.latencies, w.answers.arrived)
	}
	w.latest = w.answers.arrived
	return nil
}

func isCreated(answer reply, _ *metadata, _ uint32) bool {
	return answer.kind == '+' && string(answer.value) == "OK"
}

func isExchanged(answer reply, meta *metadata, number uint32) bool {
	return answer.kind == '$' && !answer.null && meta.matches(answer.value, number)
}

func (w *worker) send() error {
	if now := w.load.now(); now >= w.renewAt {
		// A deadline for each batch would be too dear.
		w.renewAt = now + int64(timeout/4)
		if err := w.conn.SetDeadline(time.Now().Add(timeout + timeout/4)); err != nil {
			return err
		}
	}
	_, err := w.conn.Write(w.out)
	return err
}

// record takes the batch, sent at start, into the measurement.
func (w *worker) record(start int64) {
	w.requests += int64(len(w.latencies))
	for i := range w.latencies {
		w.latencies[i] -= start
	}
	w.load.recordLatencies(w.latencies)
}
