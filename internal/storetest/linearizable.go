package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"tokenserver/token"
)

// Each history has a few sessions and several goroutines that call on them.
const (
	histories       = 150 // of each kind
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
	opEndSubject
	opEndOthers  // of the token's session it is known whether it was valid
	opEndSession // by its name
	opList       // of the subject's sessions
)

// call is one call of a history, as far as it concerns one session: those on a
// subject promise nothing about several sessions together.
type call struct {
	session int
	op      operation
	token   token.Token
	kept    bool // of opEndOthers: the token is this session's
	patch   string
}

// answer is what a call came back with. A deletion tells nothing.
type answer struct {
	valid  bool        // of opList: the session is in the list
	token  token.Token // the session's current one, if the call tells
	reused bool
	meta   string
}

// state is that of one session in the model.
type state struct {
	current token.Token
	spent   [token.GraceDepth]token.Token // the last one first
	meta    string
	ended   bool
}

// historyRules say what becomes of spent tokens. No grace ends by time.
type historyRules struct{ grace, revoke bool }

// model says what calls do to a session, one after the other.
func (r historyRules) model() porcupine.Model {
	return porcupine.Model{
		Partition: bySession,
		Init:      func() any { return state{} },
		Step: func(s, input, output any) (bool, any) {
			return r.step(s.(state), input.(call), output.(answer))
		},
		DescribeOperation: func(input, output any) string {
			return describe(input.(call), output.(answer))
		},
	}
}

// describe tells tokens apart by a part of their nonces: they print as placeholders.
func describe(c call, a answer) string {
	op := [...]string{"create", "exchange", "validate", "delete", "end subject", "end others", "end session", "list subject"}[c.op]
	return fmt.Sprintf("session %d: %s %x, patch %q = valid %v, token %x, reused %v, %s",
		c.session, op, c.token.Nonce[:4], c.patch, a.valid, a.token.Nonce[:4], a.reused, a.meta)
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
func (r historyRules) step(s state, c call, a answer) (bool, state) {
	live := !s.ended
	valid := live && (c.token == s.current || r.grace && slices.Contains(s.spent[:], c.token))
	switch c.op {
	case opCreate:
		return true, state{current: a.token, meta: a.meta}
	case opList:
		return a.valid == live && (!live || a.meta == s.meta), s
	case opEndSubject:
		s.ended = true
		return true, s
	case opEndOthers:
		s.ended = s.ended || a.valid && !c.kept
		return !c.kept || a.valid == valid, s
	case opEndSession:
		s.ended = true
		return a.valid == live, s
	case opDelete:
		s.ended = s.ended || valid || r.revoke
		return true, s
	case opValidate:
		return a.valid == valid && (!valid || a.meta == s.meta), s
	}
	if !valid {
		s.ended = s.ended || r.revoke
		return !a.valid, s
	}
	s.meta = parseObject(s.meta).apply(patchOf(c.patch)).String()
	if c.token == s.current {
		copy(s.spent[1:], s.spent[:])
		s.spent[0], s.current = c.token, a.token
		return a.valid && !a.reused && a.meta == s.meta, s
	}
	return a.valid && a.reused && a.token == s.current && a.meta == s.meta, s
}

func (h Harness) testLinearizable(t *testing.T) {
	kinds := []struct {
		name    string
		rules   historyRules
		subject bool
	}{
		{"Plain", historyRules{}, false},
		{"Subjects", historyRules{}, true},
		{"Grace", historyRules{grace: true}, true},
		{"Revoke", historyRules{grace: true, revoke: true}, true},
	}
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) { h.testHistories(t, k.rules, k.subject) })
	}
}

func (h Harness) testHistories(t *testing.T, rules historyRules, subjects bool) {
	cfg, model, seed := Config{Lifetime: time.Hour, RevokeOnReuse: rules.revoke}, rules.model(), Seed(t)
	if rules.grace {
		cfg.Grace = time.Minute // more than a history takes
	}
	s := h.open(t, cfg)
	for i := range h.rounds(histories) {
		r := &recorder{tester: s}
		if subjects {
			r.subject = fmt.Sprintf("history %d", i)
		}
		r.run(seed + uint64(i)*historyCallers)
		if !porcupine.CheckOperations(model, r.history) {
			for _, op := range r.history {
				t.Logf("%d…%d caller %d: %s", op.Call, op.Return, op.ClientId,
					model.DescribeOperation(op.Input, op.Output))
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
	subject string // of all sessions; empty for none
	clock   atomic.Int64

	mu      sync.Mutex
	history []porcupine.Operation
	tokens  [historySessions][]token.Token // as they became known
}

// run records a history of new sessions.
func (r *recorder) run(seed uint64) {
	for i := range historySessions {
		meta := fmt.Sprintf(`{"s":%d}`, i)
		r.record(-1, []call{{session: i, op: opCreate}}, func() []answer {
			return []answer{{valid: true, token: r.createFor(r.subject, meta), meta: meta}}
		})
	}
	atOnce(historyCallers, func(caller int) {
		rng := NewRand(seed + uint64(caller))
		for range historyCalls {
			r.call(caller, rng)
		}
	})
}

// record makes a call and adds it to the history, once for each session that it
// concerns.
func (r *recorder) record(caller int, calls []call, do func() []answer) {
	begin := r.clock.Add(1)
	answers := do()
	end := r.clock.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, c := range calls {
		a := answers[i]
		r.history = append(r.history, porcupine.Operation{ClientId: caller, Input: c, Call: begin, Output: a, Return: end})
		if a.token != (token.Token{}) && !a.reused {
			r.tokens[c.session] = append(r.tokens[c.session], a.token)
		}
	}
}

// call makes a random call with the latest token that is known or a spent one,
// or on the subject.
func (r *recorder) call(caller int, rng *rand.Rand) {
	c := call{session: rng.IntN(historySessions)}
	c.token = r.knownToken(c.session, rng)
	switch n := rng.IntN(100); {
	case n < 35:
		c.op = opExchange
	case n < 62:
		c.op, c.patch = opExchange, fmt.Sprintf(`{"c%d":%d}`, rng.IntN(3), rng.IntN(1000))
	case n < 70:
		c.op, c.patch = opExchange, fmt.Sprintf(`{"c%d":%d}["c%d"]`, rng.IntN(3), rng.IntN(1000), rng.IntN(3))
	case n < 78 && r.subject != "":
		r.recordSubject(caller, call{op: opList}, r.list)
		return
	case n < 79 && r.subject != "":
		r.recordSubject(caller, call{op: opEndSubject}, r.endSubject)
		return
	case n < 81 && r.subject != "":
		c.op = opEndOthers
		r.recordSubject(caller, c, func() []answer { return r.endOthers(c.token) })
		return
	case n < 82 && r.subject != "":
		c.op = opEndSession
	case n < 98:
		c.op = opValidate
	default:
		c.op = opDelete
	}
	r.record(caller, []call{c}, func() []answer {
		runtime.Gosched() // so that calls overlap on a single processor too
		return []answer{r.do(c)}
	})
}

// recordSubject records a call that concerns each session.
func (r *recorder) recordSubject(caller int, c call, do func() []answer) {
	calls := make([]call, historySessions)
	for i := range calls {
		calls[i] = c
		calls[i].session, calls[i].kept = i, i == c.session
	}
	r.record(caller, calls, do)
}

// list lists the subject's sessions, which tell themselves apart by their metadata, in
// pages of one. Where the last one listed has ended meanwhile, it starts again.
func (r *recorder) list() []answer {
	var all []token.Session
	for page, more := (token.Page{Limit: 1}), true; more; {
		var list []token.Session
		var err error
		list, more, err = r.store.SubjectSessions(r.Context(), []byte(r.subject), page)
		switch {
		case errors.Is(err, token.ErrUnknownSession) && len(all) > 0:
			all, page.After, more = nil, token.SessionName{}, true
		case err != nil:
			r.Errorf("SubjectSessions = error %v", err)
		case more:
			page.After = list[0].Name
			fallthrough
		default:
			all = append(all, list...)
		}
	}
	answers := make([]answer, historySessions)
	for _, s := range all {
		for i := range answers {
			if strings.HasPrefix(string(s.Meta), fmt.Sprintf(`{"s":%d`, i)) {
				answers[i] = answer{valid: true, meta: string(s.Meta)}
			}
		}
	}
	return answers
}

func (r *recorder) endSubject() []answer {
	n, err := r.store.EndSubject(r.Context(), []byte(r.subject))
	if n < 0 || n > historySessions || err != nil {
		r.Errorf("EndSubject = %d, error %v, want at most %d", n, err, historySessions)
	}
	return make([]answer, historySessions)
}

// endOthers keeps the session of a token, which the answer is valid for if that is.
func (r *recorder) endOthers(keep token.Token) []answer {
	n, err := r.store.EndOthers(r.Context(), []byte(r.subject), keep)
	if n < 0 || n > historySessions-1 || err != nil && (n > 0 || !errors.Is(err, token.ErrInvalid)) {
		r.Errorf("EndOthers = %d, error %v, want at most %d", n, err, historySessions-1)
	}
	answers := make([]answer, historySessions)
	for i := range answers {
		answers[i].valid = err == nil
	}
	return answers
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
	case opEndSession:
		n, err := r.store.EndSession(r.Context(), []byte(r.subject), c.token.ID.Name())
		if err != nil {
			r.Errorf("EndSession = error %v", err)
		}
		return answer{valid: n > 0}
	case opValidate:
		meta, _, err := r.store.Validate(r.Context(), c.token, nil)
		return r.answer(token.ExchangeResult{Meta: meta}, err)
	}
	x, err := r.store.Exchange(r.Context(), c.token, patchOf(c.patch), nil)
	return r.answer(x, err)
}

func (r *recorder) answer(x token.ExchangeResult, err error) answer {
	if err == nil {
		return answer{valid: true, token: x.Token, reused: x.Reused, meta: string(x.Meta)}
	}
	if !errors.Is(err, token.ErrInvalid) {
		r.Errorf("call = error %v, want none or %v", err, token.ErrInvalid)
	}
	return answer{}
}
