package server

import "math"

// phase is what a connection is doing.
type phase int64

const (
	fresh       phase = iota // it has sent nothing yet
	handshaking              // TLS has yet to be agreed on
	reading                  // a request has begun
	handling                 // its request is being answered, which takes what it takes
	writing                  // an answer is being written
	idle                     // it waits for the next request
	delayed                  // its caller is not known, and waits to be told
	idleUnknown              // it is idle, and its caller is not known
	late                     // it may read no more: what was read by then can still be answered
	shed                     // it is closed for a new one: a request that still comes is refused
	dead                     // nothing more is carried out on it
)

// step is what a connection is doing and when that has to be done, in one word,
// so that nobody sees the one without the other. A connection that is late, shed or
// dead stays so.
type step int64

const (
	phaseBits = 4
	never     = math.MaxInt64 >> phaseBits // the due of what takes what it takes
)

func newStep(p phase, due int64) step { return step(due<<phaseBits | int64(p)) }

func (s step) phase() phase { return phase(s & (1<<phaseBits - 1)) }
func (s step) due() int64   { return int64(s >> phaseBits) }
func (s step) over() bool   { return s.phase() >= late }
