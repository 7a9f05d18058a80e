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
	successor  successor // the last that was looked for: they take time to derive
}

// successor is a token that was, or is, the current one age exchanges later. An age of 0
// says that there is none with the digest.
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
	c.seek(v.digest)
	age := c.successor.age
	if age == 0 {
		return 0
	}
	if spent := v.spentAt(age); spent == 0 || now >= spent+c.store.grace.Milliseconds() {
		return 0
	}
	return age
}

// seek makes the one with a digest, of all that may follow the token, c.successor. It takes
// microseconds, and where there is a previous key up to a millisecond, for a token
// that is too old or none of the session's.
func (c *credential) seek(digest token.Digest) {
	if c.successor.digest == digest {
		return
	}
	next := c.token
	for age := 1; age <= token.GraceDepth; age++ {
		next = c.store.secret.Next(next)
		if next.Digest() == digest {
			c.successor = successor{age, next, digest}
			return
		}
	}
	for age, changed := range c.store.secret.Changes(c.token) {
		if changed.Digest() == digest {
			c.successor = successor{age, changed, digest}
			return
		}
	}
	c.successor = successor{digest: digest}
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
