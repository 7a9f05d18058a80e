package main

import "math/rand/v2"

// session is what a connection keeps of one session: 40 bytes, no pointers. Its metadata
// follows from user and visits.
type session struct {
	token  rawToken
	user   uint32
	visits uint32
}

// A session whose token is unset is gone: deleted, or in a state that nobody knows any more.
func (s *session) drop()      { s.token = rawToken{} }
func (s *session) gone() bool { return s.token == rawToken{} }

// pool holds the sessions of one connection. A batch takes sessions from it, each at most once,
// and settle ends the batch.
type pool struct {
	sessions []session
	taken    int       // the last so many are in the batch
	created  []session // by the batch
}

// take returns a session that the batch does not have yet, uniformly at random, or nil if there
// is none. It stays in place until settle.
func (p *pool) take(rng *rand.Rand) *session {
	free := len(p.sessions) - p.taken
	if free == 0 {
		return nil
	}
	i, last := rng.IntN(free), free-1
	p.sessions[i], p.sessions[last] = p.sessions[last], p.sessions[i]
	p.taken++
	return &p.sessions[last]
}

// add puts a created session in, from the next batch on.
func (p *pool) add(s session) { p.created = append(p.created, s) }

// settle ends the batch: sessions that are gone leave, created ones come in.
func (p *pool) settle() {
	first := len(p.sessions) - p.taken
	kept := p.sessions[:first]
	for _, s := range p.sessions[first:] {
		if !s.gone() {
			kept = append(kept, s)
		}
	}
	p.sessions = append(kept, p.created...)
	p.taken, p.created = 0, p.created[:0]
}

// spentTokens remembers the latest tokens that were spent, for replays.
type spentTokens struct {
	tokens [64]rawToken
	count  int // how many were ever remembered
}

func (s *spentTokens) remember(t rawToken) {
	s.tokens[s.count%len(s.tokens)] = t
	s.count++
}

// pick returns one of the tokens, or nil if there is none.
func (s *spentTokens) pick(rng *rand.Rand) *rawToken {
	if s.count == 0 {
		return nil
	}
	return &s.tokens[rng.IntN(min(s.count, len(s.tokens)))]
}
