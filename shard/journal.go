package shard

import (
	"context"
	"time"

	"tokenserver/internal/clock"
	"tokenserver/token"
)

// Journal makes changes last. Its methods are called while the shard's lock is
// held, so that it sees the changes of a session in the order in which they were
// decided; they enqueue a change and wait for nothing but room for it.
type Journal interface {
	// Save enqueues the state of a session, which is valid during the call. Nil
	// means that nobody has to wait.
	Save(s *State) Write
	// Forget enqueues that a session was ended.
	Forget(id token.ID) Write
	// Expired enqueues that a session has expired. Nobody waits for it: a session
	// that comes back because the change was lost has expired all the same.
	Expired(id token.ID)
}

// Write is a change on its way. Its methods may be called at any time, by any
// number of goroutines.
type Write interface {
	// Wait waits until the change lasts, as far as the journal promises that.
	Wait() error
	// Lasts says whether the change lasts: Wait returns at once.
	Lasts() bool
}

// State is all there is to a session. Its times are the store's Clock's: to another
// process they mean nothing unless the Journal keeps what they count from.
type State struct {
	ID      token.ID
	Digest  token.Digest
	Expires clock.Timestamp
	Meta    []byte
	// What only some sessions have; else it is zero.
	Subject          Subject
	Lifetime         time.Duration
	AbsoluteDeadline clock.Timestamp
	Created          clock.Timestamp
	Spent            []clock.Timestamp // when the last tokens were spent, the last one last
}

// saveLocked hands a session's state to the journal. It requires the write lock.
func (sh *shard) saveLocked(r *record) Write {
	if sh.rules.journal == nil {
		return nil
	}
	state := sh.stateLocked(r)
	return sh.enqueuedLocked(r.id, sh.rules.journal.Save(&state))
}

// saveIfChangedLocked is saveLocked for an answer that changes a session or does
// not. It requires the write lock.
func (sh *shard) saveIfChangedLocked(r *record, changed bool) Write {
	if changed {
		return sh.saveLocked(r)
	}
	return sh.pending.writes[r.id]
}

// forgetLocked tells the journal that a session was ended. It requires the write
// lock.
func (sh *shard) forgetLocked(id token.ID) Write {
	if sh.rules.journal == nil {
		return nil
	}
	return sh.enqueuedLocked(id, sh.rules.journal.Forget(id))
}

// expireLocked removes a session that has expired, and tells the journal. It
// requires the write lock.
func (sh *shard) expireLocked(r *record) {
	if sh.rules.journal != nil {
		sh.rules.journal.Expired(r.id)
	}
	sh.removeLocked(sh.heap.at(r.heapIndex).record)
	sh.counters.Purged++
}

// enqueuedLocked returns a change that the journal has been handed. Nil, a change
// that nobody waits for, is not kept. It requires the write lock.
func (sh *shard) enqueuedLocked(id token.ID, w Write) Write {
	if w != nil {
		sh.pending.add(id, w)
	}
	return w
}

// stateLocked returns a session's state, whose metadata is valid while the lock is
// held. It requires the read lock.
func (sh *shard) stateLocked(r *record) State {
	meta, i := sh.contentLocked(r)
	state := State{ID: r.id, Digest: r.digest, Meta: meta, Expires: sh.heap.at(r.heapIndex).deadline}
	if i == 0 {
		return state
	}
	e := sh.policies.at(i)
	state.Subject, state.Lifetime = e.subject, e.lifetime
	state.Created, state.AbsoluteDeadline = e.created, e.absoluteDeadline
	for age := int(min(e.spends, token.GraceDepth)); age > 0; age-- {
		state.Spent = append(state.Spent, e.spentAt(age))
	}
	return state
}

// Restore stores a session as another process has left it, its times turned into
// those of the Store's Clock. It does so where a limit is reached too: there are no
// new ones then until there is room again. Its error is [token.ErrFull] where not
// even the address space suffices. After the last one, and before anything else is
// asked of the Store, Restored must be called.
//
// What the times come from may have been a clock that was set in between. One that
// was set back makes no session live for longer than its lifetime, and the Store's
// MaxLifetime, from now on. One that was set forward ends sessions early: it can't
// be told from time that has passed.
func (s *Store) Restore(state *State) error {
	meta := s.split(state.Meta)
	defer s.release(meta)
	now := s.now()
	n := newSession{id: state.ID, digest: state.Digest, meta: meta, size: meta.Len()}
	n.policy, n.hasPolicy = s.policyStateOf(state, now)
	n.deadline = min(state.Expires, n.policy.renewed(now, s.rules.lifetime))
	s.purge.expect(n.deadline)
	added, err := s.shard(n.id).restore(&n)
	if added {
		s.budget.sessions.add(1)
	}
	return err
}

// Restored ends the restoring of sessions. Its error is that of ctx.
func (s *Store) Restored(ctx context.Context) error {
	for i := range s.shards {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.shards[i].sortSubjects()
	}
	return nil
}

func (sh *shard) restore(n *newSession) (added bool, err error) {
	sh.lock()
	defer sh.unlock()
	sh.restoring, sh.memory.exempt = true, true
	r, err := sh.addLocked(n)
	return r != nil, err
}

// policyStateOf returns the policy state of a state, and whether it needs one. What a clock
// that was set back has in the future is taken to be now, and so is a creation
// that is not known.
func (s *Store) policyStateOf(state *State, now timestamp) (e policyState, ok bool) {
	e = policyState{subject: state.Subject, lifetime: state.Lifetime, absoluteDeadline: state.AbsoluteDeadline}
	for _, t := range state.Spent {
		e.spend(min(t, now))
	}
	if s.rules.grace == 0 && s.rules.maxLifetime == 0 && e == (policyState{}) {
		return e, false
	}
	e.created = now
	if state.Created != 0 {
		e.created = min(state.Created, now)
	}
	if s.rules.maxLifetime != 0 {
		e.limit(now, s.rules.maxLifetime)
	}
	return e, true
}
