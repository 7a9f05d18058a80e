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
}

// successorsOf derives what follows t. No lock is held: it takes microseconds.
func (s *Store) successorsOf(t token.Token) *successors {
	next := new(successors)
	for i := range next.tokens {
		t = s.secret.Next(t)
		next.tokens[i], next.digests[i] = t, t.Digest()
	}
	return next
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
	for i := range c.successors.digests {
		if c.successors.digests[i] != r.digest {
			continue
		}
		if p := sh.policyLocked(r); p != nil && c.now < p.spentAt(i+1).Add(sh.rules.grace) {
			return i + 1, nil
		}
		break
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
