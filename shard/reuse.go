package shard

import (
	"errors"

	"tokenserver/token"
)

// errUnproven says that a token is not its session's current one, and that it
// takes its lineage to tell whether it was.
var errUnproven = errors.New("shard: lineage needed")

// presented is a token that somebody presents.
type presented struct {
	id      token.ID
	digest  token.Digest
	now     deadline
	lineage *lineage // nil until it is needed: it takes time to derive
}

// lineage is the tokens that follow a token of a store with a grace, and their digests.
type lineage struct {
	tokens  [token.GraceDepth]token.Token
	digests [token.GraceDepth]token.Digest
}

// lineage derives what follows t.
func (s *Store) lineage(t token.Token) *lineage {
	l := new(lineage)
	for i := range l.tokens {
		t = s.secret.Next(t)
		l.tokens[i], l.digests[i] = t, t.Digest()
	}
	return l
}

// windowLocked returns how many exchanges ago a token was spent that is not r's
// current one, if that was less than the grace ago. Its error is errUnproven if
// that takes the token's lineage, and else token.ErrInvalid.
func (sh *shard) windowLocked(r *record, p *presented) (steps int, err error) {
	switch {
	case sh.rules.grace == 0:
		return 0, token.ErrInvalid
	case p.lineage == nil:
		return 0, errUnproven
	}
	for i := range p.lineage.digests {
		if p.lineage.digests[i] != r.digest {
			continue
		}
		if e := sh.extraLocked(r); e != nil && p.now < e.spentAt(i+1)+sh.rules.grace {
			return i + 1, nil
		}
		break
	}
	return 0, token.ErrInvalid
}

// replayLocked is windowLocked for those who want to exchange or delete: a
// token that is in no window is counted, and ends its session if that is the
// rule. Its id is known to nobody but those who have had a token of the session:
// two hold one, so one of them is a thief.
func (sh *shard) replayLocked(r *record, p *presented) (steps int, err error) {
	steps, err = sh.windowLocked(r, p)
	if err != token.ErrInvalid {
		return steps, err
	}
	sh.counters.Reused++
	if sh.rules.revokeOnReuse {
		sh.counters.Revoked++
		sh.endLocked(r)
	}
	return 0, err
}
