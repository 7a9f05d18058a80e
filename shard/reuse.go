package shard

import (
	"errors"

	"tokenserver/token"
)

// errUnproven says that a token is not its session's current one, and that it
// takes its successors to tell whether it was.
var errUnproven = errors.New("shard: successors needed")

// credential is a token that somebody presents.
type credential struct {
	id         token.ID
	digest     token.Digest
	now        timestamp
	successors *successors // nil until they are needed: they take time to derive
}

// successors are the tokens that follow a token of a store with a grace in its
// token family, and their digests.
type successors struct {
	tokens  [token.GraceDepth]token.Token
	digests [token.GraceDepth]token.Digest
	// changes are those that follow it if the key was changed in between, where there
	// is a previous one.
	changes []successor
}

// successor is a token that was, or is, the current one age exchanges later.
type successor struct {
	age    int
	token  token.Token
	digest token.Digest
}

// successorsOf derives what follows t. No lock is held: it takes microseconds, and
// five times as many where there is a previous key.
func (s *Store) successorsOf(t token.Token) *successors {
	next := new(successors)
	for age, changed := range s.secret.Changes(t) {
		next.changes = append(next.changes, successor{age, changed, changed.Digest()})
	}
	for i := range next.tokens {
		t = s.secret.Next(t)
		next.tokens[i], next.digests[i] = t, t.Digest()
	}
	return next
}

// age returns after how many exchanges there is a digest among the successors; 0 if it
// is not. The token of that age is the one with the digest from then on.
func (n *successors) age(digest token.Digest) int {
	for i := range n.digests {
		if n.digests[i] == digest {
			return i + 1
		}
	}
	for i := range n.changes {
		if c := &n.changes[i]; c.digest == digest {
			n.tokens[c.age-1] = c.token
			return c.age
		}
	}
	return 0
}

// graceAgeLocked returns how many exchanges ago a token was spent that is not r's
// current one, if that was less than the grace ago. Its error is errUnproven if
// that takes the token's successors, and else token.ErrInvalid. It requires the
// read lock.
func (sh *shard) graceAgeLocked(r *record, c *credential) (age int, err error) {
	switch {
	case sh.rules.grace == 0:
		return 0, token.ErrInvalid
	case c.successors == nil:
		return 0, errUnproven
	}
	if age = c.successors.age(r.digest); age > 0 {
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
