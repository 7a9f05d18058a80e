package shard

import (
	"errors"
	"slices"

	"tokenserver/token"
)

// errUnproven says that a token is not its session's current one, and that it takes
// successors that are not derived yet to tell whether it was.
var errUnproven = errors.New("shard: successors needed")

// credential is a token that somebody presents.
type credential struct {
	id         token.ID
	digest     token.Digest
	now        timestamp
	seen       token.Digest // the session's, if it takes successors
	successors *successors  // nil until they are needed: they take time to derive
}

// successors are the tokens that follow a token of a store with a grace in its
// token family, and their digests. They are those of the key, but for what was seen
// of those that another key has derived in between.
type successors struct {
	tokens  [token.GraceDepth]token.Token
	digests [token.GraceDepth]token.Digest
	// complete says that the session has none, now or later, that is not among them.
	complete bool
}

// derive derives what follows t, the token of c, up to the digest that c has seen. No lock
// is held: it takes microseconds, and where there is a previous key up to a
// millisecond, for a token that is too old or none of the session's.
func (s *Store) derive(c *credential, t token.Token) {
	if c.successors == nil {
		c.successors = s.chainOf(t)
	}
	n := c.successors
	known := n.age(c.seen) > 0
	for age, changed := range s.secret.Changes(t) {
		if known {
			return
		}
		if digest := changed.Digest(); digest == c.seen {
			// The session had no other token of this age.
			n.tokens[age-1], n.digests[age-1] = changed, digest
			return
		}
	}
	n.complete = true // what is too old, or none of the session's, remains so
}

// chainOf returns the successors of the key.
func (s *Store) chainOf(t token.Token) *successors {
	n := new(successors)
	for i := range n.tokens {
		t = s.secret.Next(t)
		n.tokens[i], n.digests[i] = t, t.Digest()
	}
	return n
}

// age returns after how many exchanges there is a digest among the successors; 0 if it
// is not.
func (n *successors) age(digest token.Digest) int {
	return 1 + slices.Index(n.digests[:], digest)
}

// graceAgeLocked returns how many exchanges ago a token was spent that is not r's
// current one, if that was less than the grace ago. Its error is errUnproven if
// that takes more of the token's successors, and else token.ErrInvalid. It requires
// the read lock.
func (sh *shard) graceAgeLocked(r *record, c *credential) (age int, err error) {
	if sh.rules.grace == 0 {
		return 0, token.ErrInvalid
	}
	if c.successors != nil {
		age = c.successors.age(r.digest)
	}
	if age == 0 && (c.successors == nil || !c.successors.complete) {
		c.seen = r.digest
		return 0, errUnproven
	}
	if age > 0 {
		if p := sh.policyLocked(r); p != nil && c.now < p.spentAt(age).Add(sh.rules.grace) {
			return age, nil
		}
	}
	return 0, token.ErrInvalid
}

// checkReuseLocked is graceAgeLocked for those who want to exchange or delete.
// It is the reuse detection: a token that is not in its grace is counted, and
// ends its session, and so its whole token family, if that is the rule. The id is
// known to nobody but those who have had a token of the session: two hold one, so
// one of them is a thief. It requires the write lock.
func (sh *shard) checkReuseLocked(r *record, c *credential) (age int, err error) {
	age, err = sh.graceAgeLocked(r, c)
	if err != token.ErrInvalid {
		return age, err
	}
	sh.counters.Reused++
	if sh.rules.revokeOnReuse {
		sh.counters.Revoked++
		sh.endLocked(r)
	}
	return 0, err
}
