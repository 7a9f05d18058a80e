package valkey

import "tokenserver/token"

// credential is a token that somebody presents.
type credential struct {
	store  *Store
	token  token.Token
	digest token.Digest
	// subject is the session's, once its value has been seen.
	subject    subject
	digestSeen token.Digest
	successors []successor // nil until they are needed: they take time to derive
}

// successor is a token that was, or is, the current one age exchanges later.
type successor struct {
	age    int
	token  token.Token
	digest token.Digest
}

func (c *credential) key() string { return c.store.keys.session(c.token.ID) }

// ageIn returns after how many exchanges the presented token was followed by the current one,
// if its grace is not over at now; else 0.
func (c *credential) ageIn(v *value, now int64) int {
	c.subject, c.digestSeen = v.subject, v.digest
	if c.store.secret == nil {
		return 0
	}
	for _, s := range c.derived() {
		if s.digest == v.digest {
			spent := v.spentAt(s.age)
			if spent != 0 && now < spent+c.store.grace.Milliseconds() {
				return s.age
			}
			return 0
		}
	}
	return 0
}

// derived returns what may follow the token.
func (c *credential) derived() []successor {
	if c.successors != nil {
		return c.successors
	}
	next := c.token
	for age := 1; age <= token.GraceDepth; age++ {
		next = c.store.secret.Next(next)
		c.successors = append(c.successors, successor{age, next, next.Digest()})
	}
	for age, changed := range c.store.secret.Changes(c.token) {
		c.successors = append(c.successors, successor{age, changed, changed.Digest()})
	}
	return c.successors
}

// current returns the token that has the digest that was seen. It is a successor's.
func (c *credential) current() token.Token {
	for _, s := range c.derived() {
		if s.digest == c.digestSeen {
			return s.token
		}
	}
	return token.Token{}
}

// reuse is the reuse detection, for those who want to exchange or delete: it counts a token
// that is neither the current one nor in its grace, and says whether that ends the session, and
// so its whole token family. The id is known to nobody but those who have had a token of the
// session: two hold one, so one of them is a thief.
func (c *credential) reuse() (ends bool) {
	if c.store.secret == nil {
		return false
	}
	c.store.counters.reused.Add(1)
	return c.store.revokeOnReuse
}

// endStep ends the session, and takes it off its subject's index.
func (c *credential) endStep(deadline string) step {
	return c.store.endStep(c.token.ID, c.subject, deadline)
}

func (s *Store) endStep(id token.ID, of subject, deadline string) step {
	end := step{scriptEnd, []string{s.keys.session(id)}, []string{deadline, member(id)}}
	if of != (subject{}) {
		end.keys = append(end.keys, s.keys.index(of))
	}
	return end
}
