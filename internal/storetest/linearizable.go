package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"tokenserver/token"
)

// Each history has a few sessions and several goroutines that call on them.
const (
	histories       = 400
	historySessions = 2
	historyCallers  = 4
	historyCalls    = 20 // of each caller
)

type operation int

const (
	opCreate operation = iota
	opExchange
	opValidate
	opDelete
)

// call is one call of a history.
type call struct {
	session int
	op      operation
	token   token.Token
	patch   string
}

// answer is what a call came back with. A deletion tells nothing.
type answer struct {
	valid bool
	token token.Token // the new one, if there is one
	meta  string
}

// state is that of one session in the model.
type state struct {
	current token.Token
	meta    string
	ended   bool
}

// sessionModel says what calls do to a session, one after the other.
var sessionModel = porcupine.Model{
	Partition: bySession,
	Init:      func() any { return state{} },
	Step: func(s, input, output any) (bool, any) {
		return step(s.(state), input.(call), output.(answer))
	},
	DescribeOperation: func(input, output any) string {
		return describe(input.(call), output.(answer))
	},
}

// describe tells tokens apart by a part of their nonces: they print as placeholders.
func describe(c call, a answer) string {
	op := [...]string{"create", "exchange", "validate", "delete"}[c.op]
	return fmt.Sprintf("session %d: %s %x, patch %q = valid %v, new token %x, %s",
		c.session, op, c.token.Nonce[:4], c.patch, a.valid, a.token.Nonce[:4], a.meta)
}

func bySession(history []porcupine.Operation) [][]porcupine.Operation {
	parts := make([][]porcupine.Operation, historySessions)
	for _, op := range history {
		i := op.Input.(call).session
		parts[i] = append(parts[i], op)
	}
	return parts
}

// step says whether a session in state s may answer a call so, and what becomes of it.
func step(s state, c call, a answer) (bool, state) {
	valid := !s.ended && c.token == s.current
	switch c.op {
	case opCreate:
		return true, state{current: a.token, meta: a.meta}
	case opDelete:
		s.ended = s.ended || valid
		return true, s
	}
	if !valid || !a.valid {
		return valid == a.valid, s
	}
	if c.op == opExchange {
		s.current = a.token
		s.meta = parseObject(s.meta).merge(parsePatch(c.patch)).String()
	}
	return a.meta == s.meta, s
}

func (h Harness) testLinearizable(t *testing.T) {
	seed := Seed(t)
	s := h.open(t, Config{Lifetime: time.Hour})
	for i := range histories {
		history := recordHistory(s, seed+uint64(i)*historyCallers)
		if !porcupine.CheckOperations(sessionModel, history) {
			for _, op := range history {
				t.Logf("%d…%d caller %d: %s", op.Call, op.Return, op.ClientId,
					sessionModel.DescribeOperation(op.Input, op.Output))
			}
			t.Fatalf("history %d is not linearizable", i)
		}
	}
	h.check(t, s.store)
}

// recorder makes calls and writes down when they began and ended, on a clock
// that only counts.
type recorder struct {
	*tester
	clock atomic.Int64

	mu      sync.Mutex
	history []porcupine.Operation
	tokens  [historySessions][]token.Token // as they became known
}

// recordHistory records a history of new sessions.
func recordHistory(t *tester, seed uint64) []porcupine.Operation {
	r := &recorder{tester: t}
	for i := range historySessions {
		c, meta := call{session: i, op: opCreate}, fmt.Sprintf(`{"s":%d}`, i)
		r.record(-1, c, func() answer { return answer{valid: true, token: t.create(meta), meta: meta} })
	}
	var done sync.WaitGroup
	start := make(chan struct{})
	for caller := range historyCallers {
		rng := NewRand(seed + uint64(caller))
		done.Go(func() {
			<-start
			for range historyCalls {
				r.call(caller, rng)
			}
		})
	}
	close(start)
	done.Wait()
	return r.history
}

// record makes a call and adds it to the history.
func (r *recorder) record(caller int, c call, do func() answer) {
	begin := r.clock.Add(1)
	a := do()
	end := r.clock.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history = append(r.history, porcupine.Operation{ClientId: caller, Input: c, Call: begin, Output: a, Return: end})
	if a.token != (token.Token{}) {
		r.tokens[c.session] = append(r.tokens[c.session], a.token)
	}
}

// call makes a random call with the latest token that is known or a spent one.
func (r *recorder) call(caller int, rng *rand.Rand) {
	c := call{session: rng.IntN(historySessions)}
	c.token = r.knownToken(c.session, rng)
	switch n := rng.IntN(100); {
	case n < 35:
		c.op = opExchange
	case n < 70:
		c.op, c.patch = opExchange, fmt.Sprintf(`{"c%d":%d}`, rng.IntN(3), rng.IntN(1000))
	case n < 98:
		c.op = opValidate
	default:
		c.op = opDelete
	}
	r.record(caller, c, func() answer {
		runtime.Gosched() // so that calls overlap on a single processor too
		return r.do(c)
	})
}

func (r *recorder) knownToken(session int, rng *rand.Rand) token.Token {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.tokens[session]
	if rng.IntN(4) == 0 {
		return pick(rng, known)
	}
	return known[len(known)-1]
}

func (r *recorder) do(c call) answer {
	switch c.op {
	case opDelete:
		if err := r.store.Delete(r.Context(), c.token); err != nil {
			r.Errorf("Delete = error %v", err)
		}
		return answer{}
	case opValidate:
		meta, _, err := r.store.Validate(r.Context(), c.token, nil)
		return r.answer(token.Token{}, meta, err)
	}
	x, err := r.store.Exchange(r.Context(), c.token, patchBytes(c.patch), nil)
	return r.answer(x.Token, x.Meta, err)
}

func (r *recorder) answer(t token.Token, meta []byte, err error) answer {
	if err == nil {
		return answer{valid: true, token: t, meta: string(meta)}
	}
	if !errors.Is(err, token.ErrInvalid) {
		r.Errorf("call = error %v, want none or %v", err, token.ErrInvalid)
	}
	return answer{}
}
